"""Distances against naive double loops, an independent implementation and what statistics promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from migaki.core.errors import UserError
from migaki.metrics.distances import kid, mmd_squared, two_sample_test


def cloud(num: int, seed: int, shift: float = 0.0, width: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (num, width)).astype(np.float32)


def naive_mmd(a: np.ndarray, b: np.ndarray) -> float:
    """Gretton et al. 2012, eq. 3, term by term."""
    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return (sum(float(p) * float(q) for p, q in zip(x, y, strict=True)) / len(x) + 1) ** 3
    n, m = len(a), len(b)
    total = sum(kernel(a[i], a[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    total += sum(kernel(b[i], b[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return total - 2 * sum(kernel(x, y) for x in a for y in b) / (n * m)


def test_mmd_equals_the_double_loop() -> None:
    a, b = cloud(13, 0), cloud(11, 1, 0.3)
    assert mmd_squared(a, b) == pytest.approx(naive_mmd(a, b), rel=1e-9)


def test_mmd_equals_torchmetrics() -> None:
    kernels = pytest.importorskip("torchmetrics.image.kid", reason="torchmetrics is not installed")
    a, b = cloud(50, 2), cloud(50, 3, 0.2)
    other = kernels.poly_mmd(torch.from_numpy(a).double(), torch.from_numpy(b).double()).item()
    assert mmd_squared(a, b) == pytest.approx(other, rel=1e-9)


def test_mmd_has_mean_zero_for_one_distribution() -> None:
    values = [mmd_squared(cloud(40, 2 * s), cloud(40, 2 * s + 1)) for s in range(200)]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values))


def test_kid_averages_subsets_and_grows_with_the_shift() -> None:
    real = cloud(300, 4)
    near, far = (kid(real, cloud(300, 5, s), num_subsets=20, subset_size=100) for s in (0.2, 1.0))
    assert 0 < near["kid"] < far["kid"] and far["kid_std"] > 0 and far["subset_size"] == 100
    assert far["kid"] == pytest.approx(mmd_squared(real, cloud(300, 5, 1.0)), rel=0.2)
    assert kid(real, real[:50] + 1, num_subsets=3)["subset_size"] == 50
    assert kid(real, cloud(300, 5), seed=1, num_subsets=5) == kid(real, cloud(300, 5), seed=1, num_subsets=5)


@pytest.mark.parametrize("classifier", ["logistic", "knn"])
def test_the_two_sample_test_tells_apart_only_what_differs(classifier: str) -> None:
    same = two_sample_test(cloud(200, 6), cloud(260, 7), classifier=classifier)  # type: ignore[arg-type]
    other = two_sample_test(cloud(200, 6), cloud(260, 7, 2.0), classifier=classifier)  # type: ignore[arg-type]
    assert 0.4 < same["accuracy"] < 0.6 and same["p_value"] > 0.01 and same["count"] == 400
    assert other["accuracy"] > 0.95 and other["p_value"] < 1e-6
    assert other["accuracy"] == pytest.approx((other["accuracy_real"] + other["accuracy_images"]) / 2)


def test_tiny_sets_still_work() -> None:
    assert 0 <= two_sample_test(cloud(5, 0), cloud(5, 1), classifier="knn")["accuracy"] <= 1


def test_bad_input_is_refused() -> None:
    with pytest.raises(UserError, match=r"\(N, D\)"):
        kid(cloud(5, 0), cloud(5, 0, width=3))
    with pytest.raises(UserError, match="at least two"):
        kid(cloud(1, 0), cloud(5, 0))
    with pytest.raises(UserError, match="not finite"):
        kid(cloud(5, 0) * np.nan, cloud(5, 0))
    with pytest.raises(UserError, match="folds"):
        two_sample_test(cloud(3, 0), cloud(5, 0))
