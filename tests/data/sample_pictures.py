"""Small pictures for the tests of image folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def picture(index: int, height: int = 4, width: int = 6, channels: int = 1) -> np.ndarray:
    """A picture (C, H, W) uint8 that depends on its index alone."""
    return np.random.default_rng(index).integers(0, 256, (channels, height, width), dtype=np.uint8)


def save(path: Path, array: np.ndarray) -> None:
    """Write (C, H, W) uint8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array[0] if len(array) == 1 else array.transpose(1, 2, 0)).save(path)
