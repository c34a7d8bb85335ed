"""A mesh and a film on a page: both are in it, and the mesh is drawn and turned in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import CHROMIUM
from refusals import message

from migaki.data.files.png import encode_png
from migaki.ops.gltf import Mesh, glb
from migaki.report.page import Page

CORNERS = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
MADE = Mesh(vertices=CORNERS, faces=np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]), normals=CORNERS - 0.25,
            colours=np.tile([[0.9, 0.0, 0.0]], (4, 1)))


def test_mesh_and_film_are_in_the_page() -> None:
    page = Page("a scene")
    assert "readGlb" not in page.html()  # a page without a mesh has no script for one
    page.mesh(glb(MADE), "turn <it>")
    page.film(b"\0\0\0\x18ftypisom", "a tour")
    text = page.html()
    assert "readGlb" in text and "data:video/mp4;base64," in text and "turn &lt;it&gt;" in text
    assert "must be the content of a .glb" in message(lambda: page.mesh(b"<script>"))
    assert "must be the content of an MP4" in message(lambda: page.film(b"<script>"))


@contextmanager
def drawn(path: Path) -> Iterator[Any]:
    """A page on a phone whose mesh has been drawn."""
    sync_playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").sync_playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[
            "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"])
        tab = browser.new_page(viewport={"width": 390, "height": 844})
        tab.goto(path.as_uri())
        tab.wait_for_selector("figure.model[data-drawn=yes]")
        yield tab
        browser.close()


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium")
def test_a_mesh_is_drawn_and_turned(tmp_path: Path) -> None:
    page = Page("a scene")
    page.mesh(glb(MADE), "a mesh")
    with drawn(page.write(tmp_path / "page.html")) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        tab.select_option("figure.model select", "1")
        red = tab.evaluate(_RED)
        assert 0.03 < red < 0.6
        tab.focus("figure.model canvas")
        for _ in range(6):
            tab.keyboard.press("+")
        assert tab.evaluate(_RED) > 1.5 * red


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium")
def test_a_texture_is_drawn(tmp_path: Path) -> None:
    """The texture's upper half is red: the way up is right, and the vertices' colours are not used."""
    picture = np.zeros((3, 8, 8), np.uint8)
    picture[0, :4], picture[2, 4:] = 255, 255
    front = np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    turned = front[:, [2, 1, 0]] * [1, 1, -1]  # faces x, where the first view is from
    quad = Mesh(vertices=turned, faces=np.array([[0, 1, 2], [0, 2, 3]]), normals=np.tile([[1.0, 0, 0]], (4, 1)),
                uv=np.array([[0.0, 1], [1, 1], [1, 0], [0, 0]]), texture=encode_png(picture))
    page = Page("a texture")
    page.mesh(glb(quad), "a texture")
    with drawn(page.write(tmp_path / "page.html")) as tab:
        tab.select_option("figure.model select", "1")
        upper, lower = tab.evaluate(_HALVES)
        assert upper[0] > 200 and upper[2] < 60 and lower[2] > 200 and lower[0] < 60


_HALVES = """() => {
  const source = document.querySelector("figure.model canvas"), surface = document.createElement("canvas");
  [surface.width, surface.height] = [100, 60];
  const paint = surface.getContext("2d");
  paint.drawImage(source, 0, 0, 100, 60);
  return [24, 36].map((row) => [...paint.getImageData(50, row, 1, 1).data]);
}"""


_RED = """() => {
  const source = document.querySelector("figure.model canvas"), surface = document.createElement("canvas");
  [surface.width, surface.height] = [100, 60];
  const paint = surface.getContext("2d");
  paint.drawImage(source, 0, 0, 100, 60);
  const values = paint.getImageData(0, 0, 100, 60).data;
  let red = 0;
  for (let k = 0; k < values.length; k += 4) red += values[k] > 200 && values[k + 1] < 50;
  return red / 6000;
}"""
