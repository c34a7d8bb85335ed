"""What differs between two sets: each measure against NumPy, advice in the right direction."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from migaki.data.folder import ImageFolder
from migaki.lab.adapt import gap

IMAGES = torch.rand(4, 3, 16, 20, generator=torch.Generator().manual_seed(0))


def test_measures_are_those_of_numpy() -> None:
    for index, image in enumerate(IMAGES.double().numpy()):
        grey = image.mean(0)
        assert float(gap.brightness(IMAGES)[index]) == pytest.approx(image.mean(), abs=1e-5)
        assert float(gap.contrast(IMAGES)[index]) == pytest.approx(grey.std(), abs=1e-5)
        assert float(gap.colourfulness(IMAGES)[index]) == pytest.approx((image.max(0) - image.min(0)).mean(), abs=1e-5)
        slope = (np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean()) / 2
        assert float(gap.sharpness(IMAGES)[index]) == pytest.approx(slope / grey.std(), abs=1e-4)


@pytest.mark.parametrize("sigma", [0.01, 0.04])
def test_grain_is_the_deviation_of_the_noise_whatever_the_picture(sigma: float) -> None:
    y, x = torch.meshgrid(torch.linspace(0, 1, 96), torch.linspace(0, 1, 96), indexing="ij")
    scene = (0.3 + 0.4 * x * y + 0.2 * (x > 0.5)).expand(3, 1, 96, 96)
    noise = torch.randn(3, 1, 96, 96, generator=torch.Generator().manual_seed(1)) * sigma
    assert gap.grain(scene + noise).numpy() == pytest.approx([sigma] * 3, rel=0.12)
    assert float(gap.grain(scene).max()) < 0.002


@pytest.mark.parametrize("name", list(gap.MEASURES))
def test_measures_stay_exact_under_autocast(name: str) -> None:
    measure = gap.MEASURES[name][1]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(measure(IMAGES), measure(IMAGES.clone()))
        under = measure(IMAGES)
    assert torch.equal(under, measure(IMAGES)) and under.dtype == torch.float32


def test_the_distance_of_means_has_the_sign_of_what_photographs_have_more_of() -> None:
    low, high = np.array([0.1, 0.2, 0.3]), np.array([0.6, 0.7, 0.8])
    assert gap.standardised(low, high) == pytest.approx(0.5 / low.std())
    assert gap.standardised(high, low) < 0


def test_advice_says_what_the_photographs_have(image_folder: Callable[..., Path], tmp_path: Path) -> None:
    """The other camera of the toy folders is brighter, flatter and noisy."""
    gap.look(image_folder("drawn", 30, (16, 24)), image_folder("taken", 30, (16, 24), real=True), None,
             tmp_path / "look")
    found = json.loads((tmp_path / "look" / "look.json").read_text())
    advice = " ".join(found["advice"])
    assert "render brighter" in advice and "add the camera's noise" in advice and "softer light" in advice
    assert found["looks"]["pixels"]["told_apart"] > 0.5 and "colour" not in advice


def test_copies_are_found_and_named(image_folder: Callable[..., Path]) -> None:
    one, other = (ImageFolder(image_folder(name, 8, (16, 24), seed=seed)) for name, seed in (("a", 0), ("b", 5)))
    assert gap.copies(one, one)["count"] == 8 and gap.copies(one, one)["pairs"][0] == ["000.png", "000.png"]
    assert gap.copies(one, other)["count"] == 0
