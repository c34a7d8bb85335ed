"""Fisher vectors against scikit-image's, with weights of places; what a fit refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from migaki.ops.fisher import Fisher, fisher_vectors, fit_fisher, posteriors

DRAW = torch.Generator().manual_seed(0)
ROWS = torch.cat([torch.randn(200, 6, generator=DRAW) * 0.5 + middle for middle in (-2.0, 0.0, 3.0)])
FITTED = fit_fisher(ROWS, parts=4, gaussians=3)
MAPS = torch.randn(2, 6, 5, 4, generator=DRAW)


def as_sklearn(mixture: Fisher) -> Any:
    from sklearn.mixture import GaussianMixture

    made = GaussianMixture(len(mixture.weights), covariance_type="diag")
    made.weights_, made.means_, made.covariances_ = (
        value.double().numpy() for value in (mixture.weights, mixture.means, mixture.variances))
    made.weights_ /= made.weights_.sum()
    made.precisions_cholesky_ = made.covariances_**-0.5
    return made


def test_against_scikit_image() -> None:
    oracle = pytest.importorskip("skimage.feature", reason="no scikit-image: pip install 'migaki[photos]'")
    reduced = FITTED.axes @ (MAPS.flatten(2) - FITTED.middle[:, None])
    gaussians = as_sklearn(FITTED)
    plain, improved = fisher_vectors(reduced, FITTED), FITTED(MAPS)
    assert plain.shape == improved.shape == (2, 3 + 2 * 3 * 4)
    for number, features in enumerate(reduced.double().numpy()):
        assert np.allclose(posteriors(reduced, FITTED)[number].T, gaussians.predict_proba(features.T), atol=1e-5)
        assert np.allclose(plain[number], oracle.fisher_vector(features.T, gaussians), atol=1e-4)
        assert np.allclose(improved[number], oracle.fisher_vector(features.T, gaussians, improved=True), atol=1e-3)


def test_the_axes_are_principal_and_the_mixture_finds_the_clouds() -> None:
    reduced = (ROWS - FITTED.middle) @ FITTED.axes.T
    covariance = np.cov(reduced.numpy().T)
    assert np.allclose(covariance, np.diag(np.diag(covariance)), atol=1e-3)
    assert (np.diff(np.diag(covariance)) <= 1e-6).all()
    assert torch.allclose(FITTED.axes @ FITTED.axes.T, torch.eye(4), atol=1e-5)
    assert torch.allclose(FITTED.weights.sort()[0], torch.full((3,), 1 / 3), atol=0.02)
    assert fit_fisher(ROWS, parts=4, gaussians=3).identity == FITTED.identity
    assert fit_fisher(ROWS, parts=3, gaussians=3).identity != FITTED.identity


def test_weights_choose_places_and_order_does_not_count() -> None:
    mask = torch.zeros(2, 1, 5, 4)
    mask[:, :, 2:4] = 0.3
    assert torch.allclose(FITTED(MAPS, mask), FITTED(MAPS[:, :, 2:4]), atol=1e-5)
    assert torch.allclose(FITTED(MAPS), FITTED(MAPS.flip(2, 3)), atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(FITTED(MAPS), FITTED(MAPS.clone())) and FITTED(MAPS).dtype == torch.float32


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(ValueError, match="5 local features for 3 Gaussians"):
        fit_fisher(ROWS[:5], gaussians=3)
    with pytest.raises(ValueError, match="never vary"):
        fit_fisher(torch.ones(20, 4), gaussians=3)
