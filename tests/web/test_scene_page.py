"""`migaki serve scene`: views from anywhere, exposure, what gives way, what is refused, and the page in a browser."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browsers import CHROMIUM
from fastapi.testclient import TestClient
from page_server import served
from PIL import Image
from solid_fields import solid_field

from migaki.cli import main
from migaki.ops.camera import ring, tour_of
from migaki.ops.gltf import Mesh, glb
from migaki.ops.mesh import surface_of, vertex_normals
from migaki.web import scene_app

START: dict[str, Any] = {"azimuth": 0, "elevation": 25, "zoom": 1, "side": 48}


def depth_of(places: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A ball beside the middle, so that it moves when the camera turns."""
    return np.asarray(0.5 - np.linalg.norm(places - np.array([0.4, 0.0, 0.0]), axis=-1))


@pytest.fixture(scope="module")
def field() -> Any:
    return solid_field(depth_of, ring(6, 4.0, 25.0), torch.tensor([48.0, 48.0, 24.0, 18.0]), size=(36, 48), side=16)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ball as `apply mesh` writes it: y up, red."""
    out = tmp_path_factory.mktemp("mesh")
    axis = np.linspace(-1.2, 1.2, 17)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)
    vertices, faces = surface_of(depth_of(grid), np.array([[-1.2] * 3, [1.2] * 3]), 0.0)
    made = Mesh(vertices=vertices, faces=faces, normals=vertex_normals(vertices, faces),
                colours=np.tile([[0.8, 0.02, 0.02]], (len(vertices), 1)))
    (out / "mesh.glb").write_bytes(glb(made.turned(np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]))))
    (out / "mesh.json").write_text(json.dumps({"config": {"z_up": True}}))
    return out


@pytest.fixture(scope="module")
def app(field: Any, mesh: Path) -> Any:
    return scene_app.build_app(field, Path("run"), most=48, host="127.0.0.1", mesh=scene_app.read_mesh(mesh))


def client_of(app: Any) -> TestClient:
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)


def seen(client: TestClient, **changes: Any) -> np.ndarray[Any, Any]:
    reply = client.post("/api/view", json=START | changes)
    assert reply.status_code == 200 and reply.headers["content-type"] == "image/png"
    return np.asarray(Image.open(io.BytesIO(reply.content)).convert("RGB")).astype(int)


def middle_of(picture: np.ndarray[Any, Any]) -> float:
    """Where the ball is, across."""
    return float(np.nonzero(picture[..., 2] < 128)[1].mean())


def test_views_follow_the_camera(app: Any, field: Any) -> None:
    client = client_of(app)
    first = seen(client)
    assert first.shape == (36, 48, 3) and first[0, 0].min() == 255
    with torch.inference_mode():
        tour = tour_of(field.kept.poses[:6])
        own = field.render(tour.pose(0, 25, tour.distance)[None], field.kept.lens[None])["rendered"][0]
    assert np.abs(first - 255 * own.permute(1, 2, 0).numpy()).max() <= 1  # strips join to the whole
    left, right = (middle_of(seen(client, azimuth=angle)) for angle in (90, 270))
    assert abs(left - right) > 5 and left + right == pytest.approx(47, abs=1.5)
    near = seen(client, azimuth=90, zoom=2)
    assert (near[..., 2] < 128).sum() > 2 * (first[..., 2] < 128).sum()
    assert seen(client, side=16).shape == (12, 16, 3) and seen(client, side=1024).shape == (36, 48, 3)


def test_pictures_and_exposure(app: Any) -> None:
    client = client_of(app)
    colour, depth, normals = (seen(client, picture=name) for name in ("colour", "depth", "normals"))
    ball = colour[..., 2] < 100
    assert (depth[ball] > 100).all() and (depth[~ball] == 0).mean() > 0.9 and np.ptp(normals[ball], 0).min() > 20
    darker, brighter = seen(client, stops=-1), seen(client, stops=1)
    assert darker[0, 0].max() == 188 and brighter[0, 0].min() == 255  # half of white is 188 in sRGB
    assert (darker[ball][:, 0] < colour[ball][:, 0]).all()
    assert np.array_equal(seen(client, picture="depth", stops=2), depth)


def test_a_large_picture_gives_way(field: Any) -> None:
    painter = scene_app.Painter(field, 200)
    asked = scene_app.Asked(**START | {"side": 200})
    painter._waiting = 1
    with pytest.raises(scene_app.Overtaken):
        painter.png(asked)
    assert painter.png(asked.model_copy(update={"side": scene_app.FASTEST}))[:4] == b"\x89PNG"
    painter._waiting = 0
    assert painter.png(asked)[:4] == b"\x89PNG"  # the turn was given back


def test_what_is_refused(app: Any, field: Any, mesh: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    client = client_of(app)
    for wrong in ({"side": 5000}, {"elevation": 200}, {"zoom": 0}, {"picture": "x"}, {"stops": 9}, {"other": 1},
                  {"azimuth": "NaN"}):
        assert client.post("/api/view", json=START | wrong).status_code == 422
    assert client.get("/api/mesh").content == (mesh / "mesh.glb").read_bytes()
    secret = "s" * 20
    bare = client_of(scene_app.build_app(field, Path("run"), most=48, host="127.0.0.1", token=secret))
    assert bare.post("/api/view", json=START).status_code == 401 and bare.get("/api/mesh").status_code == 401
    assert bare.get("/api/mesh", headers={"x-access": secret}).status_code == 404
    (tmp_path / "a.glb").write_bytes(b"no mesh")
    for given, said in ((tmp_path / "a.glb", "no .glb"), (tmp_path / "none.glb", "no such file")):
        with pytest.raises(Exception, match=said):
            scene_app.read_mesh(given)
    for words, said in (([str(tmp_path)], "no config.json"), ([str(tmp_path), "--side", "9"], "--side 9"),
                        ([str(tmp_path), "--host", "0.0.0.0"], "give a --token")):
        assert main(["serve", "scene", *words, "--port", "0"]) == 2
        error = capsys.readouterr().err
        assert said in error and error.strip().count("\n") == 0


@pytest.mark.browser
def test_the_page_in_a_browser(app: Any) -> None:
    from playwright.sync_api import sync_playwright

    complaints: list[str] = []
    with served(app) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[
            "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"])
        page = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True).new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto(url)
        page.wait_for_selector("body[data-drawn=sharp] #view[src^=blob]")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        start = page.get_attribute("body", "data-azimuth")
        frame = page.locator("#stage").bounding_box()
        assert frame is not None
        page.mouse.move(frame["x"] + 100, frame["y"] + 100)
        page.mouse.down()
        page.mouse.move(frame["x"] + 200, frame["y"] + 120, steps=4)
        page.mouse.up()
        page.wait_for_selector(f"body[data-drawn=sharp]:not([data-azimuth='{start}'])")
        turned = page.evaluate("scene.place.azimuth")
        assert abs((turned - page.evaluate("facts.start.azimuth") + 180) % 360 - 180) > 30
        page.focus("#stage")
        page.keyboard.press("ArrowLeft")
        assert page.evaluate("scene.place.azimuth") == pytest.approx((turned - 10) % 360)
        page.keyboard.press("0")
        page.wait_for_selector(f"body[data-drawn=sharp][data-azimuth='{start}']")
        page.select_option("#kind", "mesh")
        page.select_option("#shown", "1")
        page.wait_for_selector("body[data-drawn=mesh]")
        apart = page.evaluate(_AGREEMENT)
        assert apart < 0.06, "the mesh stands where the field shows it"
        assert complaints == []
        page.route("**/api/view", lambda route: route.fulfill(status=401, json={"error": "no link"}))
        page.reload()  # as if the link's token were missing
        page.wait_for_selector("#trouble:not([hidden])")
        assert page.text_content("#trouble") == "no link" and page.text_content("#state") == ""
        page.evaluate("void (HTMLAnchorElement.prototype.click = () => { throw new Error('saved') })")
        page.click("#save")
        complaints = [text for text in complaints if "401" not in text]
        browser.close()
    assert complaints == []


_AGREEMENT = """async () => {
  const pixels = async (source) => {
    const surface = document.createElement("canvas"), paint = surface.getContext("2d");
    surface.width = 48; surface.height = 36;
    paint.drawImage(source, 0, 0, 48, 36);
    return paint.getImageData(0, 0, 48, 36).data;
  };
  await scene.drawMesh();
  const [one, other] = [await pixels(at("view")), await pixels(at("mesh"))];
  let apart = 0;
  for (let k = 0; k < one.length; k += 4) apart += (one[k + 2] < 128) !== (other[k + 2] < 128);
  return 4 * apart / one.length;
}"""
