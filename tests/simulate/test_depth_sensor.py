"""The stand-in for a depth sensor against the formulas that it quotes."""

import math

import numpy as np
import pytest
import torch

from migaki.core.errors import UserError
from migaki.simulate.depth_sensor import (
    DepthSensor,
    axial_sigma,
    incidence_angle,
    lateral_sigma,
    projector_shadow,
)

QUIET = {"axial": 0.0, "lateral": 0.0, "disparity_steps": 0, "resolution_mm": 0.0, "shadow": False,
         "grazing_deg": 0.0, "edge_loss": 0.0, "thin_loss": 0.0, "flying": 0.0}


def sensor(kind="structured_light", **changes):
    return DepthSensor(DepthSensor.Config(kind=kind, **{**QUIET, **changes}))


def wall(depth, size=120, count=1):
    return torch.full((count, size, size), float(depth))


def slanted(angle, depth=800.0, size=160, focal=588.03):
    """Depth of a plane through (0, 0, depth) turned about the vertical axis: z = depth / (1 - x tan angle)."""
    x = (torch.arange(size) - (size - 1) / 2) / focal
    return (depth / (1 - x * math.tan(angle))).expand(1, size, size).contiguous()


def nguyen(z, theta):
    """Nguyen, Izadi, Lovell 2012, in metres, as printed."""
    sigma = 0.0012 + 0.0019 * (z - 0.4) ** 2
    return sigma if theta <= math.pi / 3 else sigma + 0.0001 / math.sqrt(z) * theta**2 / (math.pi / 2 - theta) ** 2


@pytest.mark.parametrize("z", [0.5, 0.8, 1.5, 3.0])
@pytest.mark.parametrize("degrees", [0, 30, 59, 61, 75])
def test_the_formulas_are_the_published_ones(z, degrees):
    depth, theta = torch.tensor([1000.0 * z]), math.radians(degrees)
    angle = torch.tensor([theta])
    assert axial_sigma(depth, angle, "structured_light").item() == pytest.approx(1000 * nguyen(z, theta), rel=1e-5)
    pixels = 0.8 + 0.035 * theta / (math.pi / 2 - theta)
    assert lateral_sigma(depth, angle, "structured_light", 588.0).item() == pytest.approx(pixels, rel=1e-5)
    flight = 1.5 - 0.5 * z + 0.3 * z**2 + 0.1 * z**1.5 * theta**2 / (math.pi / 2 - theta) ** 2
    assert axial_sigma(depth, angle, "time_of_flight").item() == pytest.approx(flight, rel=1e-4)


@pytest.mark.parametrize("kind", ["structured_light", "time_of_flight"])
@pytest.mark.parametrize("depth", [600.0, 1500.0])
def test_a_wall_gets_the_published_axial_noise(kind, depth):
    noisy = sensor(kind, axial=1.0).damage(wall(depth), 0, [0])
    expected = 1000 * nguyen(depth / 1000, 0) if kind == "structured_light" else (
        1.5 - 0.5 * depth / 1000 + 0.3 * (depth / 1000) ** 2)
    error = (noisy - depth)[:, 20:-20, 20:-20]  # the middle, where the ray is nearly perpendicular
    assert error.std().item() == pytest.approx(expected, rel=0.04)
    assert abs(error.mean().item()) < 4 * expected / math.sqrt(error.numel())


def test_a_steep_wall_gets_more_noise():
    plane = slanted(math.radians(70), size=81)
    error = (sensor(axial=1.0).damage(plane.repeat(10, 1, 1), 0, range(10)) - plane)[:, :, 35:46]
    assert error.std().item() == pytest.approx(1000 * nguyen(0.8, math.radians(70)), rel=0.1)


