"""The layout gap: large where things are elsewhere, small where only looks, brightness or a blank frame differ."""

from __future__ import annotations

import torch
from torch import Tensor

from migaki.metrics.layout import LayoutGap


def discs(count: int, x: float, seed: int) -> Tensor:
    """(B, 1, 24, 24): a disc about (`x`, 12) that wanders by a px, on black."""
    draw = torch.Generator().manual_seed(seed)
    centres = torch.tensor([x, 12.0]) + torch.randn(count, 2, generator=draw)
    grid = torch.stack(torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="xy"), -1)
    distance = (grid[None] - centres[:, None, None]).norm(dim=-1)
    return torch.sigmoid(5 - distance)[:, None]


def gap(first: Tensor, second: Tensor) -> float:
    meter = LayoutGap(1)
    meter.update(first, second)
    return float(meter.gap())


def test_other_places_are_found_and_looks_are_not() -> None:
    ours = discs(200, 8, 0)
    assert gap(ours, discs(200, 16, 1)) > 1
    assert gap(ours, discs(200, 8, 1)) < 0.1
    assert gap(ours, 0.3 + 0.4 * discs(200, 8, 1)) < 0.1


def test_a_blank_frame_counts_for_nothing() -> None:
    """One set's border is a grey level off, which is a thousand of its own standard deviations."""
    ours, theirs = discs(200, 12, 0), discs(200, 12, 1)
    ours[..., :3, :] = 0
    theirs[..., :3, :] = 1 / 255
    theirs[..., :3, ::2] = 0
    assert gap(ours, theirs) < 0.1
