"""Orderless pooling against NumPy, with weights of places, and what it must not depend on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from migaki.ops.pooling import PlainPooling, gram, gram_matrix, mean, mean_sd, signed_root, unit

MAPS = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))


def test_against_numpy() -> None:
    flat = MAPS.numpy().astype(np.float64).reshape(2, 3, -1)
    assert np.allclose(mean(MAPS), flat.mean(2), atol=1e-6)
    assert np.allclose(mean_sd(MAPS), np.concatenate([flat.mean(2), flat.std(2)], 1), atol=1e-6)
    for picture, row in zip(flat, gram(MAPS).numpy(), strict=True):
        products = (picture @ picture.T / 20)[np.triu_indices(3)]
        rooted = np.sign(products) * np.sqrt(np.abs(products))
        assert np.allclose(row, rooted / np.linalg.norm(rooted), atol=1e-6)


@pytest.mark.parametrize("name", ["mean", "mean_sd", "gram"])
def test_no_pooling_knows_the_order(name: str) -> None:
    pooling, order = PlainPooling(name), torch.randperm(20, generator=torch.Generator().manual_seed(1))
    shuffled = MAPS.flatten(2)[..., order].view_as(MAPS)
    assert torch.allclose(pooling(MAPS), pooling(shuffled), atol=1e-6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(pooling(MAPS), pooling(MAPS.clone())) and pooling(MAPS).dtype == torch.float32


@pytest.mark.parametrize("name", ["mean", "mean_sd", "gram"])
def test_weights_choose_a_region(name: str) -> None:
    pooling, mask = PlainPooling(name), torch.zeros(2, 1, 5, 4)
    mask[:, :, 1:3] = 0.5
    assert torch.allclose(pooling(MAPS, mask), pooling(MAPS[:, :, 1:3]), atol=1e-6)
    assert torch.allclose(pooling(MAPS, 0 * mask), pooling(MAPS), atol=1e-6)  # no place has weight: all count


def test_gradients_are_finite_where_nothing_varies() -> None:
    flat = torch.zeros(1, 2, 3, 3, requires_grad=True)
    (slope,) = torch.autograd.grad(mean_sd(flat).sum() + gram(flat).sum() + gram_matrix(flat).sum(), flat)
    assert slope.isfinite().all()
    assert mean_sd(flat.detach()).abs().max() == 0 and unit(torch.zeros(1, 4)).abs().max() == 0
    assert torch.equal(signed_root(torch.tensor([-4.0, 0.0, 9.0])), torch.tensor([-2.0, 0.0, 3.0]))


def test_an_unknown_pooling_is_refused() -> None:
    with pytest.raises(ValueError, match="pooling 'max': there are mean, mean_sd, gram"):
        PlainPooling("max")
