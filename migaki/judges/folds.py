"""Cross-validation within a labelled folder: an upper bound, reached by training on real labels."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from sklearn.cluster import AgglomerativeClustering

from migaki import __version__
from migaki.core.errors import UserError
from migaki.core.files import make_folder, read_json, write_json
from migaki.core.judge import Findings, Judge, Progress
from migaki.core.trained import load_system
from migaki.data.folder import ImageFolder
from migaki.data.writers.writer import FolderWriter
from migaki.judges.looks import read_gaze
from migaki.judges.neighbours import judge_by_neighbours
from migaki.metrics.gaze import AngularError
from migaki.metrics.neighbours import Features, pixel_features
from migaki.report.evaluation import write_evaluation
from migaki.report.several import over_runs

Kind = Literal["blocks", "lookalikes"]
"""`blocks`: folds are contiguous in the folder's order, so that pictures of one moment stay together if the order is
that of time. `lookalikes`: folds are made of clusters of similar pictures, which keeps them together in any order."""


class Folds(Judge):
    """Cross-validation within a labelled folder by nearest neighbours, without any training.

    Labels of each fold are predicted from the images of the other folds. Similar or consecutive pictures share a fold.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The folder and how to divide it."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "folds kind k"}

        data: Path  # a folder with labels
        folds: int = 5  # parts of the folder
        kind: Kind = "lookalikes"  # pictures that share a fold: similar ones, or consecutive ones
        k: int = 5  # neighbours that are averaged, or vote

    config: Config

    def sources(self) -> tuple[Path, ...]:
        """The folder."""
        return (self.config.data,)

    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns the mean over the folds, with its interval, and each fold's figures."""
        config = self.config
        folder = ImageFolder(config.data)
        if config.folds < 2:
            raise UserError(f"--folds {config.folds}: at least 2")
        fold = fold_of(pixel_features(folder.read(range(len(folder)), ("image",))["image"]), config.folds, config.kind)
        metrics = []
        for number in range(config.folds):
            metrics.append(judge_by_neighbours(folder.select(fold != number), folder.select(fold == number), config.k))
            progress(number + 1, config.folds)
        names = [f"fold {number + 1}" for number in range(config.folds)]
        figures, table = over_runs(names, [metric.compute() for metric in metrics])
        base, _ = over_runs(names, [metric.baseline().figures for metric in metrics])
        record = {"data": str(config.data), "folds": config.folds, "kind": config.kind, "k": config.k,
                  "version": __version__}
        return Findings(title="Cross-validation", record=record, figures=figures, baseline=base,
                        baseline_name=metrics[0].baseline().name, sections=[table])


def fold_of(features: Features, folds: int, kind: Kind) -> npt.NDArray[np.int64]:
    """Returns the fold (N,) of each picture, given its standardised pixels `features` (N, D); folds have similar sizes.

    Similar pictures are clustered by average linkage on correlation, about 25 pictures each; the largest cluster goes
    first, always to the smallest fold. Raises UserError for fewer than two pictures per fold.
    """
    count = len(features)
    if count < 2 * folds:
        raise UserError(f"cross-validation: {count} labelled pictures cannot be cut into {folds} folds: use --folds 2 "
                        "or more pictures")
    if kind == "blocks":
        return np.arange(count) * folds // count
    clusters = max(2 * folds, count // 25)
    found = AgglomerativeClustering(n_clusters=min(count, clusters), linkage="average", metric="cosine").fit(features)
    sizes = np.bincount(found.labels_)
    filled, home = np.zeros(folds), np.zeros(len(sizes), np.int64)
    for cluster in np.argsort(-sizes, kind="stable"):
        home[cluster] = np.argmin(filled)
        filled[home[cluster]] += sizes[cluster]
    fold: npt.NDArray[np.int64] = home[found.labels_]
    return fold


def write_folds(labelled: Path, out: Path, folds: int, kind: Kind) -> None:
    """Write `out`/K/train and `out`/K/test for every fold K, then `out`/folds.json.

    folds.json has three keys: `order`, the pictures' indices in `labelled`, fold after fold; `sizes`; and `nearest`,
    the median over all pictures of the pixel correlation with the most similar training picture.
    """
    folder = ImageFolder(labelled)
    features = pixel_features(folder.read(range(len(folder)), ("image",))["image"])
    fold = fold_of(features, folds, kind)
    alike = features @ features.T / features.shape[1]
    nearest = np.where(fold[:, None] != fold[None], alike, -1.0).max(1)
    for number in range(folds):
        for part, chosen in (("train", fold != number), ("test", fold == number)):
            _copy(folder, np.flatnonzero(chosen), out / str(number) / part)
    order = np.concatenate([np.flatnonzero(fold == number) for number in range(folds)])
    write_json(make_folder(out) / "folds.json", {
        "order": order.tolist(), "sizes": np.bincount(fold, minlength=folds).tolist(),
        "nearest": float(np.median(nearest))})


def _copy(folder: ImageFolder, chosen: npt.NDArray[np.int64], out: Path) -> None:
    """Write the chosen pictures and their rows as a new folder."""
    if out.exists():
        shutil.rmtree(out)  # left by an interrupted call; nothing else writes there
    info = {"parent": str(folder.path), "parent_fingerprint": folder.fingerprint}
    with FolderWriter(out, info, len(chosen)) as writer:
        for place, index in enumerate(chosen.tolist()):
            row = {key: value for key, value in folder.rows[index].items() if not key.endswith("file_name")}
            writer.write(place, f"{index:06d}", folder.read([index], ("image",))["image"][0], row)


def join_evaluations(labelled: Path, folds: Path, runs: Sequence[Path], out: Path) -> None:
    """Write one evaluation of all of `labelled`; each picture is judged by the run that did not train on it.

    `runs` have the order of the folds that `write_folds` wrote to the folder `folds`.
    """
    order, sizes = (read_json(folds / "folds.json")[key] for key in ("order", "sizes"))
    edges = np.cumsum([0, *sizes])
    config = load_system(runs[0]).config
    folder = ImageFolder(labelled, size=(config.height, config.width), channels=config.channels)
    read = torch.empty(len(folder), 2)
    for run, start, stop in zip(runs, edges[:-1], edges[1:], strict=True):
        chosen = order[start:stop]
        read[chosen] = read_gaze(run, folder, chosen)
    metric = AngularError()
    metric.update({"gaze": read}, folder.read(range(len(folder)), ("gaze",)))
    write_evaluation(out, {"run": [str(run) for run in runs], "data": str(labelled)}, metric, folder.names)
