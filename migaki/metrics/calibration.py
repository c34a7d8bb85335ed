"""Gaze error after a calibration: an affine map of angles, fitted on a few labelled looks of each person.

Every eye tracker asks its user to look at a few known points, and corrects its readings by them. The map takes out what
a fixed offset of the eye, of the head or of the set-up does; what is left is how well the pictures were read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from migaki.core.errors import UserError
from migaki.core.seeds import fold
from migaki.metrics.gaze import angular_error_deg

FEWEST = 3
"""Fewest looks that determine the 6 numbers of an affine map."""

_STILL = 1e-6  # rad: directions in which the predictions vary by less carry nothing


def fit_affine(predicted: Tensor, truth: Tensor) -> Tensor:
    """Returns the affine map from `predicted` to `truth` with the least squared error.

    Where the predictions do not vary, their slope is 0: the map of a constant prediction is the mean of `truth`.

    Shape: predicted, truth (K, D) -> (D + 1, D), slopes above the offset; see `apply_affine`. float64.
    """
    predicted, truth = predicted.double(), truth.double()
    slopes = torch.linalg.pinv(predicted - predicted.mean(0), atol=_STILL, rtol=0.0) @ (truth - truth.mean(0))
    return torch.cat([slopes, (truth.mean(0) - predicted.mean(0) @ slopes)[None]])


def apply_affine(predicted: Tensor, affine: Tensor) -> Tensor:
    """Returns the corrected predictions. Shape: (N, D), (D + 1, D) -> (N, D), float64."""
    return predicted.double() @ affine[:-1] + affine[-1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibrated:
    """Errors after calibrations with `looks` looks of each group, drawn several times.

    `errors_deg` (N,) is the error of each image, averaged over the draws in which it was no look; NaN if it always was
    one. `means_deg` (draws,) is the mean error of each draw over the images that were no looks.
    """

    looks: int
    errors_deg: Tensor
    means_deg: Tensor

    def figures(self) -> dict[str, Any]:
        """Returns `calibrated_mean_deg`, over all images and draws, and `calibrated_draws_sd_deg`, between draws."""
        spread = self.means_deg.std().item() if len(self.means_deg) > 1 else None
        return {"calibrated_mean_deg": self.means_deg.mean().item(), "calibrated_draws_sd_deg": spread}


def calibrate(predicted: Tensor, truth: Tensor, groups: Tensor, *, looks: int, draws: int, seed: int = 0) -> Calibrated:
    """Fit a map for each group on `looks` of its images and measure it on the group's other images, `draws` times.

    The looks of a draw depend on (seed, draw, group, number of images) alone, so that models are compared on equal
    looks.

    Shape: predicted, truth (N, 2) rad, pitch and yaw; groups (N,) int64, such as a number for each person and side.
    Raises UserError for fewer than 3 looks, and for a group without any image beside its looks.
    """
    if looks < FEWEST or draws < 1:
        raise UserError(f"--calibrate {looks}: an affine map needs at least {FEWEST} looks, drawn at least once")
    predicted, truth = predicted.double().cpu(), truth.double().cpu()
    total, count, means = torch.zeros(len(truth)).double(), torch.zeros(len(truth)).double(), []
    members = [torch.nonzero(groups == number)[:, 0] for number in np.unique(groups.numpy())]
    smallest = min(map(len, members))
    if smallest <= looks:
        raise UserError(f"--calibrate {looks}: a group has {smallest} images, and needs more than {looks}: calibrate "
                        "on fewer, or make groups larger with --by")
    for draw in range(draws):
        errors = torch.full_like(total, torch.nan)
        for number, images in enumerate(members):
            order = images[np.random.default_rng(fold(seed, draw, number)).permutation(len(images))]
            known, others = order[:looks], order[looks:]
            affine = fit_affine(predicted[known], truth[known])
            errors[others] = angular_error_deg(apply_affine(predicted[others], affine), truth[others])
        is_other = ~errors.isnan()
        total[is_other] += errors[is_other]
        count += is_other
        means.append(errors.nanmean())
    return Calibrated(looks=looks, errors_deg=total / count, means_deg=torch.stack(means))
