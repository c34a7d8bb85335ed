"""Patches: their size, their place, and what they cover."""

from __future__ import annotations

import math

import pytest
import torch

from migaki.core.view_ranges import Views
from migaki.ops.patches import covered, paste, place_matrices, side_of, total_variation, uniform_of

STILL = Views(scale=(1, 1), turn=0, shift=0, light=0, noise=0)


def test_the_patch_covers_its_share() -> None:
    for outline in ("circle", "square"):
        side = side_of(0.1, outline, 100, 120)  # type: ignore[arg-type]
        matrices = place_matrices(torch.zeros(1, 6), STILL, side, 64, 100, 120)
        made = paste(torch.zeros(1, 1, 100, 120), torch.ones(1, 1, 64, 64), covered(outline, 64), matrices)  # type: ignore[arg-type]
        assert float(made.mean()) == pytest.approx(0.1, rel=0.02)
        assert float(made[0, 0, 50, 60]) == pytest.approx(1) and float(made[0, 0, 2, 2]) == 0


def test_larger_than_the_picture_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a circle of 57 px is larger than the pictures of 120 x 40 px"):
        side_of(0.53, "circle", 40, 120)
    for share in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="--share"):
            side_of(share, "square", 40, 40)


def test_it_lies_where_the_numbers_say() -> None:
    """x = 1 is as far to the right as it goes with the patch inside, y = -1 as far up."""
    matrices = place_matrices(torch.tensor([[1.0, -1.0, 0, 0, 0, 0]]), STILL, 10.0, 20, 40, 60)
    made = paste(torch.zeros(1, 1, 40, 60), torch.ones(1, 1, 20, 20), covered("square", 20), matrices)[0, 0]
    assert made[:10, 50:].min() > 0.99 and float(made.sum()) == pytest.approx(100, rel=0.02)


def test_size_turn_and_slant() -> None:
    views = Views(scale=(0.5, 2), turn=90, shift=0, perspective=0.3, light=0, noise=0)
    ramp = torch.linspace(0, 1, 20).view(1, 1, 1, 20).expand(1, 1, 20, 20)
    shown = covered("square", 20)

    def put(*numbers: float) -> torch.Tensor:
        matrices = place_matrices(torch.tensor([numbers]), views, 10.0, 20, 40, 40)
        return paste(torch.zeros(1, 1, 40, 40), ramp, shown, matrices)[0, 0]

    areas = [float((put(0, 0, size, 0, 0, 0) > 0.02).sum()) for size in (-1.0, 1.0)]
    assert areas[1] / areas[0] == pytest.approx(16, rel=0.3)
    turned = put(0, 0, 0, 1, 0, 0)  # a quarter from x to y: brightness that rose to the right rises downwards
    column = turned[15:25, 20]
    assert (column.diff() > 0).all() and float(turned[20, 15:25].std()) < 0.1
    slanted = (put(0, 0, 1, 0, 1, 0) > 0).sum(0)  # columns become shorter or longer from left to right
    assert int(slanted[slanted > 0][1]) != int(slanted[slanted > 0][-2])


def test_total_variation_and_uniform_numbers() -> None:
    picture = torch.tensor([[0.0, 1.0], [0.5, 0.5]]).view(1, 1, 2, 2)
    assert float(total_variation(picture)) == pytest.approx((0.5 + 0.5) / 2 + (1.0 + 0.0) / 2)
    draws = uniform_of(torch.randn(20000, generator=torch.Generator().manual_seed(0)))
    assert float(draws.std()) == pytest.approx(1 / math.sqrt(3), rel=0.02) and float(draws.abs().max()) <= 1
    assert uniform_of(torch.zeros(1)).item() == 0


def test_pasting_is_float32_under_autocast() -> None:
    matrices = place_matrices(torch.rand(2, 6, generator=torch.Generator().manual_seed(0)), Views(), 60.0, 30, 200, 220)
    images, patch = torch.rand(2, 3, 200, 220), torch.rand(1, 3, 30, 30)
    with torch.autocast("cpu", torch.bfloat16):
        made = paste(images, patch, covered("circle", 30), matrices)
    assert torch.equal(made, paste(images, patch, covered("circle", 30), matrices))
