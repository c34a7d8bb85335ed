"""`migaki serve material`: regions, changes as they come, what is refused, and the page in a browser."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import CHROMIUM
from fastapi.testclient import TestClient
from page_server import served
from PIL import Image

from migaki.changes.material import Material
from migaki.cli import main
from migaki.simulate.textures import Textures
from migaki.stages.simulate import SimulateJob, simulate
from migaki.web import material_app


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two words, and a picture of a red thing with its mask."""
    place = tmp_path_factory.mktemp("material")
    simulate("textures", Textures(Textures.Config(size=32, kinds=("striped", "dotted"))),
             SimulateJob(out=place / "words", count=6), quiet=True)
    y, x = np.mgrid[:64, :80]
    inside = (y - 30) ** 2 + (x - 42) ** 2 < 16**2
    noise = np.random.default_rng(0).integers(-9, 9, (64, 80, 1))
    image = np.where(inside[..., None], (200, 50, 40), (150, 160, 170)) + noise
    Image.fromarray(image.astype(np.uint8)).save(place / "thing.png")
    Image.fromarray((255 * inside).astype(np.uint8)).save(place / "mask.png")
    Image.new("L", (80, 64)).save(place / "empty.png")
    Image.new("L", (40, 64), 255).save(place / "narrow.png")
    return place


@pytest.fixture(scope="module")
def app(root: Path) -> Any:
    config = Material.Config(to="", words=root / "words", steps=10, most=2, side=32, cluster=0)
    return material_app.build_app(material_app.Materials(config), host="127.0.0.1")


def client_of(app: Any) -> TestClient:
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)


def sent(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def image_of(text: str) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"))


def test_a_click_finds_the_thing_and_its_material_changes(app: Any, root: Path) -> None:
    client = client_of(app)
    assert [one["name"] for one in client.get("/api/materials").json()] == ["striped", "dotted"]
    found = client.post("/api/region", json={"picture": sent(root / "thing.png"), "click": [42, 30]}).json()
    mask, true = image_of(found["mask"])[..., 0] > 127, np.asarray(Image.open(root / "mask.png")) > 127
    assert (mask & true).sum() / (mask | true).sum() > 0.9 and found["share"] == pytest.approx(mask.mean(), abs=1e-3)
    boxed = client.post("/api/region", json={"picture": sent(root / "thing.png"), "box": [22, 10, 40, 40]}).json()
    assert boxed["share"] == pytest.approx(found["share"], rel=0.1)
    reply = client.post("/api/change", json={"picture": sent(root / "thing.png"), "mask": found["mask"],
                                             "material": "dotted", "light": "shading", "highlights": True})
    assert reply.headers["content-type"].startswith("text/event-stream")
    news = [json.loads(event.split("\ndata: ")[1]) for event in reply.text.split("\n\n") if event]
    assert news[-1]["end"] and news[-1]["step"] == news[-1]["steps"] == 10 and news[-1]["style_left"] < 1
    changed, before = image_of(news[-1]["picture"]), image_of(sent(root / "thing.png"))
    assert np.array_equal(changed[~mask], before[~mask]) and (changed[mask] != before[mask]).mean() > 0.5
    again = client.post("/api/change", json={"picture": sent(root / "thing.png"), "mask": found["mask"],
                                             "material": "striped"})
    assert again.status_code == 200 and '"end": true' in again.text  # the turn was given back


def test_what_is_refused(app: Any, root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    client = client_of(app)
    picture, mask = sent(root / "thing.png"), sent(root / "mask.png")
    for path, body, said in (
            ("region", {"picture": picture}, "a click or a box"),
            ("region", {"picture": picture, "click": [500, 3]}, "outside of the picture"),
            ("region", {"picture": base64.b64encode(b"no picture").decode(), "click": [1, 1]}, ""),
            ("region", {"picture": picture, "click": [-1, 3]}, "malformed"),
            ("change", {"picture": picture, "mask": sent(root / "narrow.png"), "material": "dotted"}, "40 x 64 px"),
            ("change", {"picture": picture, "mask": sent(root / "empty.png"), "material": "dotted"}, "mask is empty"),
            ("change", {"picture": picture, "mask": mask, "material": "moss"}, "no such material"),
            ("change", {"picture": sent(root / "words" / "000000.png"), "mask": mask, "material": "dotted",
                        "light": "moon"}, "malformed")):
        reply = client.post(f"/api/{path}", json=body)
        assert reply.status_code == 422 and said in reply.json()["error"], reply.text
    secret = "s" * 20
    config = Material.Config(to="", words=root / "words", cluster=0)
    closed = client_of(material_app.build_app(material_app.Materials(config), host="127.0.0.1", token=secret))
    assert closed.get("/api/materials").status_code == 401
    assert closed.get("/api/materials", headers={"x-access": secret}).status_code == 200
    (tmp_path / "none").mkdir()
    for words, said in (([str(root / "words"), "--host", "0.0.0.0"], "give a --token"),
                        ([str(tmp_path / "none")], "holds no images"),
                        ([str(root / "words"), "--steps", "0"], "--steps and --most are at least 1")):
        assert main(["serve", "material", *words, "--port", "0"]) == 2
        error = capsys.readouterr().err
        assert said in error and error.strip().count("\n") == 0


@pytest.fixture
def url(app: Any) -> Iterator[str]:
    with served(app) as found:
        yield found


@pytest.mark.browser
def test_the_page_in_a_browser(url: str, root: Path) -> None:
    from playwright.sync_api import sync_playwright

    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context(viewport={"width": 390, "height": 844}).new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto(url)
        page.wait_for_function("document.querySelectorAll('#material option').length == 2")
        assert page.is_disabled("#go") and page.is_visible("#thumb")
        page.set_input_files("#files", str(root / "thing.png"))
        page.wait_for_selector("#live:not([hidden])")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.wait_for_function("sent.length > 100")
        frame = page.locator("#before").bounding_box()
        assert frame is not None
        page.mouse.click(frame["x"] + frame["width"] * 42 / 80, frame["y"] + frame["height"] * 30 / 64)
        page.wait_for_selector("text=% of the picture")
        page.select_option("#material", "dotted")
        page.click("#go")
        page.wait_for_selector("body[data-done='1']")
        assert "style left" in (page.text_content("#state") or "")
        with page.expect_download() as download:
            page.click("#save")
        assert download.value.suggested_filename == "dotted.png"
        assert Image.open(Path(download.value.path())).size == (80, 64)
        page.set_input_files("#mask", str(root / "mask.png"))
        page.wait_for_selector("text=the mask")
        page.select_option("#colour", "content")
        page.click("#go")
        page.wait_for_selector("body[data-done='2']")
        browser.close()
    assert complaints == []
