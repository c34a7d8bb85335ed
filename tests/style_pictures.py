"""Small drawn pictures for the tests of style: stripes, dots, and a scene of soft shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def stripes(side: int = 40, turn: bool = False) -> Tensor:
    """Red and white stripes of 4 px, (1, 3, side, side)."""
    line = ((torch.arange(side) // 4) % 2).float().expand(side, side)
    line = line.T if turn else line
    return torch.stack([torch.full_like(line, 0.9), 0.1 + 0.8 * line, 0.1 + 0.8 * line])[None]


def dots(side: int = 40) -> Tensor:
    """Dark blue dots on yellow, (1, 3, side, side)."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    dot = (((x % 10) - 5) ** 2 + ((y % 10) - 5) ** 2 < 9).float()
    return torch.stack([0.9 - 0.8 * dot, 0.8 - 0.7 * dot, 0.2 + 0.4 * dot])[None]


def scene(height: int = 36, width: int = 36, seed: int = 0) -> Tensor:
    """Soft blobs and a bright square, (1, 3, height, width)."""
    draw = torch.Generator().manual_seed(seed)
    soft = torch.nn.functional.interpolate(torch.rand(1, 3, 4, 4, generator=draw), size=(height, width),
                                           mode="bilinear", align_corners=True)
    soft[..., height // 4 : height // 2, width // 4 : width // 2] = 0.9
    return soft


def save(picture: Tensor, path: Path) -> Path:
    """Write (1, C, H, W) as PNG."""
    array = (picture[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array[..., 0] if array.shape[2] == 1 else array).save(path)
    return path
