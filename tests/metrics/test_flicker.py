"""Flicker under known motion: nothing for a pointwise change, what noise and tone add, against naive sums."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from migaki.metrics.flicker import tone_steps, warping_errors

DRAW = torch.Generator().manual_seed(3)
HEIGHT, WIDTH, SHIFT = 20, 30, (3, 2)  # px to the right and down, from frame to frame


def shifted(count: int = 4) -> tuple[Tensor, Tensor]:
    """Frames of a random scene whose content moves by whole px to the left and up, and their motion."""
    scene = torch.rand(3, HEIGHT + count * SHIFT[1], WIDTH + count * SHIFT[0], generator=DRAW)
    frames = torch.stack([scene[:, k * SHIFT[1] : k * SHIFT[1] + HEIGHT, k * SHIFT[0] : k * SHIFT[0] + WIDTH]
                          for k in range(count)])
    motion = torch.stack([torch.tensor([[1, 0, 2 * k * SHIFT[0] / WIDTH], [0, 1, 2 * k * SHIFT[1] / HEIGHT]])
                          for k in range(count)])
    return frames, motion


@pytest.mark.parametrize("change", [lambda x: x, lambda x: x**0.4, lambda x: 0.2 + 0.5 * (1 - x)])
def test_a_pointwise_change_has_no_warping_error(change: object) -> None:
    frames, motion = shifted()
    assert callable(change)
    assert warping_errors(change(frames), motion).abs().max() < 1e-5


def test_wrong_motion_and_noise_have_one() -> None:
    frames, motion = shifted()
    assert warping_errors(frames, motion * torch.tensor([1, 1, 0])).min() > 0.2
    assert warping_errors(frames, motion * torch.tensor([1, 1, -1])).min() > 0.2
    noise = 0.05 * torch.randn(frames.shape, generator=DRAW)
    expected = 0.05 * 2 / math.sqrt(math.pi)  # the mean absolute difference of two normal variables
    assert warping_errors(frames + noise, motion).mean().item() == pytest.approx(expected, rel=0.1)
    still = torch.eye(2, 3).expand(4, 2, 3)
    fixed = frames[:1] + noise[:1]
    assert warping_errors(fixed.expand_as(frames), still).abs().max() < 1e-5


def test_only_pixels_that_were_seen_count() -> None:
    frames, motion = shifted(2)
    errors = []
    for y in range(HEIGHT - SHIFT[1]):
        for x in range(WIDTH - SHIFT[0]):
            errors.append(float((frames[1, :, y, x] ** 2 - frames[0, :, y + SHIFT[1], x + SHIFT[0]]).abs().mean()))
    changed = torch.stack([frames[0], frames[1] ** 2])
    assert float(warping_errors(changed, motion)[0]) == pytest.approx(float(np.mean(errors)), abs=1e-5)
    far = motion + torch.tensor([[[0, 0, 0], [0, 0, 0]], [[0, 0, 5.0], [0, 0, 0]]])
    assert math.isnan(float(warping_errors(frames, far)[0]))


def test_zoom_and_turn_are_followed() -> None:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    motion = torch.tensor([[[0.9, 0.1, 0.05], [-0.1, 0.9, 0.02]], [[0.8, 0.0, 0.0], [0.0, 0.8, 0.03]]])
    places = torch.stack([x, y, torch.ones_like(x)], -1) * torch.tensor([63 / 64, 63 / 64, 1])
    frames = []
    for one in motion:
        u, v = (places @ one.T).unbind(-1)
        frames.append((0.5 + 0.25 * torch.sin(4 * u) + 0.25 * torch.cos(3 * v))[None])
    assert float(warping_errors(torch.stack(frames), motion)[0]) < 2e-3
    assert float(warping_errors(torch.stack(frames), motion.flip(0))[0]) > 0.02


def test_tone_counts_steps_of_the_mean_change() -> None:
    frames, _ = shifted()
    offsets = torch.tensor([0.0, 0.1, 0.1, -0.2]).view(-1, 1, 1, 1)
    torch.testing.assert_close(tone_steps(frames, frames + offsets), torch.tensor([0.1, 0.0, 0.3]), atol=1e-5, rtol=0)
    assert tone_steps(frames, frames + 0.3).max() < 1e-5
