"""Distances between two sets of images, on features: do refined and real come from one distribution?"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from migaki.core.errors import UserError
from migaki.metrics.neighbours import nearest

__all__ = ["kid", "mmd_squared", "nearest", "polynomial_kernel", "two_sample_test"]

Rows = npt.NDArray[np.floating]
"""Features, one row an image: (N, D)."""


def polynomial_kernel(a: Rows, b: Rows, degree: int = 3) -> npt.NDArray[np.float64]:
    """k(x, y) = (x . y / D + 1)^degree.

    Shape: a (N, D), b (M, D) -> (N, M). Source: Binkowski et al., "Demystifying MMD GANs", ICLR 2018,
    section 4.
    """
    products = a.astype(np.float64) @ b.astype(np.float64).T
    kernel: npt.NDArray[np.float64] = (products / a.shape[1] + 1) ** degree
    return kernel


def mmd_squared(a: Rows, b: Rows, degree: int = 3) -> float:
    """Return an unbiased estimate of the squared maximum mean discrepancy with the polynomial kernel.

    The estimate has mean zero if both sets come from one distribution, so it may be negative.

    Shape: a (N, D), b (M, D), N and M at least 2. Source: Gretton et al., JMLR 2012, eq. 3.
    """
    across = float(polynomial_kernel(a, b, degree).mean())
    return _mean_of_pairs(a, degree) + _mean_of_pairs(b, degree) - 2 * across


def kid(real: Rows, images: Rows, *, num_subsets: int = 100, subset_size: int = 1000, degree: int = 3,
        seed: int = 0) -> dict[str, float]:
    """Return the kernel distance of two feature sets: mean and spread of the unbiased MMD^2 over random subsets.

    Unlike the Frechet distance, it has no bias from the number of images, so small sets can be compared. With features
    of an Inception network it is the KID. Figures are comparable only if they use the same features.

    Shape: real (N, D), images (M, D). Subsets are drawn without replacement and are no larger than the
    smaller set.
    Returns `kid` (mean), `kid_std` (standard deviation over subsets; 0 and without meaning if a subset is a whole set),
    and `subset_size` as used.
    Raises UserError if a set has fewer than two rows, the widths differ or a value is not finite.
    Source: Binkowski et al., "Demystifying MMD GANs", ICLR 2018.
    """
    _check(real, images)
    size = min(subset_size, len(real), len(images))
    rng = np.random.default_rng(seed)
    values = [mmd_squared(real[rng.choice(len(real), size, replace=False)],
                          images[rng.choice(len(images), size, replace=False)], degree)
              for _ in range(num_subsets)]
    return {"kid": float(np.mean(values)), "kid_std": float(np.std(values)), "subset_size": float(size)}


def two_sample_test(real: Rows, images: Rows, *, classifier: Literal["logistic", "knn"] = "logistic",
                    folds: int = 5, seed: int = 0) -> dict[str, float]:
    """Test whether a classifier can tell the two sets apart; an accuracy near 0.5 means that it cannot.

    The larger set is subsampled at random to the size of the smaller, so chance is 0.5. Features are standardised
    within each fold. Every image is classified once, by a classifier that has not seen it.

    Shape: real (N, D), images (M, D). `knn` votes among the nearest sqrt(n) (odd) images, as in the source.
    Returns `accuracy`; `accuracy_real` and `accuracy_images`, the shares classified correctly; `p_value`, the
    probability of at least that accuracy by chance; and `count`. The p-value is binomial and assumes independent
    decisions, so it is only an indication.
    Raises UserError as `kid` does, and if a set has fewer rows than `folds`.
    Source: Lopez-Paz and Oquab, "Revisiting classifier two-sample tests", ICLR 2017.
    """
    from scipy.stats import binomtest
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    _check(real, images)
    size = min(len(real), len(images))
    if size < folds:
        raise UserError(f"two-sample test: {size} images cannot be split into {folds} folds")
    rng = np.random.default_rng(seed)
    rows = np.concatenate([real[rng.choice(len(real), size, replace=False)],
                           images[rng.choice(len(images), size, replace=False)]]).astype(np.float64)
    labels = np.repeat([0, 1], size)
    num_neighbours = int(np.sqrt(2 * size * (folds - 1) / folds)) // 2 * 2 + 1
    judge = (LogisticRegression(max_iter=2000) if classifier == "logistic"
             else KNeighborsClassifier(n_neighbors=min(num_neighbours, 2 * (size - size // folds) - 1)))
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    right = cross_val_predict(make_pipeline(StandardScaler(), judge), rows, labels, cv=split) == labels
    return {"accuracy": float(right.mean()), "accuracy_real": float(right[:size].mean()),
            "accuracy_images": float(right[size:].mean()), "count": float(2 * size),
            "p_value": float(binomtest(int(right.sum()), 2 * size, 0.5, alternative="greater").pvalue)}


def _mean_of_pairs(rows: Rows, degree: int) -> float:
    """Mean of the kernel over pairs of different rows."""
    within = polynomial_kernel(rows, rows, degree)
    return float((within.sum() - np.trace(within)) / (len(rows) * (len(rows) - 1)))


def _check(real: Rows, images: Rows) -> None:
    if real.ndim != 2 or images.ndim != 2 or real.shape[1] != images.shape[1]:
        raise UserError(f"features must be (N, D) and (M, D), got {real.shape} and {images.shape}")
    if min(len(real), len(images)) < 2:
        raise UserError(f"a distance needs at least two photographs and two images, got {len(real)} and {len(images)}: "
                        "give more")
    if not (np.isfinite(real).all() and np.isfinite(images).all()):
        raise UserError("a feature is not finite: the network that made the features has diverged")
