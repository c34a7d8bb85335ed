"""Pictures that are in two folders are found, whatever they are called there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder
from migaki.data.sets.overlap import require_others, shared_files, shared_pictures


def folder(path: Path, pictures: dict[str, np.ndarray]) -> ImageFolder:
    path.mkdir()
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(path / name)
    return ImageFolder(path)


def test_equal_pixels_are_found_by_other_names_and_formats(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    a, b, c = (draw.integers(0, 256, (12, 16), np.uint8) for _ in range(3))
    first = folder(tmp_path / "first", {"a.png": a, "b.png": b, "turned.png": a.reshape(16, 12)})
    other = folder(tmp_path / "other", {"x.bmp": a, "c.png": c})
    assert shared_pictures(first, other) == ["a.png"] and shared_pictures(other, first) == ["x.bmp"]
    with pytest.raises(UserError, match=r"other: 1 of its 2 pictures are in --photos .*first too, such as x.bmp"):
        require_others(other, first, "--photos")
    require_others(folder(tmp_path / "third", {"c.png": c}), first, "--photos")


def test_equal_files_are_found_by_other_names(tmp_path: Path) -> None:
    """The same pixels in another format are another file."""
    draw = np.random.default_rng(0)
    a, b, c = (draw.integers(0, 256, (12, 16), np.uint8) for _ in range(3))
    first = folder(tmp_path / "first", {"a.png": a, "b.png": b, "again.png": a})
    other = folder(tmp_path / "other", {"x.png": a, "c.png": c, "b.bmp": b})
    assert shared_files(first, other) == ["a.png", "again.png"] and shared_files(other, first) == ["x.png"]
