"""Linear light: against plain formulas, and what a blend leaves alone."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from migaki.ops.linear_light import blend, feather, luminance, to_linear, to_srgb


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_light_follows_the_standard_and_comes_back() -> None:
    values = torch.linspace(0, 1, 1001)
    plain = np.array([v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values.double().tolist()])
    assert np.allclose(to_linear(values).numpy(), plain, atol=1e-6)
    assert torch.allclose(to_srgb(to_linear(values)), values, atol=1e-6)
    assert to_srgb(torch.tensor([-1.0, 2.0])).tolist() == [0.0, 1.0]
    assert torch.allclose(luminance(torch.ones(1, 3, 2, 2)), torch.ones(1, 1, 2, 2))
    assert float(luminance(torch.tensor([0.0, 1, 0]).view(1, 3, 1, 1))) > 0.7


def test_half_of_black_and_white_is_half_the_light() -> None:
    half = blend(torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1), torch.full((1, 1, 1, 1), 0.5))
    assert torch.allclose(half, to_srgb(torch.tensor(0.5)).expand_as(half), atol=1e-6)
    assert float(half.mean()) > 0.7  # not 0.5, which is a fifth of the light


def test_outside_of_the_shares_all_bits_stay() -> None:
    content, changed = drawn(1, 3, 9, 11), drawn(1, 3, 9, 11, seed=1)
    regions = torch.zeros(1, 9, 11, dtype=torch.bool)
    regions[0, 2:7, 3:9] = True
    shares = feather(regions, 2.0)
    found = blend(content, changed, shares)
    assert torch.equal(found[..., ~regions[0]], content[..., ~regions[0]])
    deep = shares[0, 0] == 1
    assert deep.any() and torch.allclose(found[..., deep], changed[..., deep], atol=1e-5)


def test_a_feather_rises_from_the_edge_inwards() -> None:
    regions = torch.zeros(2, 12, 12, dtype=torch.bool)
    regions[0, 3:9, 2:10] = True
    regions[1] = True  # the picture's edge is no edge
    shares = feather(regions, 3.0)
    naive = np.clip((ndimage.distance_transform_edt(regions[0].numpy()) - 0.5) / 3, 0, 1)
    assert np.allclose(shares[0, 0].numpy(), naive) and (shares[1] == 1).all()
    assert torch.equal(feather(regions, 0.0)[:, 0] > 0, regions)


def test_light_is_computed_in_full_precision() -> None:
    values = drawn(1, 3, 4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert to_linear(values.bfloat16()).dtype == torch.float32
        assert torch.equal(to_srgb(to_linear(values)), to_srgb(to_linear(values.clone())))
