"""The demo on rain in a small form: what the page says, nothing made twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from migaki.core.errors import UserError
from migaki.lab.study import run_study
from migaki.studies.demo_rain import _JUDGED_BY, _TRAINED_ON, RainDemo, write_photos


def test_the_page_and_that_nothing_is_made_twice(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for folder, names in (("photos", _TRAINED_ON), ("unseen", _JUDGED_BY)):
        (tmp_path / folder).mkdir()
        for name in names:  # photographs that are there are not taken anew
            pixels = random.integers(0, 255, (9, 9, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((96, 96)).save(tmp_path / folder / f"{name}.png")
    demo = RainDemo(RainDemo.Config(steps=2, count=1))
    page = run_study("demo_rain", demo, tmp_path, quiet=True)
    html = page.read_text(encoding="utf-8")
    assert html.count('class="pair"') == 3 and "PSNR of brightness" in html and "migaki simulate rain" in html
    before = (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns
    run_study("demo_rain", demo, tmp_path, quiet=True)
    assert (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns == before


def test_photographs_are_colour_pictures(tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    write_photos(tmp_path, ("astronaut", "grass", "china"))
    for name, size in (("astronaut", (512, 512)), ("grass", (512, 512)), ("china", (640, 427))):
        with Image.open(tmp_path / f"{name}.png") as photo:
            assert photo.mode == "RGB" and photo.size == size


def test_nothing_to_do_is_refused() -> None:
    with pytest.raises(UserError, match="at least 1"):
        RainDemo.Config(steps=0)
