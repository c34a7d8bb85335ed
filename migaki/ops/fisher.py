"""Improved Fisher vectors, batched: how a picture's local features pull at the parameters of a mixture of Gaussians.

Perronnin, Sánchez, Mensink, "Improving the Fisher kernel for large-scale image classification", ECCV 2010; for the maps
of a network (FV-CNN) Cimpoi, Maji, Vedaldi, CVPR 2015. Derivatives with respect to the weights are kept, so a picture
has K + 2 K D numbers, in the order and the scale of scikit-image's `fisher_vector`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from migaki.ops.full_precision import full_precision
from migaki.ops.pooling import signed_root, unit


@dataclass(frozen=True, eq=False)
class Fisher:
    """Principal axes of local features and a mixture of Gaussians with diagonal covariances on them: a `Pooling`.

    Shape: middle (C,), axes (D, C), weights (K,), means and variances (K, D)
    """

    middle: Tensor
    axes: Tensor
    weights: Tensor
    means: Tensor
    variances: Tensor

    @property
    def identity(self) -> str:
        """Names the sizes, with a hash of all numbers."""
        total = hashlib.sha256()
        for field in fields(self):
            total.update(getattr(self, field.name).float().contiguous().numpy().tobytes())
        return f"fisher-{len(self.weights)}x{len(self.axes)}-{total.hexdigest()[:16]}"

    @full_precision
    def __call__(self, maps: Tensor, weights: Tensor | None = None) -> Tensor:
        """Returns the improved Fisher vectors (B, K + 2 K D) of maps (B, C, H, W), signed roots of length 1.

        `weights` (B, 1, H, W) say how much each place counts.
        """
        reduced = self.axes @ (maps.flatten(2) - self.middle[:, None])
        shares = None if weights is None else weights.flatten(1)
        return unit(signed_root(fisher_vectors(reduced, self, shares)))


@full_precision
def posteriors(reduced: Tensor, mixture: Fisher) -> Tensor:
    """Returns the probability (B, K, N) of each Gaussian for features (B, D, N) on the principal axes."""
    precision = 1 / mixture.variances  # (K, D)
    distance = (precision @ reduced.square() - 2 * (mixture.means * precision) @ reduced
                + (mixture.means.square() * precision).sum(1)[:, None])
    log_scale = mixture.weights.log() - 0.5 * mixture.variances.log().sum(1)
    return torch.softmax(log_scale[:, None] - 0.5 * distance, 1)


@full_precision
def fisher_vectors(reduced: Tensor, mixture: Fisher, weights: Tensor | None = None) -> Tensor:
    """Returns the plain Fisher vectors (B, K + 2 K D) of features (B, D, N), whose places weigh (B, N).

    Perronnin et al. 2010, equations 2 to 4, divided by the roots of the diagonal of the Fisher information.
    """
    number = reduced.shape[2]
    if weights is None:
        weights = reduced.new_full((len(reduced), number), 1 / number)
    else:
        weights = weights / weights.sum(1, keepdim=True).clamp_min(1e-12)
    shares = posteriors(reduced, mixture) * weights[:, None]  # (B, K, N)
    zeroth = shares.sum(2)  # (B, K)
    first = shares @ reduced.transpose(1, 2)  # (B, K, D)
    second = shares @ reduced.square().transpose(1, 2)
    means, variances = mixture.means, mixture.variances
    root = mixture.weights.sqrt()
    by_weight = (zeroth - mixture.weights) / root
    by_mean = (first - zeroth[..., None] * means) / (root[:, None] * variances.sqrt())
    by_variance = (-second - zeroth[..., None] * (means.square() - variances) + 2 * first * means) / (
        2**0.5 * root[:, None] * variances)
    return torch.cat([by_weight, by_mean.flatten(1), by_variance.flatten(1)], 1)


def fit_fisher(rows: Tensor, *, parts: int = 64, gaussians: int = 64, seed: int = 0) -> Fisher:
    """Returns the axes and the mixture of local features (N, C), fitted by principal components and EM (scikit-learn).

    At most C `parts`. Raises ValueError for fewer than two features a Gaussian, and for features that never vary.
    """
    if len(rows) < 2 * gaussians:
        raise ValueError(f"{len(rows)} local features for {gaussians} Gaussians: give more pictures, or fewer "
                         "Gaussians")
    values = rows.double()
    middle = values.mean(0)
    spread, axes = torch.linalg.eigh((values - middle).T @ (values - middle) / len(values))
    kept = min(parts, int((spread > 1e-9 * spread.max()).sum()))
    if not kept or float(spread.max()) <= 0:
        raise ValueError("the local features never vary: give other pictures")
    axes = axes.T.flip(0)[:kept]
    # An axis may point either way; the largest component decides, so that a result does not depend on the library.
    axes = axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    reduced = ((values - middle) @ axes.T).numpy()
    fitted = _mixture(reduced, gaussians, seed)
    return Fisher(middle.float(), axes.float(), *(torch.from_numpy(value).float() for value in (
        fitted.weights_, fitted.means_, fitted.covariances_)))


def _mixture(rows: Any, gaussians: int, seed: int) -> Any:
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture  # half a second to import

    least = 1e-3 * float(rows.var(0).mean())  # no Gaussian collapses onto one feature
    mixture = GaussianMixture(gaussians, covariance_type="diag", init_params="k-means++", max_iter=40, tol=1e-3,
                              reg_covar=least, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 40 rounds are enough for a vocabulary
        return mixture.fit(rows)
