"""`migaki serve explain RUN`: what it answers, what it refuses, and the page in a browser."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import CHROMIUM
from fastapi.testclient import TestClient
from page_server import served
from PIL import Image
from toy_scorer import ColourScorer, write_squares

from migaki.cli import main
from migaki.core.errors import UserError
from migaki.stages import explainer as stage
from migaki.web import explain_app, try_app

SECRET = "s" * 20
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def explainer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> stage.PictureExplainer:
    """The toy, with patterns of its squares."""
    scorer = ColourScorer()
    scorer.classes = ("blue", HOSTILE, "red", "white")
    monkeypatch.setattr(stage, "open_scorer", lambda what: scorer)
    write_squares(tmp_path / "data")
    return stage.PictureExplainer(Path("toy"), tmp_path / "data")


def picture(size: tuple[int, int] = (48, 32), mode: str = "RGB", kind: str = "PNG") -> str:
    """A red square on the right, as base64."""
    array = np.full((size[1], size[0], 3), 25, np.uint8)
    array[8:20, 30:44] = (250, 40, 40)
    buffer = io.BytesIO()
    Image.fromarray(array).convert(mode).save(buffer, kind)
    return base64.b64encode(buffer.getvalue()).decode()


def client_of(explainer: stage.PictureExplainer, token: str | None = None) -> TestClient:
    return TestClient(explain_app.build_app(explainer, host="127.0.0.1", token=token), base_url="http://127.0.0.1",
                      raise_server_exceptions=False)


def test_every_method_answers_with_two_pictures_and_words(explainer: stage.PictureExplainer) -> None:
    client = client_of(explainer)
    assert len(explainer.methods) == 11
    for method in explainer.methods:
        reply = client.post("/api/explain", json={"picture": picture(), "method": method})
        assert reply.status_code == 200, reply.text
        found = reply.json()
        assert found["words"][0] == ["explained", "red"] and found["words"][1][0] == "red"
        plain, painted = (np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in found["pictures"])
        assert plain.shape == painted.shape == (320, 480, 3)
    found = client.post("/api/explain", json={"picture": picture(), "method": "cam", "target": "white"}).json()
    assert found["words"][0] == ["explained", "white"] and found["words"][1][0] == "red"


def test_the_map_is_where_the_square_is(explainer: stage.PictureExplainer) -> None:
    pixels = np.full((3, 32, 48), 25, np.uint8)
    pixels[:, 8:20, 30:44] = np.array([250, 40, 40], np.uint8)[:, None, None]
    found = explainer.explain(pixels, "grad_cam")
    painted = found.painted.max(0) - found.painted.min(0)  # grey has none
    assert found.explained == "red" and painted[9:19, 31:43].min() > 0.5 > painted[:, :20].max()
    large = np.kron(pixels, np.ones((1, 20, 20), np.uint8))
    assert explainer.explain(large, "grad_cam").picture.shape == (3, 149, 224)
    grey = explainer.explain(pixels[:1], "grad_cam")
    assert grey.picture.shape == (3, 32, 48)


@pytest.mark.parametrize("body, status, message", [
    ({"picture": "%%%", "method": "cam"}, 422, "base64"), ({"picture": "AAAA", "method": "cam"}, 422, "the picture"),
    ({"picture": picture(), "method": "magic"}, 422, "cannot be asked for here"), ({"method": "cam"}, 422, "malformed"),
    ({"picture": picture(), "method": "cam", "target": "violet"}, 422, "has no class 'violet'"),
    ({"picture": picture(), "method": "cam", "target": "x" * 300}, 422, "malformed"),
    ({"picture": picture(), "method": "cam", "more": 1}, 422, "malformed")])
def test_what_is_refused(explainer: stage.PictureExplainer, body: dict[str, Any], status: int, message: str) -> None:
    reply = client_of(explainer).post("/api/explain", json=body)
    assert reply.status_code == status and message in reply.json()["error"]


def test_a_huge_picture_is_refused_before_it_is_decoded(explainer: stage.PictureExplainer) -> None:
    reply = client_of(explainer).post("/api/explain", json={"picture": picture((6000, 6000)), "method": "cam"})
    assert reply.status_code == 422 and "megapixels" in reply.json()["error"]


def test_a_token_keeps_strangers_out_and_names_end_no_script(explainer: stage.PictureExplainer) -> None:
    client = client_of(explainer, SECRET)
    page = client.get("/")
    assert page.status_code == 200 and SECRET not in page.text and HOSTILE not in page.text
    assert "script-src 'sha256-" in page.headers["content-security-policy"]
    body = {"picture": picture(), "method": "cam"}
    assert client.post("/api/explain", json=body).status_code == 401
    assert client.post("/api/explain", json=body, headers={"x-access": SECRET}).status_code == 200
    assert client.post("/api/explain", json=body, headers={
        "x-access": SECRET, "host": "evil.example"}).status_code == 421
    assert client.post("/api/explain", json=body, headers={
        "x-access": SECRET, "origin": "http://evil.example"}).status_code == 403


def test_without_patterns_two_methods_are_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "open_scorer", lambda what: ColourScorer())
    found = stage.PictureExplainer(Path("toy"))
    assert len(found.methods) == 9 and "pattern_net" not in found.methods
    with pytest.raises(UserError, match="cannot be asked for here"):
        found.explain(np.zeros((3, 40, 40), np.uint8), "pattern_net")


def test_commands_that_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_squares(tmp_path / "data", 2)
    for words, message in ((["--host", "0.0.0.0"], "give a --token"), (["--size", "8"], "--size 8: give 32"),
                           ([], "no config.json")):
        assert main(["serve", "explain", str(tmp_path / "data"), "--port", "0", *words]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.browser
def test_the_page_in_a_browser(explainer: stage.PictureExplainer, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    complaints: list[str] = []
    app = explain_app.build_app(explainer, host="127.0.0.1", token=SECRET)
    with served(app, try_app.CONNECTIONS) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        for width, height in ((1280, 900), (390, 844)):
            page = browser.new_context(viewport={"width": width, "height": height}).new_page()
            page.set_default_timeout(20_000)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda message: complaints.append(message.text)
                    if "Content Security Policy" in message.text else None)
            page.goto(f"{url}#{SECRET}")
            assert page.locator("#method option").count() == 11 and page.locator("#classes option").count() == 4
            page.select_option("#method", "integrated_gradients")
            page.set_input_files("#files", [tmp_path / "data" / "0.png", tmp_path / "data" / "metadata.jsonl"])
            page.wait_for_selector('.card[data-done="yes"] img >> nth=1')
            page.wait_for_selector('.card[data-done="no"]')
            assert "blue" in (page.locator('.card[data-done="yes"] dl').text_content() or "")
            page.fill("#target", HOSTILE)
            page.click("#again")
            page.wait_for_selector('.card[data-done="yes"] >> nth=1')
            assert HOSTILE in (page.locator('.card[data-done="yes"] dl').first.text_content() or "")
            assert page.evaluate("document.documentElement.scrollWidth") <= width and SECRET not in page.url
            page.screenshot(path=str(tmp_path / f"explain_{width}.png"), full_page=True)
        browser.close()
    assert complaints == []
