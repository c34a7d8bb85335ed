"""Nearest neighbours: predicts labels from the most similar labelled images; a strong baseline without training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from migaki import __version__
from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.judge import Findings, Judge, Progress
from migaki.core.metric import Metric
from migaki.data.files.image_file import show
from migaki.data.folder import ImageFolder
from migaki.metrics.classification import Accuracy
from migaki.metrics.gaze import AngularError
from migaki.metrics.neighbours import knn_gaze, nearest_in_parts, pixel_features
from migaki.report.evaluation import shown_by


class Neighbours(Judge):
    """Predicts gaze or class from the k nearest images of `train` and compares it with the labels of `data`."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The two sets and the number of neighbours."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "k"}

        train: Path  # labelled images to search for neighbours
        data: Path  # labelled images of the test
        k: int = 5  # neighbours that are averaged, or vote

    config: Config

    def sources(self) -> tuple[Path, ...]:
        """Both sets."""
        return (self.config.train, self.config.data)

    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns the same figures as for a trained system that predicts this label."""
        config = self.config
        known = ImageFolder(config.train)
        tested = ImageFolder(config.data, size=known.shape[1:], channels=known.shape[0])
        metric = judge_by_neighbours(known, tested, config.k)
        progress(len(tested), len(tested))
        base = metric.baseline()
        sections, files = shown_by(metric, tested.names, tested)
        record = {"run": f"{config.k}-NN on {config.train}", "train": str(config.train), "data": str(config.data),
                  "version": __version__}
        return Findings(title="Nearest neighbours", record=record, figures=metric.compute(), baseline=base.figures,
                        baseline_name=base.name, sections=sections, files=files)


def judge_by_neighbours(known: ImageFolder, tested: ImageFolder, k: int) -> Metric:
    """Returns the metric of k-nearest predictions from `known` for `tested`; UserError if they share no label."""
    if k < 1:
        raise UserError(f"--k {k}: at least 1")
    k = min(k, len(known))
    if "gaze" in known.labels and "gaze" in tested.labels:
        metric: Metric = AngularError()
        images, batch = (folder.read(range(len(folder)), ("image", "gaze")) for folder in (known, tested))
        metric.update({"gaze": knn_gaze(images["image"], images["gaze"], batch["image"], k)}, batch)
        return metric
    if "label" not in known.labels or "label" not in tested.labels:
        raise UserError(f"{show(tested.path)}: nearest neighbours predict `gaze` or `label`: both sets need one")
    batch = tested.read(range(len(tested)), ("image", "label"))
    metric = Accuracy()
    metric.update(_votes(known, batch["image"], k), batch)
    return metric


def _votes(known: ImageFolder, images: torch.Tensor, k: int) -> Batch:
    """Returns the majority class of the k nearest images; the nearest image decides a tie."""
    train = known.read(range(len(known)), ("image", "label"))
    size = (max(4, images.shape[2] // 2), max(4, images.shape[3] // 2))
    features, others = pixel_features(train["image"], size), pixel_features(images, size)
    labels = train["label"].numpy()
    if k == 1:
        places, _ = nearest_in_parts(iter([features]), others)
        return {"label": torch.from_numpy(labels[places])}
    likeness = others @ features.T
    order = np.argsort(-likeness, axis=1, kind="stable")[:, :k]
    chosen = [max(dict.fromkeys(row.tolist()), key=row.tolist().count) for row in labels[order]]
    return {"label": torch.tensor(chosen, dtype=torch.int64)}
