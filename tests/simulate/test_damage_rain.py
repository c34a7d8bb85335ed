"""Rain: geometry of the streaks against what was asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from migaki.core.errors import UserError
from migaki.simulate.rain import Rain, paper_kinds


def orientation(rain: np.ndarray) -> float:
    """Angle from vertical of the streaks, rad, positive falls to the right: by the structure tensor."""
    down, right = np.gradient(ndimage.gaussian_filter(rain, 1.5))  # finite differences favour the diagonals
    across = 0.5 * np.arctan2(2 * (down * right).mean(), (right**2).mean() - (down**2).mean())
    return float(-across)


@pytest.mark.parametrize("degrees", [-40.0, -20.0, 0.0, 10.0, 35.0])
def test_streaks_fall_in_the_direction_asked_for(degrees: float) -> None:
    config = Rain.Config(angle_deg=(degrees, degrees), angle_jitter_deg=(0, 0), width=(1.5, 1.5))
    _, parameters = Rain(config).damage(torch.zeros(2, 3, 160, 160), torch.arange(2))
    for rain in parameters["rain"]:
        assert np.degrees(orientation(rain[0].double().numpy())) == pytest.approx(degrees, abs=3)
    torch.testing.assert_close(parameters["angle"], torch.full((2,), float(np.radians(degrees))))


def test_rain_is_added_light_alike_in_all_channels() -> None:
    clean = torch.rand(2, 3, 64, 64) * 0.3
    damaged, parameters = Rain(Rain.Config(opacity=(0.05, 0.1))).damage(clean, torch.tensor([3, 4]))
    torch.testing.assert_close(damaged, (clean + parameters["rain"]).clamp(0, 1))
    assert (parameters["rain"] >= 0).all()


def test_screen_blending_never_saturates_and_veil_lifts_the_dark() -> None:
    clean = torch.full((1, 1, 64, 64), 0.5)
    config = Rain.Config(blend="screen")
    damaged, parameters = Rain(config).damage(clean, torch.tensor([3]))
    torch.testing.assert_close(damaged, 0.5 + 0.5 * parameters["rain"].clamp(max=1))
    black = torch.zeros(1, 1, 32, 32)
    veiled, values = Rain(Rain.Config(veil=(0.5, 0.5), airlight=(0.8, 0.8))).damage(black, torch.tensor([1]))
    assert values["veil"].item() == 0.5 and veiled.min() == pytest.approx(0.4)


@pytest.mark.parametrize(("field", "low", "high"), [
    ("density", 5.0, 60.0), ("opacity", 0.03, 0.2), ("length", 10.0, 50.0), ("width", 0.8, 2.5)])
def test_more_of_it_is_more_light(field: str, low: float, high: float) -> None:
    light = [Rain(Rain.Config(**{field: (value, value)})).damage(torch.zeros(4, 1, 96, 96), torch.arange(4))[1]["rain"]
             .mean().item() for value in (low, high)]
    assert light[1] > 1.5 * light[0]


def test_rain_is_as_dense_at_the_border_as_within() -> None:
    config = Rain.Config(density=(60, 60), length=(30, 30), width=(1.2, 1.2), opacity=(0.1, 0.1), opacity_spread=0.0)
    _, parameters = Rain(config).damage(torch.zeros(16, 1, 128, 128), torch.arange(16))
    rain = parameters["rain"][:, 0]
    middle = rain[:, 32:96, 32:96].mean()
    for strip in (rain[:, :16], rain[:, -16:], rain[:, :, :16], rain[:, :, -16:]):
        assert strip.mean().item() == pytest.approx(middle.item(), rel=0.25)


def test_motion_blur_lengthens_and_dims() -> None:
    def rain(blur: float) -> torch.Tensor:
        config = Rain.Config(angle_deg=(0, 0), length=(15, 15), motion_blur=(blur, blur), density=(2, 2),
                                 opacity_spread=0.0)
        return Rain(config).damage(torch.zeros(4, 1, 128, 128), torch.arange(4))[1]["rain"]
    sharp, smeared = rain(0), rain(30)
    assert smeared.max() < 0.7 * sharp.max()
    assert (smeared > 0.01).float().mean() > (sharp > 0.01).float().mean()


def test_fourteen_kinds_of_the_paper() -> None:
    kinds = paper_kinds()
    assert len(set(kinds)) == 14 and len({kind.angle_deg for kind in kinds}) == 7
    light, heavy = (Rain(kind).damage(torch.full((1, 3, 96, 96), 0.3), torch.tensor([1]))[0].mean().item()
                    for kind in kinds[6:8])
    assert 0.3 < light < heavy


@pytest.mark.parametrize("wrong", [{"angle_deg": (-90, 0)}, {"opacity": (0, 0.5)}, {"density": (5, 1)},
                                   {"num_layers": 0}, {"veil": (0, 2)}])
def test_impossible_weather_is_refused(wrong: dict[str, tuple[float, float]]) -> None:
    with pytest.raises(UserError, match="rain: "):
        Rain.Config(**wrong)
