"""The sheet of nearest photographs: copies are found wherever they lie, and stand first."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from migaki.data.folder import ImageFolder
from migaki.judges import looks
from migaki.judges.looks import closest
from migaki.lab.pictures import show_before_after
from migaki.report.page import Page

PHOTOS, REFINED = 1200, 40
COPIES = {3: 1, 17: 612, 22: 1199, 31: 7, 38: 598}
"""Refined images (none of the first ones) that are photographs, of which a selection of 1,000 would lack some."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Noise, no two pictures alike but for the copies, which are darker and flatter than their originals."""
    root = tmp_path_factory.mktemp("looks")
    pixels = np.random.default_rng(0).integers(100, 200, (PHOTOS + REFINED, 10, 12)).astype(np.float64)
    sets = {"photos": pixels[:PHOTOS], "refined": pixels[PHOTOS:].copy(), "synthetic": pixels[PHOTOS:]}
    for place, photo in COPIES.items():
        sets["refined"][place] = pixels[photo] * 0.8 - 40
    for name, images in sets.items():
        (root / name).mkdir()
        for number, image in enumerate(images):
            Image.fromarray(image.round().astype(np.uint8)).save(root / name / f"{number:04d}.png")
    return {name: root / name for name in sets}


@pytest.mark.parametrize("part", [2**23, 1000])
def test_every_copy_is_found(folders: dict[str, Path], part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "_PART", part)  # 1000: eight pictures at a time
    found = closest(ImageFolder(folders["refined"]), ImageFolder(folders["photos"]), 8)
    assert dict(zip(found.images[:5], found.photos[:5], strict=True)) == COPIES and found.examined == REFINED
    assert found.distances == sorted(found.distances) and len(found.distances) == 8
    assert max(found.distances[:5]) < 0.02 and min(found.distances[5:]) > 0.5


def test_large_sets_are_examined_in_part(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "_EXAMINED", 14)  # every third of 40
    found = closest(ImageFolder(folders["refined"]), ImageFolder(folders["photos"]), 3)
    assert found.examined == 14 and found.images[0] == 3 and found.photos[0] == COPIES[3] and found.distances[1] > 0.5


def test_the_page_shows_the_closest_and_says_how_close(folders: dict[str, Path], tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    for examined in (5000, 20):
        monkeypatch.setattr(looks, "_EXAMINED", examined)
        page = Page("title", "subtitle")
        picture = show_before_after(page, folders["synthetic"], folders["refined"], folders["photos"], "the pictures")
        assert picture[:4] == b"\x89PNG"
        text = page.write(tmp_path / "page.html").read_text(encoding="utf-8")
        wanted = "all 40 refined" if examined == 5000 else "20, evenly spaced, of the 40 refined"
        assert f"For {wanted} images the nearest of all 1,200 real ones" in text
        told = re.search(r"distances of ([\d., ]+) \(0 is a copy", text)
        assert told is not None
        near = [float(value) < 0.02 for value in told[1].split(", ")]
        assert near == sorted(near, reverse=True) and len(near) == 10 and (sum(near) == 5) == (examined == 5000)
