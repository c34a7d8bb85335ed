"""Light on changed surfaces: what is kept of the old one, and what the highlights come from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from migaki.ops.colour import rgb_to_lab
from migaki.ops.linear_light import luminance, to_linear
from migaki.ops.surface_light import highlight_curve, low_pass, recoloured, relit, with_highlights


def drawn(*shape: int, seed: int = 0, low: float = 0.2, high: float = 0.8) -> Tensor:
    return low + (high - low) * torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def ramp(size: int = 32) -> Tensor:
    """A surface that is lit from the right."""
    return torch.linspace(0.2, 0.9, size).expand(1, 3, size, size)


@pytest.fixture
def region() -> Tensor:
    found = torch.zeros(1, 1, 32, 32)
    found[..., 4:28, 6:30] = 1
    return found


def test_the_low_pass_is_a_mean_over_the_region_alone(region: Tensor) -> None:
    values = drawn(1, 1, 32, 32)
    found = low_pass(values, region, 2.0)[0, 0].numpy()
    y, x = np.mgrid[:32, :32]
    for row, column in ((4, 6), (15, 20), (27, 29)):
        near = (abs(y - row) <= 6) & (abs(x - column) <= 6)
        weights = np.exp(-((y - row) ** 2 + (x - column) ** 2) / 8) * region[0, 0].numpy() * near
        assert found[row, column] == pytest.approx((weights * values[0, 0].numpy()).sum() / weights.sum(), rel=1e-4)


def test_content_light_is_the_old_low_pass_luminance(region: Tensor) -> None:
    changed, content = drawn(1, 3, 32, 32), ramp()
    found = relit(changed, content, region, "content", 4.0)
    wanted, own = (low_pass(luminance(to_linear(one)), region, 4.0)[region > 0] for one in (content, found))
    before = low_pass(luminance(to_linear(changed)), region, 4.0)[region > 0]
    assert (wanted - own).abs().mean() < 0.25 * (wanted - before).abs().mean()
    assert torch.equal(found[..., region[0, 0] == 0], changed[..., region[0, 0] == 0])


def test_shading_keeps_the_pattern_and_the_new_brightness(region: Tensor) -> None:
    changed, content = drawn(1, 3, 32, 32, low=0.1, high=0.4), ramp()
    found = relit(changed, content, region, "shading", 4.0)
    inside = region[0, 0] > 0
    light = luminance(to_linear(found))[0, 0]
    assert light[:, 22:30][inside[:, 22:30]].mean() > 2 * light[:, 6:14][inside[:, 6:14]].mean()
    assert float(light[inside].mean()) == pytest.approx(float(luminance(to_linear(changed))[0, 0][inside].mean()),
                                                        rel=0.2)
    assert torch.equal(relit(changed, content, region, "style", 4.0), changed)


def test_kept_colours_have_the_new_lightness(region: Tensor) -> None:
    changed, content = drawn(1, 3, 32, 32, low=0.45, high=0.55), drawn(1, 3, 32, 32, seed=1, low=0.45, high=0.55)
    found, inside = rgb_to_lab(recoloured(changed, content, region)), region[0, 0] > 0
    assert torch.allclose(found[0, 0][inside], rgb_to_lab(changed)[0, 0][inside], atol=0.1)
    assert torch.allclose(found[0, 1:][:, inside], rgb_to_lab(content)[0, 1:][:, inside], atol=0.1)


def test_highlights_are_as_bright_as_the_materials(region: Tensor) -> None:
    metal = torch.full((1, 3, 40, 40), 0.3)
    metal[..., :4, :] = 0.95  # a tenth shines
    curve = highlight_curve([metal], 0.1)
    assert bool((curve.diff() >= 0).all()) and float(curve[-1]) > 8
    changed, inside = drawn(1, 3, 32, 32, low=0.25, high=0.35), region[0, 0] > 0
    found = with_highlights(changed, ramp(), region, curve, 0.1)
    before, after = (luminance(to_linear(one))[0, 0][inside] for one in (changed, found))
    risen = after > before + 1e-4
    assert 0.05 < float(risen.float().mean()) <= 0.11
    assert float(after.max() / after.median()) == pytest.approx(float(curve[-1]), rel=0.1)
    added = (to_linear(found) - to_linear(changed))[0][:, inside][:, risen]
    assert torch.allclose(added[0], added[1], atol=1e-4)  # light of the lamp, not of the surface
    # They lie where light fell before: on the right.
    assert torch.nonzero(inside)[risen][:, 1].float().mean() > 20
    assert torch.equal(found[..., ~inside], changed[..., ~inside])
