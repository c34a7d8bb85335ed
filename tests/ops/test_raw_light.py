"""Mosaics against loops, the camera's colours, tone, alignment; noise that is made alike and back."""

from __future__ import annotations

import pytest
import torch

from migaki.ops.anscombe import stabilised, unstabilised
from migaki.ops.linear_light import to_linear
from migaki.ops.raw_light import (
    aligned,
    colours_at,
    demosaicked,
    developed,
    from_camera,
    mosaic_of,
    mosaicked,
    to_camera,
    white_of,
)

PATTERNS = ["RGGB", "BGGR", "GRBG", "GBRG"]


def light(height: int = 7, width: int = 9) -> torch.Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_mosaic_sees_one_colour_a_pixel(pattern: str) -> None:
    clean, mosaic = light(), mosaic_of(pattern)
    raw, seen = mosaicked(clean, mosaic), colours_at(mosaic, 7, 9)
    for y in range(7):
        for x in range(9):
            channel = "RGB".index(pattern[2 * (y % 2) + x % 2])
            assert raw[y, x] == clean[channel, y, x]
            assert seen[:, y, x].tolist() == [float(k == channel) for k in range(3)]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_interpolation_is_the_mean_of_the_nearest_that_saw_the_colour(pattern: str) -> None:
    raw = light()[0]
    made = demosaicked(raw, mosaic_of(pattern))
    at = {(y, x): "RGB".index(pattern[2 * (y % 2) + x % 2]) for y in range(7) for x in range(9)}
    for (y, x), own in at.items():
        for channel in range(3):
            near = [(abs(dy) + abs(dx), raw[y + dy, x + dx]) for dy in (-1, 0, 1) for dx in (-1, 0, 1)
                    if at.get((y + dy, x + dx)) == channel]
            if own == channel:
                wanted = raw[y, x]
            else:  # beside a pixel count twice as much as across a corner
                weights = [2.0 if far == 1 else 1.0 for far, _ in near]
                wanted = sum(w * v for w, (_, v) in zip(weights, near, strict=True)) / sum(weights)
            torch.testing.assert_close(made[channel, y, x], wanted)


def test_the_colours_of_a_camera_come_back() -> None:
    balance = torch.tensor([2.0, 1.0, 1.5])
    matrix = torch.tensor([[1.6, -0.5, -0.1], [-0.2, 1.5, -0.3], [0.0, -0.5, 1.5]])
    torch.testing.assert_close(from_camera(to_camera(light(), balance, matrix), balance, matrix), light())
    grey = torch.full((3, 2, 2), 0.4)
    torch.testing.assert_close(to_camera(grey, balance, matrix)[:, 0, 0], 0.4 / balance)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = from_camera(light(), balance, matrix)
    assert torch.equal(inside, from_camera(light(), balance, matrix))


def test_curves() -> None:
    clean = light()
    torch.testing.assert_close(to_linear(developed(clean / 4, 2.0)), clean / 2, atol=1e-5, rtol=1e-4)
    assert torch.equal(developed(3 * clean, curve="linear"), (3 * clean).clamp(0, 1))
    bright = torch.full((1, 3, 1, 1), 4.0)
    soft = to_linear(developed(bright, curve="soft"))
    torch.testing.assert_close(soft, torch.full_like(bright, 4 * (1 + 4 / 16) / 5))
    torch.testing.assert_close(developed(bright[0], curve="soft"), developed(bright, curve="soft")[0])
    flat = torch.linspace(0, 1, 101).expand(1, 3, 1, 101)
    assert white_of(flat).item() == pytest.approx(0.97, abs=1e-4)


def test_alignment_undoes_a_factor_and_a_shift_and_keeps_noise() -> None:
    truth = torch.rand(3, 20_000, generator=torch.Generator().manual_seed(1))
    scale, shift = torch.tensor([[2.0], [0.5], [-1.0]]), torch.tensor([[0.1], [-0.2], [0.3]])
    torch.testing.assert_close(aligned(scale * truth + shift, truth), truth, atol=1e-4, rtol=1e-4)
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(2))
    left = (aligned(truth + noise, truth) - truth).std()
    assert float(left) == pytest.approx(1.0, abs=0.05)  # fitted the other way round, it would be 0.3
    assert torch.isfinite(aligned(truth, torch.zeros_like(truth))).all()


@pytest.mark.parametrize("level", [0.02, 0.2, 1.0])
def test_noise_is_alike_everywhere_and_its_mean_comes_back(level: float) -> None:
    shot, read, draw = 0.005, 0.01, torch.Generator().manual_seed(3)
    counts = torch.poisson(torch.full((40_000,), level / shot), generator=draw)
    values = shot * counts + read * torch.randn(40_000, generator=draw)
    flat = stabilised(values, shot, read)
    assert float(flat.std()) == pytest.approx(1.0, abs=0.05)
    assert float(unstabilised(flat.mean(), shot, read)) == pytest.approx(level, rel=0.02)
    assert float(unstabilised(torch.zeros(()), shot, read)) == pytest.approx(0.0, abs=2e-3)
