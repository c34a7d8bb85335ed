"""Visualness: how well the pictures of a word separate from random pictures, for a list of words.

50 pictures of a word against thousands of random ones, a linear classifier on rows of features, five folds that keep
near-duplicates together, average precision with its interval. About 1 % is chance, which is printed beside: as many
random pictures in place of the word's. Resolution, compression and colour separate sets better than what they show, so
all pictures are brought to one detail, size and JPEG quality first.

The figure is that of a set of pictures; how far it holds for the word depends on how the set was collected.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from migaki import __version__
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.judge import Findings, Judge, Progress, Section
from migaki.core.notices import notice
from migaki.data.files.member import FilePath
from migaki.data.folder import ImageFolder
from migaki.judges.texture_rows import (
    Glance,
    PoolingName,
    RowOptions,
    Rows,
    files_by_label,
    glance,
    usual_detail,
)
from migaki.metrics.ranking import rank_correlation
from migaki.metrics.separability import Separation, Word, grouped_folds, separate
from migaki.ops.perceptual import duplicate_groups
from migaki.report.sheets import sheet
from migaki.report.tables import harmless

Array = np.ndarray[Any, Any]

RANDOM, MIXED = "50 random pictures", "pictures of all words, mixed"
_SHOWN, _FIRST, _LAST = 8, 30, 10  # pictures of a word; words at both ends of the ranking


class Visualness(Judge):
    """Average precision of each word's pictures among random ones, ranked; beside it what random pictures reach.

    A word is a class of `words`. No classifier sees a picture that it is asked about, or a near-duplicate of it.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The sets, the features and the protocol."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "network layer pooling positives negatives halves",
            "run": "workers store seed",
        }

        words: Path  # pictures of words: a subfolder for each, or a column label
        random: Path  # random pictures, of the same source and resolution if possible
        network: str = "random"  # features: random, gradients, NAME=FILE.safetensors, a run; see docs/textures.md
        layer: str = ""  # layer or layers (joined by +); empty = the network's usual one
        pooling: PoolingName = "gram"  # mean, mean_sd, gram, or fisher, which is fitted on random pictures
        gaussians: int = 64  # of the Fisher pooling
        positives: int = 50  # pictures of each word, drawn by the seed
        negatives: int = 5000  # random pictures, at most; as many as a word has are kept for the control
        folds: int = 5  # of the cross-validation
        ridge: float = 0.1  # of the classifier
        purity: float = 1.0  # share of a word's pictures that are its own; the others are random: a test of the figure
        halves: bool = False  # also measure both halves of each word's pictures, and correlate the two rankings
        size: int = 128  # px, sides of the pictures that the network sees
        quality: int = 80  # of the JPEG that all pictures pass through; 0 = none
        through: int = 0  # px that all pictures are reduced to first; 0 = what nine in ten have
        grey: bool = False  # take colours away
        twins: int = 26  # bits of 256 in which the hashes of near-duplicates differ at most; -1 = no grouping
        workers: int = 1  # processes that compute features; 0 = one per core
        store: Path | None = None  # folder of computed features; none = the user's cache
        seed: int = 0  # of the drawn pictures and folds

    config: Config

    def sources(self) -> tuple[Path, ...]:
        """Returns both sets."""
        return (self.config.words, self.config.random)

    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns the ranking; UserError for sets that are too small, and for options that do not fit."""
        _check(self.config)
        sets = _Sets(self.config)
        rows = Rows(RowOptions(**{name: getattr(self.config, name) for name in (
            "network", "layer", "pooling", "gaussians", "size", "quality", "grey", "workers", "store", "seed")},
            through=sets.through))
        rows.fit(sets.negatives)
        every = [*sets.negatives, *sets.pictures]
        features = rows.of(every, lambda done, total: progress(done, 2 * total))
        measured = sets.measured(features)
        words = [word for _, word, _ in measured]
        total = len(words) * self.config.folds
        found = separate(features[: len(sets.negatives)], sets.fold, words, ridge=self.config.ridge,
                         tell=lambda done: progress(len(every) + done * len(every) // total, 2 * len(every)))
        return _findings(self.config, sets, rows.named, measured, found)


def _check(config: Visualness.Config) -> None:
    if config.folds < 2:
        raise UserError(f"--folds {config.folds}: at least 2")
    if config.positives < 2 * config.folds:
        raise UserError(f"--positives {config.positives}: at least {2 * config.folds}, two for each of --folds "
                        f"{config.folds}")
    if not 0 <= config.purity <= 1:
        raise UserError(f"--purity {config.purity:g}: 0 to 1")
    if config.ridge <= 0:
        raise UserError(f"--ridge {config.ridge:g}: above 0")


class _Sets:
    """The pictures of the words, drawn and grouped; the random ones, divided into folds and a reserve."""

    def __init__(self, config: Visualness.Config) -> None:
        self.config = config
        self._draw = np.random.default_rng(config.seed)
        self.words = self._drawn_words()
        random = ImageFolder(config.random)
        order = self._draw.permutation(len(random))
        needed = config.positives + 10 * config.folds
        if len(random) < needed:
            raise UserError(f"{show(config.random)}: holds {len(random)} pictures, and {config.positives} for the "
                            f"control and {10 * config.folds} as negatives are needed: give more random pictures")
        reserve = [random.file(place) for place in order[: config.positives].tolist()]
        self.negatives = [random.file(place) for place in order[config.positives :][: config.negatives].tolist()]
        if len(self.negatives) < config.negatives:
            notice(f"{show(config.random)}: {len(self.negatives)} random pictures in place of --negatives "
                   f"{config.negatives}")
        for number, files in enumerate(self.words.values()):
            strangers = round((1 - config.purity) * len(files))
            start = number % max(1, len(reserve))
            files[:strangers] = (reserve[start:] + reserve[:start])[:strangers]
        self.words[RANDOM] = reserve
        self.pictures = [path for files in self.words.values() for path in files]
        self.through = config.through or usual_detail([*self.negatives, *self.pictures], config.size)
        self.glances = [glance(path) for path in self.pictures]
        codes = [*(glance(path).code for path in self.negatives), *(one.code for one in self.glances)]
        groups = np.array(duplicate_groups(codes, config.twins))
        count = len(self.negatives)
        self.groups, self.own_groups = groups[:count], groups[count:]
        self.fold = grouped_folds(self.groups, config.folds, config.seed)

    def _drawn_words(self) -> dict[str, list[FilePath]]:
        """The drawn pictures of each word that has enough of them."""
        config, found = self.config, {}
        least = 2 * config.folds
        for name, files in files_by_label(ImageFolder(config.words)).items():
            if len(files) < least:
                notice(f"{show(config.words)}: '{show(name)}' has {len(files)} pictures, and {config.folds} folds need "
                       f"{least}: it is left out")
                continue
            if len(files) < config.positives:
                notice(f"{show(config.words)}: '{show(name)}' has {len(files)} pictures in place of --positives "
                       f"{config.positives}: fewer pictures give a lower figure")
            found[name] = [files[place] for place in self._draw.permutation(len(files))[: config.positives].tolist()]
        if not found:
            raise UserError(f"{show(config.words)}: no word has the {least} pictures that {config.folds} folds need: "
                            "collect more, or give fewer --folds")
        return found

    def measured(self, features: Tensor) -> list[tuple[str, Word, Array]]:
        """Returns each word, its halves if they are wanted, and the two controls: name, rows and folds, groups."""
        count, found, start = len(self.negatives), [], 0
        places: dict[str, Array] = {}
        for name, files in self.words.items():
            places[name] = np.arange(start, start + len(files))
            start += len(files)
        own = [name for name in self.words if name != RANDOM]
        if len(own) > 1:  # as many pictures of every word as there are in one
            pool = self._draw.permutation(np.concatenate([places[name] for name in own]))
            places[MIXED] = pool[: self.config.positives]
        if self.config.halves:
            for name in own:
                mixed = self._draw.permutation(places[name])
                places |= {f"{name}\0{half}": mixed[half::2] for half in (0, 1)}
        for name, chosen in places.items():
            groups = self.own_groups[chosen]
            found.append((name, Word(features[count + torch.from_numpy(chosen)], self._folds(groups)), groups))
        return found

    def _folds(self, groups: Array) -> Array:
        """The folds of a word's pictures: those of the random pictures that they nearly equal, else even ones."""
        fold = grouped_folds(groups, self.config.folds, self.config.seed + 1)
        known = dict(zip(self.groups.tolist(), self.fold.tolist(), strict=True))
        return np.array([known.get(group, own) for group, own in zip(groups.tolist(), fold.tolist(), strict=True)])