@pytest.mark.parametrize("degrees", [0, 35, 65])
def test_the_angle_of_a_slanted_plane_is_found(degrees):
    plane, size = slanted(math.radians(degrees)), 160
    camera = torch.tensor([[588.03, 588.03, (size - 1) / 2, (size - 1) / 2]])
    middle = incidence_angle(plane, camera)[0, size // 2, size // 2 - 1:size // 2 + 1].mean()
    assert math.degrees(middle) == pytest.approx(degrees, abs=0.7)


def test_an_outline_does_not_look_steep():
    scene = wall(900.0)
    scene[:, 40:80, 40:80] = 600.0
    camera = torch.tensor([[588.03, 588.03, 59.5, 59.5]])
    assert torch.rad2deg(incidence_angle(scene, camera)).max() < 10


def test_disparity_comes_in_eighths_of_a_pixel():
    depth = torch.linspace(500, 1000, 4000).reshape(1, 40, 100)
    read = sensor(disparity_steps=8).damage(depth, 0, [0])
    disparity = 588.03 * 75.0 / read * 8
    assert (disparity - disparity.round()).abs().max() < 2e-3
    step = depth**2 / (8 * 588.03 * 75.0)  # |dz| = z^2 / (n f b), Khoshelham and Elberink 2012
    assert ((read - depth).abs() <= 0.52 * step).all()
    whole = sensor(resolution_mm=1.0).damage(depth, 0, [0])
    assert torch.equal(whole, whole.round()) and (whole - depth).abs().max() <= 0.51


def test_lateral_noise_moves_an_outline_by_the_published_amount():
    scene = torch.zeros(30, 100, 100)
    scene[:, :, 50:] = 800.0
    moved = sensor(lateral=1.0).damage(scene, 1, range(30))
    # A row's outline is where it begins to be read; along it the shift is a Gaussian rounded to whole pixels.
    far = ((moved > 0)[:, :, 46:50].float().mean((0, 1))).numpy()
    from_normal = [0.5 * math.erfc((d - 0.5) / 0.8 / math.sqrt(2)) for d in (4, 3, 2, 1)]
    np.testing.assert_allclose(far, from_normal, atol=0.06)


def test_the_projector_casts_a_shadow_to_the_left_of_what_is_near():
    scene = wall(1000.0, 200)
    scene[:, 50:150, 100:140] = 600.0
    shadow = projector_shadow(scene, torch.tensor([588.03 * 75.0]))
    width = 588.03 * 75.0 * (1 / 600 - 1 / 1000)  # the difference of the two disparities
    row = shadow[0, 100]
    assert row[:100].sum().item() == pytest.approx(width, abs=1.5)
    assert row[100 - int(width) + 2:100].all() and not row[100:].any() and not shadow[0, 10].any()
    assert not projector_shadow(slanted(math.radians(60)), torch.tensor([588.03 * 75.0])).any()


@pytest.mark.parametrize("kind", ["structured_light", "time_of_flight"])
def test_half_of_the_readings_go_at_the_grazing_angle(kind):
    plane = slanted(math.radians(75), size=81).repeat(30, 1, 1)
    share = (sensor(kind, grazing_deg=75.0).damage(plane, 0, range(30))[:, :, 38:43] == 0).float().mean().item()
    assert share == pytest.approx(0.5, abs=0.06)
    assert (sensor(kind, grazing_deg=75.0).damage(wall(800.0), 0, [0]) > 0).all()


def test_outlines_lose_their_share_and_fly():
    scene = torch.zeros(20, 60, 60)
    scene[:, 15:45, 15:45] = 700.0
    edge = torch.zeros(60, 60, dtype=torch.bool)
    edge[15:45, 15:45] = True
    edge[16:44, 16:44] = False
    lost = sensor(edge_loss=0.3).damage(scene, 0, range(20)) == 0
    assert lost[:, edge].float().mean().item() == pytest.approx(0.3, abs=0.04)
    assert not lost[:, 16:44, 16:44].any()
    flying = sensor("time_of_flight", flying=0.4, flying_mm=50.0).damage(scene, 0, range(20))
    behind = flying[:, edge] - 700
    assert (behind > 0.5).float().mean().item() == pytest.approx(0.4, abs=0.05) and behind.max() <= 50.01


def test_fingers_go_missing_but_palms_do_not():
    scene = torch.zeros(20, 120, 120)
    scene[:, 60:110, 30:100] = 700.0  # a palm
    scene[:, 10:60, 60:66] = 700.0  # a finger thinner than the window
    gone = (sensor(thin_loss=0.3).damage(scene, 0, range(20)) == 0) & (scene > 0)
    assert 0.15 < gone[:, 12:45, 60:66].float().mean() < 0.45
    assert gone[:, 75:95, 45:85].sum() == 0


@pytest.mark.parametrize("kind", ["structured_light", "time_of_flight"])
def test_pure_in_seed_and_index_and_zero_stays_zero(kind):
    scene = torch.zeros(4, 50, 70)
    scene[:, 10:40, 20:50] = torch.linspace(600, 800, 30)
    full = DepthSensor(DepthSensor.Config(kind=kind))
    together = full.damage(scene, 5, [3, 1, 4, 8])
    assert torch.equal(together[2:3], full.damage(scene[2:3], 5, [4]))
    assert not torch.equal(together[0], together[1]) and not torch.equal(together, full.damage(scene, 6, [3, 1, 4, 8]))
    assert together.dtype == torch.float32 and torch.isfinite(together).all() and together.min() == 0
    empty = torch.zeros(1, 20, 20)
    assert torch.equal(full.damage(empty, 0, [0]), empty)
    assert torch.equal(sensor(kind).damage(scene, 0, range(4)), scene)
    assert full.damage(torch.zeros(0, 5, 5), 0, []).shape == (0, 5, 5)


def test_mistakes_are_reported():
    with pytest.raises(UserError, match="indices"):
        DepthSensor().damage(torch.zeros(2, 5, 5), 0, [1])
    with pytest.raises(UserError, match="focal_px"):
        DepthSensor(DepthSensor.Config(focal_px=0.0))
