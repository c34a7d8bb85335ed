"""Texture probe: how well classes of textures or materials can be told from a network's pooled features.

A linear classifier in closed form on rows of features, in folds that keep near-duplicates together, or learned on one
set and asked of another. Nothing is trained but that: it compares networks, layers and poolings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from migaki import __version__
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.judge import Findings, Judge, Progress, Section
from migaki.data.files.member import FilePath
from migaki.data.folder import ImageFolder
from migaki.judges.texture_rows import Glance, PoolingName, RowOptions, Rows, files_by_label, glance
from migaki.metrics.classification import Accuracy
from migaki.metrics.linear_probe import accuracy_interval, probe_folds, probe_scores
from migaki.metrics.separability import grouped_folds
from migaki.ops.perceptual import duplicate_groups
from migaki.report.class_table import class_pictures, class_table, precisions

Array = np.ndarray[Any, Any]

_SHOWN = 8  # pictures of a class


class TextureProbe(Judge):
    """Accuracy of a linear classifier on pooled features, with intervals, beside the most frequent class.

    With `test` the classifier learns `data` and is asked of that set, whose classes are matched by name.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The sets, the features and the protocol."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "test network layer pooling folds",
            "run": "workers store seed",
        }

        data: Path  # labelled pictures: a subfolder for each class, or a column label
        test: Path | None = None  # other labelled pictures to be asked of; none = cross-validation
        network: str = "random"  # features: random, gradients, NAME=FILE.safetensors, a run; see docs/textures.md
        layer: str = ""  # layer or layers (joined by +); empty = the network's usual one
        pooling: PoolingName = "gram"  # mean, mean_sd, gram, or fisher, which is fitted on data, without labels
        gaussians: int = 64  # of the Fisher pooling
        per_class: int = 0  # pictures of each class, drawn by the seed; 0 = all
        folds: int = 4  # of the cross-validation
        repeats: int = 3  # times the folds are drawn
        ridge: float = 0.1  # of the classifier
        size: int = 160  # px, sides of the pictures that the network sees
        quality: int = 0  # of a JPEG that all pictures pass through; 0 = none
        grey: bool = False  # take colours away
        twins: int = 26  # bits of 256 in which the hashes of near-duplicates differ at most; -1 = no grouping
        workers: int = 1  # processes that compute features; 0 = one per core
        store: Path | None = None  # folder of computed features; none = the user's cache
        seed: int = 0  # of the first folds

    config: Config

    def sources(self) -> tuple[Path, ...]:
        """Returns the judged sets."""
        return tuple(path for path in (self.config.data, self.config.test) if path is not None)

    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns accuracy, recall and precision of each class; UserError for sets and options that do not fit."""
        config = self.config
        _check(config)
        classes = _classes(config.data)
        if config.per_class:
            draw = np.random.default_rng(config.seed)
            classes = {name: [own[place] for place in np.sort(draw.permutation(len(own))[: config.per_class]).tolist()]
                       for name, own in classes.items()}
        names, files = list(classes), [path for own in classes.values() for path in own]
        labels = np.repeat(np.arange(len(names)), [len(own) for own in classes.values()])
        rows = Rows(RowOptions(**{name: getattr(config, name) for name in (
            "network", "layer", "pooling", "gaussians", "size", "quality", "grey", "workers", "store", "seed")}))
        rows.fit(files)
        asked, truth = _asked(config, names)
        every = [*files, *asked]
        features = rows.of(every, progress)
        glances = [glance(path) for path in every]
        if config.test is not None:
            groups = np.array(duplicate_groups([one.code for one in glances[len(files) :]], config.twins))
            scores = probe_scores(features[: len(files)], torch.from_numpy(labels), features[len(files) :],
                                  config.ridge)
            rounds, labels, glances = [scores.argmax(1).numpy()], truth, glances[len(files) :]
        else:
            groups = np.array(duplicate_groups([one.code for one in glances], config.twins))
            rounds = [probe_folds(features, labels, grouped_folds(groups, config.folds, config.seed + number),
                                  config.ridge) for number in range(config.repeats)]
        return _findings(config, rows.named, names, labels, groups, rounds, glances)


def _check(config: TextureProbe.Config) -> None:
    if config.per_class == 1 or config.per_class < 0:
        raise UserError(f"--per-class {config.per_class}: at least 2, or 0 for all")
    for name, least in (("folds", 2), ("repeats", 1)):
        if getattr(config, name) < least:
            raise UserError(f"--{name} {getattr(config, name)}: at least {least}")
    if config.ridge <= 0:
        raise UserError(f"--ridge {config.ridge:g}: above 0")


def _classes(path: Path) -> dict[str, list[FilePath]]:
    """The pictures of each class; UserError unless there are two classes with two pictures each."""
    found = files_by_label(ImageFolder(path))
    if len(found) < 2:
        raise UserError(f"{show(path)}: all pictures are of one class, '{show(next(iter(found)))}': give at least two, "
                        "a subfolder for each")
    few = [name for name, files in found.items() if len(files) < 2]
    if few:
        raise UserError(f"{show(path)}: '{show(few[0])}' has a single picture: give at least two of each class")
    return found


def _asked(config: TextureProbe.Config, names: list[str]) -> tuple[list[FilePath], Array]:
    """The pictures of the other set, and their classes by number; of classes that both sets have."""
    if config.test is None:
        return [], np.zeros(0, np.int64)
    found = files_by_label(ImageFolder(config.test))
    shared = [name for name in found if name in names]
    if not shared:
        raise UserError(f"{show(config.test)}: shares no class with {show(config.data)} (it has "
                        f"{', '.join(map(show, list(found)[:6]))}): rename its subfolders")
    files = [path for name in shared for path in found[name]]
    return files, np.repeat([names.index(name) for name in shared], [len(found[name]) for name in shared])


def _findings(config: TextureProbe.Config, named: str, names: list[str], labels: Array, groups: Array,
              rounds: list[Array], glances: list[Glance]) -> Findings:
    metric = Accuracy(len(names), tuple(names))
    for predicted in rounds:
        metric.update({"label": torch.from_numpy(predicted)}, {"label": torch.from_numpy(labels)})
    figures = metric.compute()
    right = np.stack([predicted == labels for predicted in rounds]).mean(0)  # of a picture, over the rounds
    figures["accuracy_low"], figures["accuracy_high"] = accuracy_interval(right, groups, seed=config.seed)
    figures["count"] = len(labels)
    figures["precision"] = precisions(np.asarray(figures["confusion"]))
    figures["rounds"] = [float((predicted == labels).mean()) for predicted in rounds]
    base = metric.baseline()
    shown = {name: [glances[place].thumb for place in np.flatnonzero(labels == number)[:_SHOWN].tolist()]
             for number, name in enumerate(names)}
    record = {"data": str(config.data), "test": str(config.test or ""), "features": named,
              "options": {name: getattr(config, name) for name in (
                  "per_class", "folds", "repeats", "ridge", "size", "quality", "grey", "twins", "seed")},
              "version": __version__}
    how = (f"learned on {show(config.data)}, asked of {show(config.test)}" if config.test is not None else
           f"{config.folds} folds, drawn {config.repeats} times; near-duplicates share a fold")
    sections: list[Section] = [class_table(figures["confusion"], names),
                               class_pictures(shown, "The first pictures of each class.")]
    return Findings(title="Texture probe", record=record, figures=figures, baseline=base.figures,
                    baseline_name=base.name, sections=sections,
                    notes=[f"A linear classifier on {named} ({how}). The interval is over pictures drawn again, "
                           "near-duplicates together; the confusion matrix adds up all rounds."])