@dataclass(frozen=True, slots=True)
class _Line:
    """A word of the ranking."""

    name: str
    precision: float
    low: float
    high: float
    pictures: int
    twins: int  # pictures beyond the first of their group of near-duplicates
    grey: int
    order: list[int]  # its pictures, the surest first


def _lines(sets: _Sets, measured: Sequence[tuple[str, Word, Array]], found: Sequence[Separation]) -> list[_Line]:
    lines, start = [], 0
    for (name, word, groups), one in zip(measured, found, strict=True):
        if "\0" in name:
            continue
        low, high = one.interval(groups, sets.groups, sets.config.seed)
        looks: list[Glance] = []
        if name in sets.words:
            looks = sets.glances[start : start + len(word.rows)]
            start += len(word.rows)
        lines.append(_Line(name, one.precision, low, high, len(word.rows), len(groups) - len(set(groups.tolist())),
                           sum(look.is_grey for look in looks), np.argsort(-one.positives, kind="stable").tolist()))
    return lines


def _findings(config: Visualness.Config, sets: _Sets, named: str, measured: Sequence[tuple[str, Word, Array]],
              found: Sequence[Separation]) -> Findings:
    lines = _lines(sets, measured, found)
    controls = {line.name: line for line in lines if line.name in (RANDOM, MIXED)}
    ranking = sorted((line for line in lines if line.name not in controls), key=lambda line: -line.precision)
    figures: dict[str, Any] = {"words": len(ranking), "negatives": len(sets.negatives),
                               "mean_average_precision": float(np.mean([line.precision for line in ranking])),
                               "lowest": ranking[-1].precision, "highest": ranking[0].precision,
                               "control": controls[RANDOM].precision}
    if MIXED in controls:
        figures["mixed"] = controls[MIXED].precision
    if config.halves:
        figures |= _halves(measured, found)
    figures["ranking"] = {line.name: line.precision for line in ranking}
    chance = controls[RANDOM].precision
    _note_grey(sets, ranking)
    record = {"words": str(config.words), "random": str(config.random), "features": named, "through": sets.through,
              "options": {name: getattr(config, name) for name in ("positives", "folds", "ridge", "purity", "size",
                                                                   "quality", "grey", "twins", "seed")},
              "version": __version__}
    shown = [replace(line, name=f"{line.name} (control)") for line in controls.values()]
    return Findings(
        title="How visual words are", record=record, figures=figures, baseline={"mean_average_precision": chance},
        baseline_name=RANDOM, files={"words.csv": _csv([*ranking, *shown])},
        notes=[_NOTE.format(count=config.positives, negatives=len(sets.negatives), features=named)],
        sections=[Section(heading="The ranking", columns=_COLUMNS, rows=_table([*ranking, *shown])),
                  *_thumbnails(sets, ranking)])


