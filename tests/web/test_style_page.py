"""`migaki serve style`: what it paints, what it refuses, and the page in a browser with its fake camera."""

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

from migaki.cli import main
from migaki.core.errors import UserError
from migaki.nets.style_net import StyleNet
from migaki.web import style_app
from migaki.web.style_app import GRID, RUNTIME, InBrowser, open_runtime, opened, weights_of

STYLES = ("dots", "lines", "<b>ink")


@pytest.fixture(scope="module")
def net() -> StyleNet:
    torch.manual_seed(0)
    net = StyleNet(3, features=4, blocks=1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return net.eval()


@pytest.fixture(scope="module")
def app(net: StyleNet) -> Any:
    return style_app.build_app(net, STYLES, Path("runs/paintings"), side=96, host="127.0.0.1")


@pytest.fixture(scope="module")
def client(app: Any) -> TestClient:
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)


def picture(width: int = 64, height: int = 48, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def paint(client: TestClient, content: bytes, weights: Any, strokes: Any = ()) -> Any:
    return client.post("/api/paint", json={"picture": base64.b64encode(content).decode(), "weights": weights,
                                           "strokes": list(strokes)})


def pixels(reply: Any) -> torch.Tensor:
    image = Image.open(io.BytesIO(base64.b64decode(reply.json()["picture"])))
    return torch.tensor(list(image.tobytes())).view(image.height, image.width, 3)


def test_sliders_choose_and_mix(client: TestClient, net: StyleNet) -> None:
    content = picture()
    found = [paint(client, content, weights) for weights in ([1, 0, 0], [0, 1, 0], [0.5, 0.5, 0])]
    assert all(reply.status_code == 200 and reply.json()["width"] == 64 for reply in found)
    one, two, _ = map(pixels, found)
    assert (one - two).abs().float().mean() > 2
    expected = net(opened(content, 96), torch.tensor([[1.0, 0, 0]]))[0].permute(1, 2, 0)
    assert (one / 255 - expected.detach()).abs().max() < 0.005
    nothing = pixels(paint(client, content, [0, 0, 0]))
    assert (nothing / 255 - opened(content, 96)[0].permute(1, 2, 0)).abs().max() < 0.003


def test_strokes_paint_a_part_and_leave_the_rest(client: TestClient) -> None:
    strokes = [2 * (place % GRID >= GRID // 2) for place in range(GRID**2)]
    made = pixels(paint(client, picture(96, 96), [0, 0, 0], strokes))
    given = (opened(picture(96, 96), 96)[0].permute(1, 2, 0) * 255).round()
    assert torch.equal(made[:, :44].float(), given[:, :44])
    assert (made - given)[:, 52:].abs().mean() > 2


def test_weights_of_sliders_and_strokes() -> None:
    shares, cover = weights_of([1.0, 1.0], [], (8, 8))
    assert shares.tolist() == [[0.5, 0.5]] and cover is None
    shares, cover = weights_of([0.25, 0.0], [], (8, 8))
    assert shares.tolist() == [[1, 0]] and cover is not None and float(cover) == 0.25
    shares, cover = weights_of([0.0, 0.0], [1] * GRID**2, (8, 8))
    assert cover is not None and float(cover.min()) == 1 and torch.equal(shares[:, 0], torch.ones(1, 8, 8))


def test_large_pictures_are_made_small_and_grey_ones_coloured() -> None:
    assert opened(picture(500, 200), 96).shape == (1, 3, 38, 95)
    assert opened(picture(40, 40, "L"), 96).shape == opened(picture(40, 40, "LA"), 96).shape == (1, 3, 40, 40)


def test_what_is_refused(client: TestClient) -> None:
    content = picture()
    for weights, strokes in (([1, 0], []), ([1, 0, 0, 0], []), ([1, 0, 2], []), ([1, 0, -1], []), (["x", 0, 0], []),
                             ([1, 0, 0], [1, 2]), ([1, 0, 0], [4] * GRID**2), ([1, 0, 0], [-1] * GRID**2)):
        assert paint(client, content, weights, strokes).status_code == 422
    for bad in (b"", b"no picture", content[:50], picture(200, 8)):
        reply = paint(client, bad, [1, 0, 0])
        assert reply.status_code == 422 and "\n" not in reply.json()["error"]
    assert client.post("/api/paint", json={"picture": "***", "weights": [1, 0, 0]}).status_code == 422


def test_a_token_is_asked_for(net: StyleNet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = "s" * 20
    app = style_app.build_app(net, STYLES, tmp_path, side=96, host="127.0.0.1", token=secret)
    client = TestClient(app, base_url="http://127.0.0.1")
    assert client.post("/api/paint", json={}).status_code == 401
    assert secret not in client.get("/").text
    assert main(["serve", "style", str(tmp_path), "--host", "0.0.0.0", "--port", "0"]) == 2
    assert "give a --token" in capsys.readouterr().err
    assert main(["serve", "style", str(tmp_path), "--port", "0", "--side", "7"]) == 2
    assert "--side 7" in capsys.readouterr().err


def test_the_runtime_is_three_plain_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no ort\.wasm\.min\.js there"):
        open_runtime(tmp_path)
    for name in RUNTIME:
        (tmp_path / name).write_bytes(b"x")
    assert {name: kind for name, (_, kind) in open_runtime(tmp_path).items()} == RUNTIME
    (tmp_path / "ort.wasm.min.js").unlink()
    (tmp_path / "ort.wasm.min.js").mkdir()
    with pytest.raises(UserError, match=r"ort\.wasm\.min\.js: is a folder"):
        open_runtime(tmp_path)


def test_scripts_and_the_model_are_given_only_with_a_runtime(net: StyleNet, client: TestClient) -> None:
    assert client.get("/scripts/ort.wasm.min.js").status_code == client.get("/api/model.onnx").status_code == 404
    assert "wasm-unsafe-eval" not in client.get("/").headers["content-security-policy"]
    local = InBrowser(model=b"onnx", side=64, scripts={"ort.wasm.min.js": (b"js", "text/javascript")})
    secret = "s" * 20
    app = style_app.build_app(net, STYLES, Path("run"), side=96, host="127.0.0.1", token=secret, browser=local)
    other = TestClient(app, base_url="http://127.0.0.1")
    assert other.get("/scripts/ort.wasm.min.js").content == b"js"
    assert other.get("/scripts/..%2fx").status_code == other.get("/scripts/x.js").status_code == 404
    assert other.get("/api/model.onnx").status_code == 401
    assert other.get("/api/model.onnx", headers={"x-access": secret}).content == b"onnx"
    assert "script-src 'self' 'wasm-unsafe-eval' 'sha256-" in other.get("/").headers["content-security-policy"]


@pytest.fixture
def page_of(app: Any) -> Iterator[Any]:
    """The page in a browser with a fake camera; it may complain of nothing."""
    from playwright.sync_api import sync_playwright

    complaints: list[str] = []
    with served(app, style_app.CONNECTIONS) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[
            "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-quic",
            "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"])

        def new(width: int, height: int) -> Any:
            page = browser.new_context(viewport={"width": width, "height": height}).new_page()
            page.set_default_timeout(30_000)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
            page.goto(url)
            page.wait_for_selector("#brush2")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            return page

        yield new
        browser.close()
    assert complaints == []


def until(page: Any, what: str, value: Any) -> None:
    """Wait until JavaScript gives another value than this one; the page forbids what Playwright has for it."""
    for _ in range(300):
        if page.evaluate(what) != value:
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"{what} stays {value}")


MADE = "document.getElementById('made').src"


@pytest.mark.browser
def test_sliders_the_brush_and_the_camera_in_a_browser(page_of: Any, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(96, 72))
    page = page_of(1280, 900)
    assert "<b>ink" in page.text_content("#styles")  # a name, and no tag
    page.set_input_files("#files", tmp_path / "a.png")
    page.wait_for_selector("#made[src^=data]")
    first = page.evaluate(MADE)
    page.fill("#weight1", "100")
    until(page, MADE, first)
    second = page.evaluate(MADE)
    page.check("#brush2")
    box = page.locator("#given").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 3, box["y"] + box["height"] / 3, steps=4)
    page.mouse.up()
    until(page, MADE, second)
    assert page.evaluate("strokes.filter((one) => one === 3).length") > 10
    page.click("#clear")
    assert page.evaluate("strokes.some(Boolean)") is False
    before = int(page.evaluate("document.body.dataset.frames"))
    page.click("#camera")
    until(page, f"Number(document.body.dataset.frames) > {before + 2}", False)
    page.click("#camera")
    page_of(390, 844)
