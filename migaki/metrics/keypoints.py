"""Landmark error: the distance in px between predicted and true landmarks, and PCK, the share within a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.metric import Baseline, Metric
from migaki.metrics.keypoint_similarity import sigmas_of, similarity

WITHIN_PX = (2.5, 5.0, 10.0)
"""The thresholds that are reported; 5 is that of Shrivastava et al., CVPR 2017, table 4."""

CURVE_PX = tuple(step / 2 for step in range(41))
"""Abscissae of the curve in px."""


class KeypointError(Metric):
    """Distance in px between predicted and true landmarks, with the shares within thresholds (PCK) and their curve.

    Two shares are reported, because the literature uses both: the share of all landmarks within a threshold (PCK
    proper), and the share of images whose mean error over landmarks is within it. The metric keeps every error and true
    position (3 J numbers per image), because the median and `of_constant` need them. The figures are therefore
    bit-identical however the images are split into batches.
    """

    main = "mean_px"

    def __init__(self, key: str = "joints", scale: float = 1.0, width: int = 0, *, may_miss: bool = False,
                 side: float = 0.0, names: Sequence[str] = ()) -> None:
        """`key` names the landmarks; errors are multiplied by `scale`, as if at an image width of `width` px.

        With `may_miss` landmarks may lack a label: NaN, or of `keypoints` those that `keypoint_visible` says are not
        labelled. `side` is the longer side of the images in px, for thresholds in per cent of it. `names` are those of
        the landmarks.
        """
        self.may_miss = may_miss  # type: ignore[misc]
        self.hints = ("keypoint_visible",) if may_miss and key == "keypoints" else ()  # type: ignore[misc]
        self._side, self.names = side, tuple(names)
        # An instance attribute replaces the class attribute: each system has its own landmarks.
        self.keys = (key,)  # type: ignore[misc]
        self._key, self._scale, self._width = key, scale, width
        self._errors: list[torch.Tensor] = []
        self._truth: list[torch.Tensor] = []

    def update(self, predicted: Batch, batch: Batch) -> None:
        """Add a batch.

        Shape: predicted[key] and batch[key] (B, J, K) or (B, K), K >= 2, of which the first two count: x y in px.
        Raises ValueError if the shapes differ or a value is not finite: a median would hide a single NaN.
        """
        guess, truth = _places(predicted[self._key]), _places(batch[self._key])
        if guess.shape != truth.shape:
            raise ValueError(f"{self._key}: {tuple(guess.shape)} predicted for {tuple(truth.shape)}")
        if "keypoint_visible" in self.hints and "keypoint_visible" in batch:
            truth = truth.masked_fill(~(batch["keypoint_visible"].cpu() > 0)[..., None], torch.nan)
        if not (guess.isfinite().all() and (truth.isfinite() | (truth.isnan() & self.may_miss)).all()):
            raise ValueError(f"a predicted or a true place in {self._key} is not finite")
        self._truth.append(truth)
        self._errors.append((guess - truth).square().sum(2).sqrt() * self._scale)

    def errors_px(self) -> torch.Tensor:
        """Return the error of every landmark of every image in the order of arrival: (N, J) px, float64; NaN where the
        label is missing."""
        if not sum(len(part) for part in self._errors) or all(part.isnan().all() for part in self._errors):
            raise UserError("landmark error: no labelled image was given, so there is nothing to average")
        return torch.cat(self._errors)

    def errors_of_images(self) -> torch.Tensor:
        """Return the mean error of each image over its labelled landmarks: (N,) px, float64; NaN without any."""
        return _mean(self.errors_px(), 1)

    def of_constant(self) -> KeypointError:
        """Return the same metric for a model that ignores its images and answers each landmark's mean position."""
        metric = KeypointError(self._key, self._scale, self._width, may_miss=self.may_miss, side=self._side,
                               names=self.names)
        truth = torch.cat(self._truth)
        metric.update({self._key: _mean(truth, 0).nan_to_num().expand_as(truth)}, {self._key: truth})
        return metric

    def within(self, threshold: float) -> tuple[float, float]:
        """Return the shares in [0, 1] of landmarks (PCK) and of images (by mean error) within `threshold` px."""
        errors = self.errors_px()
        return _share(errors, threshold), _share(_mean(errors, 1), threshold)

    def compute(self) -> dict[str, Any]:
        """Return the figures over all added images.

        Keys: `count` of images; `width_px`, the image width that px refer to (0: the images' own); `mean_px` and
        `median_px` over all landmarks; for T in 2.5, 5, 10 `within_T_px` (PCK: share of landmarks) and
        `images_within_T_px` (share of images by their mean error); `curve` {`px`, `share`, `share_of_images`: 41 each};
        `mean_px_by_landmark` and `within_5_px_by_landmark`, J numbers each. With a `side` also `pck_5_percent` and
        `pck_10_percent`: the share of landmarks within that share of it; with labels that are missing `num_landmarks`,
        how many there are; of three landmarks or more `mean_oks`. Raises UserError when no image was added.
        """
        errors = self.errors_px()
        known = _known(errors)
        figures: dict[str, Any] = {"count": len(errors), "width_px": self._width, "mean_px": known.mean().item(),
                                   "median_px": float(np.median(known.numpy()))}
        if len(known) < errors.numel() and known.ndim == 1:
            figures["num_landmarks"] = len(known)
        for percent in (5, 10) if self._side else ():
            figures[f"pck_{percent}_percent"] = _share(errors, self._side * self._scale * percent / 100)
        for at in WITHIN_PX:
            figures[f"within_{at:g}_px"], figures[f"images_within_{at:g}_px"] = self.within(at)
        curve = [self.within(at) for at in CURVE_PX]
        if (oks := self._similarity()) is not None:
            figures["mean_oks"] = oks
        figures["curve"] = {"px": list(CURVE_PX), "share": [share for share, _ in curve],
                            "share_of_images": [share for _, share in curve]}
        near = (errors <= 5).double().masked_fill(errors.isnan(), torch.nan)
        for name, each in (("mean_px_by_landmark", errors), ("within_5_px_by_landmark", near)):
            figures[name] = [None if value != value else value for value in _mean(each, 0).tolist()]
        return figures | ({"landmarks": list(self.names)} if self.names else {})

    def _similarity(self) -> float | None:
        """Return the mean over images of OKS (`metrics.keypoint_similarity`), None for fewer than three landmarks.

        The scale of an object is the upright box round its labelled landmarks; images in which that is a line are left
        out.
        """
        truth, errors = torch.cat(self._truth).numpy(), self.errors_px().numpy() / self._scale
        labelled = np.isfinite(errors)
        wide = [np.where(labelled, truth[..., k], -np.inf).max(1) - np.where(labelled, truth[..., k], np.inf).min(1)
                for k in range(2)]
        kept = (labelled.sum(1) >= 3) & (np.minimum(*wide) > 0)
        if not kept.any():
            return None
        distances = np.where(labelled, errors, 0)[kept] ** 2
        return float(similarity(distances, labelled[kept], (wide[0] * wide[1])[kept],
                                sigmas_of(self.names, errors.shape[1])).mean())

    def baseline(self) -> Baseline:
        """Return the baseline that always answers each landmark's mean position over the evaluated images."""
        self.errors_px()  # raises UserError if there is no image
        return Baseline("always the mean place", self.of_constant().compute())


def _known(values: torch.Tensor) -> torch.Tensor:
    """The values that are there, in their shape where all are."""
    there = ~values.isnan()
    return values if there.all() else values[there]


def _mean(values: torch.Tensor, dim: int) -> torch.Tensor:
    """The mean over one axis of what is there."""
    return values.nanmean(dim) if values.isnan().any() else values.mean(dim)


def _share(errors: torch.Tensor, threshold: float) -> float:
    return (_known(errors) <= threshold).double().mean().item()


def _places(tensor: torch.Tensor) -> torch.Tensor:
    places = tensor.detach().to("cpu", torch.float64)
    if places.ndim == 2:
        places = places[:, None]
    if places.ndim != 3 or places.shape[2] < 2:
        raise ValueError(f"landmarks must be (B, J, 2 or more), got {tuple(tensor.shape)}")
    return places[..., :2]