_NOTE = """\
{count} pictures of each word against {negatives:,} random ones ({features}): average precision of scores out of \
fold, with its 95 % interval over near-duplicates drawn together. The controls: random pictures in place of the \
word's, which chance alone separates; and pictures of all words mixed, which shows how much of a figure is the source \
of the pictures and not the word."""

_COLUMNS = ["rank", "word", "average precision, %", "from", "to", "pictures", "near-duplicates", "grey"]


def _table(lines: Sequence[_Line]) -> list[list[Any]]:
    return [[number, show(line.name), *(f"{100 * value:.1f}" for value in (line.precision, line.low, line.high)),
             line.pictures, line.twins, line.grey] for number, line in enumerate(lines, 1)]


def _csv(lines: Sequence[_Line]) -> bytes:
    text = io.StringIO()
    rows = [["word", "average_precision", "low", "high", "pictures", "near_duplicates", "grey"]]
    rows += [[harmless(line.name), *(f"{value:.6f}" for value in (line.precision, line.low, line.high)),
              str(line.pictures), str(line.twins), str(line.grey)] for line in lines]
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _thumbnails(sets: _Sets, ranking: Sequence[_Line]) -> list[Section]:
    """The surest pictures of the words at both ends of the ranking, and the least sure picture last."""
    starts = dict(zip(sets.words, np.cumsum([0, *map(len, sets.words.values())]).tolist(), strict=False))
    chosen = [*ranking[:_FIRST], *ranking[_FIRST:][-_LAST:]]
    rows = [(f"{show(line.name)[:16]} {100 * line.precision:.0f}",
             torch.stack([sets.glances[starts[line.name] + place].thumb for place in (
                 *line.order[: _SHOWN - 1], line.order[-1])])) for line in chosen]
    return [Section(heading="Pictures", picture=sheet(rows, min_side=64),
                    caption="The surest pictures of each word, and last the least sure one. Words in the order of the "
                            f"ranking; of more than {_FIRST + _LAST} the first {_FIRST} and the last {_LAST}.")]


def _halves(measured: Sequence[tuple[str, Word, Array]], found: Sequence[Separation]) -> dict[str, Any]:
    """The rank correlation of the words by their first and by their second halves."""
    halves: dict[str, list[float]] = {"0": [], "1": []}
    for (name, _, _), one in zip(measured, found, strict=True):
        if "\0" in name:
            halves[name.rpartition("\0")[2]].append(one.precision)
    return {"halves_rank_correlation": rank_correlation(halves["0"], halves["1"])}


def _note_grey(sets: _Sets, ranking: Sequence[_Line]) -> None:
    if sets.config.grey:
        return
    grey = [line.name for line in ranking if 2 * line.grey > line.pictures]
    if grey:
        notice(f"{show(sets.config.words)}: most pictures of {', '.join(map(show, grey[:4]))} are grey, which alone "
               "separates them from colour pictures: give --grey")
