"""Clouds: coverage, thickness, the infrared, the shadow, and real masks as shapes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from migaki.core.errors import UserError
from migaki.core.seeds import generator
from migaki.simulate.clouds import Clouds, fractal_noise

DATA = Path(os.environ.get("MIGAKI_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
GROUND = torch.full((4, 4, 96, 96), 0.2)
SEEDS = torch.arange(4)


def test_clouds_are_laid_over_shadowed_ground() -> None:
    """The model of the docstring, from the returned maps."""
    clean = torch.rand(4, 4, 96, 96)
    damaged, parameters = Clouds(Clouds.Config(brightness=(0.9, 0.9))).damage(clean, SEEDS)
    alpha, ground = parameters["alpha"][:, None], clean * (1 - parameters["shadow"][:, None])
    torch.testing.assert_close(damaged[:, :3], ground[:, :3] * (1 - alpha) + 0.9 * alpha)
    thin = 1 - (1 - alpha) ** parameters["infrared"].view(-1, 1, 1, 1)
    torch.testing.assert_close(damaged[:, 3:], ground[:, 3:] * (1 - thin) + 0.9 * thin, atol=1e-5, rtol=1e-4)


def test_coverage_is_met_and_the_mask_is_the_opacity() -> None:
    config = Clouds.Config(coverage=(0.4, 0.4), thickness=(2, 2))
    _, parameters = Clouds(config).damage(GROUND, SEEDS)
    covered = (parameters["alpha"] > 0).float().mean((1, 2))
    torch.testing.assert_close(covered, torch.full((4,), 0.4), atol=0.01, rtol=0)
    assert parameters["mask"].dtype == torch.uint8 and parameters["mask"].shape == (4, 96, 96)
    assert torch.equal(parameters["mask"] == 1, parameters["alpha"] >= 0.05)


def test_no_coverage_is_clear_sky_and_full_coverage_has_no_hole() -> None:
    clear, parameters = Clouds(Clouds.Config(coverage=(0, 0), shadow=(0, 0))).damage(GROUND, SEEDS)
    assert torch.equal(clear, GROUND) and parameters["mask"].sum() == 0
    _, parameters = Clouds(Clouds.Config(coverage=(1, 1), thickness=(3, 3))).damage(GROUND, SEEDS)
    assert (parameters["alpha"] > 0).float().mean() > 0.999


@pytest.mark.parametrize(("thickness", "low", "high"), [(0.2, 0.1, 0.19), (6.0, 0.99, 1.0)])
def test_from_film_to_opaque(thickness: float, low: float, high: float) -> None:
    _, parameters = Clouds(Clouds.Config(thickness=(thickness, thickness))).damage(GROUND, SEEDS)
    assert all(low < peak <= high for peak in parameters["alpha"].amax((1, 2)).tolist())


def test_infrared_is_clouded_less() -> None:
    damaged, parameters = Clouds(Clouds.Config(shadow=(0, 0), thickness=(0.5, 0.5))).damage(GROUND, SEEDS)
    visible, infrared = damaged[:, 0] - 0.2, damaged[:, 3] - 0.2
    cloud = parameters["mask"] == 1
    assert (infrared[cloud] < visible[cloud]).all() and (infrared[cloud] > 0).all()


def test_shadow_falls_where_the_sun_says() -> None:
    """Sun in the east (90 degrees clockwise from up): shadows to the west, by the offset."""
    config = Clouds.Config(sun_azimuth_deg=(90, 90), shadow_offset=(20, 20), shadow=(0.5, 0.5), shadow_blur=0.0,
                           thickness=(4, 4))
    _, parameters = Clouds(config).damage(GROUND, SEEDS)
    assert parameters["shadow_x"].tolist() == [-20.0] * 4 and parameters["shadow_y"].tolist() == [0.0] * 4
    torch.testing.assert_close(parameters["shadow"][:, :, :-20], 0.5 * parameters["alpha"][:, :, 20:])


def test_fractal_noise_is_smooth_and_coarse_as_asked() -> None:
    def roughness(cell: float) -> float:
        noise = fractal_noise(128, 128, cell=cell, octaves=1, persistence=0.5, draw=generator(3))
        return (noise[:, 1:] - noise[:, :-1]).abs().mean().item() / noise.std().item()
    assert roughness(64) < 0.6 * roughness(32) < 0.4 * roughness(16)
    noise = fractal_noise(256, 256, cell=16, octaves=4, persistence=0.5, draw=generator(4))
    assert abs(noise.mean().item()) < 0.3 * noise.std().item()


def test_gradient_noise_vanishes_at_its_lattice() -> None:
    """Perlin's noise is zero on lattice points: with a cell of 8 px some pixel in every 8 comes near one."""
    noise = fractal_noise(256, 256, cell=8, octaves=1, persistence=1, draw=generator(5)).abs()
    phase = noise.view(32, 8, 32, 8).mean((0, 2))
    assert phase.min() < 0.35 * phase.max()


def test_given_shapes_decide_the_outline() -> None:
    everywhere, nowhere = torch.ones(1, 50, 60), torch.zeros(1, 50, 60)
    config = Clouds.Config(thickness=(3, 3))
    _, full = Clouds(config, everywhere).damage(GROUND, SEEDS)
    _, empty = Clouds(config, nowhere).damage(GROUND, SEEDS)
    assert full["mask"].all() and not empty["mask"].any()
    half = torch.zeros(1, 64, 64)
    half[:, :, :32] = 1
    _, parameters = Clouds(config, half).damage(GROUND[:1].expand(8, -1, -1, -1), torch.arange(8))
    assert 0.05 < parameters["mask"].float().mean() < 0.95
    mostly_useless = torch.cat([torch.ones(1, 64, 64), torch.zeros(1, 64, 64), half])
    _, parameters = Clouds(config, mostly_useless).damage(GROUND[:1].expand(12, -1, -1, -1), torch.arange(12))
    partly = [0.1 < share < 0.95 for share in parameters["mask"].float().mean((1, 2)).tolist()]
    assert sum(partly) > 6  # a third of the shapes, but tried again
    with pytest.raises(UserError, match="shapes"):
        Clouds(config, torch.ones(50, 60))


def test_real_masks_can_be_shapes() -> None:
    path = DATA / "satellite" / "sentinel2_real_cloud_masks.npz"
    if not path.exists():
        pytest.skip(f"no real cloud masks at {path}: set MIGAKI_DATA")
    with np.load(path) as archive:
        masks = torch.from_numpy(next(np.asarray(archive[key]) for key in archive.files)).squeeze().float()
    masks = masks.view(-1, *masks.shape[-2:]).clamp(0, 1)
    seeds, ground = torch.arange(24), GROUND[:1].expand(24, -1, -1, -1)
    damaged, parameters = Clouds(shapes=masks).damage(ground, seeds)
    _, drawn = Clouds().damage(ground, seeds)
    # The share of cloud is that of the masks, most of which are nearly clear or nearly covered, not the one asked for.
    ours, free = (one["mask"].float().mean((1, 2)) for one in (parameters, drawn))
    assert ours.std() > free.std() and masks.mean((1, 2)).min() <= ours.min()
    clear = (parameters["alpha"] == 0)[:, None].expand_as(damaged)
    assert clear.any() and torch.equal(damaged[clear], (ground * (1 - parameters["shadow"][:, None]))[clear])
