"""The steerable pyramid: perfect reconstruction, directions, phases that follow motion, and rows by themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from migaki.ops.steerable import RowBands, SteerablePyramid


def grating(height: int, width: int, omega: float, degrees: float, phase: float = 0.0) -> torch.Tensor:
    """(1, H, W): a cosine of `omega` rad/px whose normal has that angle, from x to y."""
    y, x = np.mgrid[:height, :width]
    angle = math.radians(degrees)
    return torch.from_numpy(np.cos(omega * (x * math.cos(angle) + y * math.sin(angle)) - phase)).float()[None]


@pytest.mark.parametrize(("height", "width", "octaves", "orientations", "skip"),
                         [(32, 32, 2, 4, 0), (37, 50, 2, 3, 0), (64, 33, 2, 1, 1), (48, 64, 1, 6, 0)])
def test_bands_and_residuals_make_the_picture(height: int, width: int, octaves: int, orientations: int,
                                              skip: int) -> None:
    pyramid = SteerablePyramid(height, width, octaves=octaves, orientations=orientations, skip=skip)
    images = torch.randn(2, height, width, generator=torch.Generator().manual_seed(0))
    bands = pyramid.analyse(images)
    assert [band.shape[1] for band in bands] == [orientations] * (octaves - skip)
    torch.testing.assert_close(pyramid.synthesise(bands, pyramid.residuals(images)), images, atol=2e-4, rtol=0)


def test_each_band_answers_to_its_size_and_direction() -> None:
    pyramid = SteerablePyramid(64, 64, octaves=2, orientations=4)
    for level, omega in enumerate((math.pi / 2, math.pi / 4)):
        for band, degrees in enumerate((0, 45, 90, 135)):
            power = [one.abs().square().mean((0, 2, 3)) for one in pyramid.analyse(grating(64, 64, omega, degrees))]
            flat = torch.cat(power)
            assert int(flat.argmax()) == 4 * level + band, (level, degrees)


@pytest.mark.parametrize("degrees", [0, 90])
def test_the_phase_follows_the_motion(degrees: float) -> None:
    """A shift of d px changes the phase by -omega d: response(x - d) of a wave exp(i omega x)."""
    omega, shift = 2 * math.pi * 16 / 64, 0.01
    pyramid = SteerablePyramid(64, 64, octaves=1, orientations=4)
    before, after = (pyramid.analyse(grating(64, 64, omega, degrees, phase))[0][0, degrees // 45]
                     for phase in (0.0, omega * shift))
    turned = (after * before.conj()).angle()
    torch.testing.assert_close(turned, torch.full_like(turned, -omega * shift), atol=1e-4, rtol=0)


def test_the_response_is_analytic_and_keeps_the_amplitude() -> None:
    found = SteerablePyramid(64, 64, octaves=1, orientations=1).analyse(grating(64, 64, math.pi / 2, 0))[0][0, 0]
    torch.testing.assert_close(found.abs(), torch.ones(64, 64), atol=1e-4, rtol=0)


def test_rows_are_filtered_each_by_itself() -> None:
    bands = RowBands(64, octaves=2)
    images = torch.randn(1, 8, 64, generator=torch.Generator().manual_seed(1))
    whole = bands.analyse(images)
    changed = images.clone()
    changed[:, 3] = 0
    for before, after in zip(whole, bands.analyse(changed), strict=True):
        assert torch.equal(before[:, :3], after[:, :3]) and torch.equal(before[:, 4:], after[:, 4:])
        assert not after[:, 3].any()
    wave = bands.analyse(grating(2, 64, math.pi / 4, 0))[1]
    torch.testing.assert_close(wave.abs(), torch.ones(1, 2, 32), atol=1e-4, rtol=0)


def test_it_is_exact_under_autocast() -> None:
    pyramid, rows = SteerablePyramid(32, 32, octaves=1, orientations=2), RowBands(32, octaves=1)
    image = torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        inside = [pyramid.analyse(image)[0], rows.analyse(image)[0]]
    assert torch.equal(inside[0], pyramid.analyse(image)[0]) and torch.equal(inside[1], rows.analyse(image)[0])


@pytest.mark.parametrize(("height", "options", "word"), [
    (16, {"octaves": 2, "orientations": 4}, "need 32 px"), (64, {"octaves": 0, "orientations": 4}, "octaves 0"),
    (64, {"octaves": 2, "orientations": 0}, "orientations 0"),
    (64, {"octaves": 2, "orientations": 1, "skip": 2}, "skip"),
])
def test_what_does_not_fit_is_refused(height: int, options: dict[str, int], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        SteerablePyramid(height, 64, **options)
    with pytest.raises(ValueError, match="need 64 px"):
        RowBands(16, octaves=3)
