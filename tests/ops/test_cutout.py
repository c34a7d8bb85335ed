"""Regions from a box or a click: things of another colour than their surroundings."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from migaki.ops.cutout import cut_out, fit_mixture


def thing(size: int = 60) -> tuple[Tensor, Tensor]:
    """A noisy red disc on a noisy ground of two tones, and where it is."""
    draw = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    inside = (y - 28) ** 2 + (x - 33) ** 2 < 15**2
    image = torch.where(x < 30, 0.3, 0.6).expand(3, -1, -1).clone()
    image[:, inside] = torch.tensor([0.8, 0.2, 0.15])[:, None]
    return (image + 0.04 * torch.randn(image.shape, generator=draw)).clamp(0, 1)[None], inside


def overlap(a: Tensor, b: Tensor) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_a_box_and_a_click_find_the_thing() -> None:
    image, inside = thing()
    assert overlap(cut_out(image, box=(12.0, 8.0, 42.0, 40.0)), inside) > 0.93
    assert overlap(cut_out(image, click=(33.0, 28.0)), inside) > 0.93
    assert overlap(cut_out(image, click=(40.0, 35.0)), inside) > 0.93


def test_nothing_outside_of_the_box_is_found() -> None:
    image, inside = thing()
    found = cut_out(image, box=(12.0, 8.0, 21.0, 40.0))
    assert not found[:, 34:].any() and not found[:8].any() and (found & inside).any()
    assert torch.equal(found, cut_out(image, box=(12.0, 8.0, 21.0, 40.0)))
    with pytest.raises(ValueError, match="a box or a click"):
        cut_out(image)


def test_a_mixture_is_likelier_at_its_colours() -> None:
    draw = torch.Generator().manual_seed(1)
    first = torch.randn(200, 3, generator=draw) * 3 + torch.tensor([60.0, 40.0, 20.0])
    second = torch.randn(200, 3, generator=draw) * 3 + torch.tensor([20.0, -10.0, 5.0])
    model = fit_mixture(torch.cat([first, second]))
    assert model.log_density(first).mean() > model.log_density(first + 30).mean() + 5
    lone = fit_mixture(first[:1].expand(10, 3))  # one tone: its Gaussian has the least spread
    away = ((second - first[0]).square().sum(1) / 4).double()  # three independent normals of deviation 2
    assert torch.allclose(lone.log_density(second).double(), -away / 2 - 3 * math.log(2 * math.sqrt(2 * math.pi)),
                          rtol=1e-4)
