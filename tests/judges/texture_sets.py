"""Small sets of drawn textures: stripes, checks and dots, which have names, and random pictures, which have none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Array = np.ndarray[Any, Any]

WORDS = ("checked", "dotted", "striped")


def texture(word: str, draw: np.random.Generator, side: int = 48) -> Array:
    """A picture (H, W, 3) uint8 of a word in [checked, dotted, striped], or of none: clouds of colour."""
    y, x = np.mgrid[:side, :side] + draw.integers(0, 9, (2, 1, 1))
    period = int(draw.integers(5, 9))
    if word == "striped":
        shape = (x // period) % 2
    elif word == "checked":
        shape = (x // period + y // period) % 2
    elif word == "dotted":
        shape = ((x % period - period // 2) ** 2 + (y % period - period // 2) ** 2 < 4).astype(int)
    else:
        shape = np.kron(draw.random((side // 8, side // 8)), np.ones((8, 8)))
    one, other = draw.uniform(0, 255, (2, 3))
    picture = shape[..., None] * one + (1 - shape[..., None]) * other + draw.normal(0, 12, (side, side, 3))
    pixels: Array = picture.clip(0, 255).astype(np.uint8)
    return pixels


def write_words(folder: Path, count: int = 14, words: tuple[str, ...] = WORDS, seed: int = 0) -> Path:
    """A folder with a subfolder of `count` pictures for each word."""
    draw = np.random.default_rng(seed)
    for word in words:
        (folder / word).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(texture(word, draw)).save(folder / word / f"{number:03d}.png")
    return folder


def write_random(folder: Path, count: int = 120, seed: int = 1) -> Path:
    """A folder of pictures of no word."""
    draw = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(texture("", draw)).save(folder / f"{number:03d}.png")
    return folder
