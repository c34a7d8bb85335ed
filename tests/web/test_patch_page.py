"""`migaki serve patch`: the sheet, the score of photographs, what is refused, and the page in a browser."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from browsers import CHROMIUM
from fastapi.testclient import TestClient
from page_server import served
from PIL import Image
from toy_folders import write_folder

from migaki.cli import main
from migaki.core.fit import Run
from migaki.judges.patches import opened_patch
from migaki.stages.train import train
from migaki.systems.classifier import Classifier
from migaki.systems.patch import Patch
from migaki.web import patch_app


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, a classifier of three classes and a patch against it."""
    place = tmp_path_factory.mktemp("patch")
    run = Run(device="cpu", log_every=1, sample_every=0)
    write_folder(place / "data", 6, (24, 32), channels=3)
    train(Classifier, Classifier.Data(data=(place / "data",)), Classifier.Config(steps=4, batch_size=4, features=4),
          run, place / "run", quiet=True)
    train(Patch, Patch.Data(model=place / "run", data=(place / "data",)),
          Patch.Config(target="1", share=0.2, steps=3, batch_size=2), run, place / "patch", quiet=True)
    return place


@pytest.fixture(scope="module")
def app(root: Path) -> Any:
    return patch_app.build_app(*opened_patch(root / "patch", None), 8.0, host="127.0.0.1")


def test_photographs_are_scored(app: Any, root: Path) -> None:
    client = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)
    patch, scores = opened_patch(root / "patch", None)
    for name in ("000.png", "001.png"):
        content = (root / "data" / name).read_bytes()
        found = client.post("/api/read", json={"picture": base64.b64encode(content).decode()}).json()
        pixels = torch.tensor(list(Image.open(io.BytesIO(content)).tobytes())).view(1, 24, 32, 3).movedim(3, 1) / 255
        shares = scores(pixels).softmax(1)[0]
        assert found["classes"][0] == [str(int(shares.argmax())), pytest.approx(float(shares.max()), abs=1e-5)]
        assert found["success"] == (int(shares.argmax()) == patch.target == 1)
        assert found["target"] == pytest.approx(float(shares[1]), abs=1e-5)
    grey = io.BytesIO()
    Image.new("L", (300, 100)).save(grey, "PNG")  # of another size and without colour
    assert client.post("/api/read", json={"picture": base64.b64encode(grey.getvalue()).decode()}).status_code == 200
    reply = client.get("/api/sheet.pdf")
    assert reply.headers["content-type"] == "application/pdf" and reply.content.startswith(b"%PDF")
    assert Image.open(io.BytesIO(client.get("/api/sheet.png").content)).size == (2480, 3508)


def test_what_is_refused(app: Any, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    client = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)
    for body in ({"picture": base64.b64encode(b"no picture").decode()}, {"picture": "***"}, {}, {"path": "/x"}):
        reply = client.post("/api/read", json=body)
        assert reply.status_code == 422 and "error" in reply.json()
    assert client.get("/api/../patch.html").status_code == 404
    secret = "s" * 20
    closed = TestClient(patch_app.build_app(*opened_patch(root / "patch", None), 8.0, host="127.0.0.1", token=secret),
                        base_url="http://127.0.0.1", raise_server_exceptions=False)
    assert closed.get("/api/sheet.pdf").status_code == 401
    assert closed.get("/api/sheet.pdf", headers={"x-access": secret}).status_code == 200
    for words, said in ((["--host", "0.0.0.0"], "give a --token"), (["--print-cm", "40"], "--print-cm 40"),
                        (["--model", str(root / "data")], "no config.json")):
        assert main(["serve", "patch", str(root / "patch"), "--port", "0", *words]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    assert main(["serve", "patch", str(root / "run"), "--port", "0"]) == 2
    assert "is no patch" in capsys.readouterr().err


@pytest.fixture
def url(app: Any) -> Iterator[str]:
    with served(app) as found:
        yield found


@pytest.mark.browser
def test_the_page_in_a_browser(url: str, root: Path) -> None:
    from playwright.sync_api import sync_playwright

    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[
            "--no-sandbox", "--disable-gpu", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"])
        page = browser.new_context(viewport={"width": 390, "height": 844}).new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto(url)
        assert '"1"' in (page.text_content("#line") or "") and "20 %" in (page.text_content("#line") or "")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.set_input_files("#files", [str(root / "data" / name) for name in ("000.png", "001.png")])
        page.wait_for_selector("text=of 2 photographs")
        assert page.locator(".card[data-done] dt").count() == 6
        with page.expect_download() as download:
            page.click("#pdf")
        assert Path(download.value.path()).read_bytes().startswith(b"%PDF")
        page.click("#camera")
        page.wait_for_selector("#shot:not([hidden])")
        page.wait_for_timeout(500)  # the camera's first picture
        page.click("#shot")
        page.wait_for_selector("text=of 3 photographs")
        browser.close()
    assert complaints == []
