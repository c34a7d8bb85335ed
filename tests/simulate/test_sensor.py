"""The sensor in the dark: mean and variance of its raws, its mosaic, its limits, and what is written of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from migaki.core.errors import UserError
from migaki.ops.linear_light import to_srgb
from migaki.simulate.damaged_pairs import DamagedPairs
from migaki.simulate.noise import Noise
from migaki.simulate.sensor import Sensor


def shot(radiance: torch.Tensor, seed: int = 0, **changes: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    sensor = Sensor(Sensor.Config(**changes))
    picture, numbers = sensor.damage(radiance[None], torch.tensor([seed]))
    return picture[0], {key: value[0] for key, value in numbers.items()}


def values_of(numbers: dict[str, torch.Tensor]) -> torch.Tensor:
    return (numbers["raw"] - numbers["black_level"]) / (numbers["white_level"] - numbers["black_level"])


def test_mean_and_variance_are_those_of_the_model() -> None:
    radiance = torch.tensor([0.6, 0.3, 0.9])[:, None, None].expand(3, 200, 200)
    _, numbers = shot(radiance, exposure=-2.0, electrons=400.0, read=5.0, white_balance=(2.0, 1.0, 1.5),
                      pattern="GRBG")
    value = values_of(numbers)
    for number, channel in enumerate((1, 0, 2, 1)):  # G R / B G
        part = value[number // 2 :: 2, number % 2 :: 2]
        clean = (0.6, 0.3, 0.9)[channel] / (2.0, 1.0, 1.5)[channel] / 4
        variance = float(numbers["shot_noise"]) * clean + float(numbers["read_noise"]) ** 2
        assert variance == pytest.approx(clean / 400 + (5 / 400) ** 2)
        assert float(part.mean()) == pytest.approx(clean, abs=4 * (variance / part.numel()) ** 0.5)
        assert float(part.var()) == pytest.approx(variance, rel=0.05)


def test_raws_are_whole_numbers_with_their_limits() -> None:
    ramp = torch.linspace(0, 40, 64).expand(3, 32, 64)
    picture, numbers = shot(ramp, bits=12, black=64, exposure=-3.0)
    raw = numbers["raw"]
    assert raw.dtype == torch.int64 and int(raw.max()) == 4095 == int(numbers["white_level"])
    assert 0 <= int(raw.min()) < 64 == int(numbers["black_level"])  # noise goes below black
    assert float(picture.max()) == 1 and picture.shape == (3, 32, 64)


def test_pictures_have_the_brightness_of_the_scene_at_every_shutter() -> None:
    radiance = torch.full((3, 60, 60), 0.2)
    times, means = set(), []
    for seed in range(6):
        picture, numbers = shot(radiance, seed, exposure=-1.0, shutters=(1.0, 0.25), electrons=1e6, read=0.0,
                                matrix=(1.5, -0.4, -0.1, -0.2, 1.5, -0.3, 0.0, -0.5, 1.5))
        times.add(float(numbers["shutter"]))
        assert float(numbers["preview_gain"]) == pytest.approx(2 / float(numbers["shutter"]))
        means.append(picture.mean((1, 2)))
    assert times == {1.0, 0.25}
    torch.testing.assert_close(torch.stack(means), to_srgb(torch.full((6, 3), 0.2)), atol=2e-3, rtol=0)


def test_a_matrix_that_mixes_is_undone() -> None:
    matrix = (1.5, -0.4, -0.1, -0.2, 1.5, -0.3, 0.0, -0.5, 1.5)
    radiance = torch.tensor([0.5, 0.2, 0.4])[:, None, None].expand(3, 40, 40)
    picture, numbers = shot(radiance, exposure=0.0, electrons=1e7, read=0.0, matrix=matrix)
    torch.testing.assert_close(picture.mean((1, 2)), to_srgb(torch.tensor([0.5, 0.2, 0.4])), atol=2e-3, rtol=0)
    assert numbers["colour_matrix"].flatten().tolist() == pytest.approx(matrix)


@pytest.mark.parametrize(("changes", "reason"), [
    ({"exposure": 99.0}, "exposure"), ({"electrons": 0.0}, "electrons"), ({"bits": 6}, "bits"),
    ({"black": 9000}, "black"), ({"shutters": ()}, "shutters"), ({"shutters": (0.0,)}, "shutters"),
    ({"white_balance": (0.0, 1.0, 1.0)}, "white balance"), ({"matrix": (0.0,) * 9}, "matrix"),
    ({"matrix": (1.0,)}, "matrix")])
def test_wrong_options_are_named(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        Sensor.Config(**changes)


def test_grey_light_has_three_colours_and_more_than_three_are_refused() -> None:
    assert torch.equal(shot(torch.full((1, 8, 8), 0.3))[0], shot(torch.full((3, 8, 8), 0.3))[0])
    with pytest.raises(UserError, match="red, green and blue"):
        shot(torch.zeros(4, 8, 8))


def test_a_set_without_radiance_is_photographed_as_its_pictures_say() -> None:
    pairs = DamagedPairs(Sensor(Sensor.Config(exposure=0.0, electrons=1e7, read=0.0)))
    pictures, seeds = torch.full((1, 3, 8, 8), 0.6), torch.zeros(1, dtype=torch.int64)
    made = pairs.change({"image": pictures}, seeds)
    torch.testing.assert_close(made["input/image"], pictures, atol=0.01, rtol=0)
    bright = pairs.change({"image": pictures, "radiance": torch.full((1, 3, 8, 8), 0.8)}, seeds)
    torch.testing.assert_close(bright["input/image"], to_srgb(torch.full((1, 3, 8, 8), 0.8)), atol=0.01, rtol=0)
    assert torch.equal(bright["target/image"], pictures) and bright["input/raw"].shape == (1, 8, 8)
    assert pairs.hints == ("radiance",) and not DamagedPairs(Noise()).hints
