"""The two folders of a refiner: a handful of pictures is said, since a discriminator learns them by heart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from migaki.data.batches.two_folders import open_two, too_few


def write(folder: Path, count: int, seed: int) -> Path:
    folder.mkdir()
    random = np.random.default_rng(seed)
    for number in range(count):
        Image.fromarray(random.integers(0, 256, (8, 8), np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize(("drawn", "photographs", "said"), [(12, 1, "--photos"), (3, 12, "--synthetic"), (12, 12, "")])
def test_a_handful_of_pictures_is_told(drawn: int, photographs: int, said: str, tmp_path: Path) -> None:
    synthetic, photos = open_two(write(tmp_path / "s", drawn, 0), write(tmp_path / "p", photographs, 1))
    assert (len(synthetic), len(photos)) == (drawn, photographs)
    lines = too_few(tmp_path / "s", tmp_path / "p")
    assert len(lines) == bool(said)
    assert all(said in line and "learned by heart" in line for line in lines)
