"""A part of an image folder: one of several folds or all others, in one size, with its labels or without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from migaki.core.errors import UserError
from migaki.data.files.image_file import show
from migaki.data.files.names import stem_of
from migaki.data.folder import ImageFolder
from migaki.data.further import carried_files
from migaki.data.sets.said import said_of
from migaki.importers.importer import MAX_SIDE, Array, Importer, Row, check_option

Order = Literal["blocks", "turns"]


class Part(Importer):
    """`migaki import part DIR --out DIR`: some rows of an image folder, in one size.

    The rows are dealt into `folds` parts: in blocks (neighbours are often of one object or one second, and must not
    stand on both sides) or by turns. `--by COLUMN` deals the rows of each class by itself, so that each part has all
    classes; `--group COLUMN` keeps rows of one value, such as a person, in one part.
    """

    licence = "that of the pictures"
    source = "a folder of the user's"
    takes_all = True

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Which rows to take and what to make of them."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "folds fold rest order by group limit width height channels labelled classes label drop"}

        folds: int = 1  # parts into which the rows are dealt
        fold: int = 0  # the part to take
        rest: bool = False  # take all but this part
        order: Order = "blocks"  # how rows are dealt: contiguous, or by turns
        by: str = ""  # a column of classes, each of which is dealt by itself
        group: str = ""  # a column whose equal values stay in one part
        limit: int = 0  # take at most so many, evenly spaced; 0 = all
        width: int = 0  # px; 0 = as they are
        height: int = 0  # px; 0 = as they are
        channels: Literal[0, 1, 3] = 0  # grey or RGB; 0 = as they are
        labelled: bool = True  # False: leave all labels out
        classes: tuple[str, ...] = ()  # take only pictures of these classes, by name or number; none = all
        label: str = ""  # the column whose values become `label`; none = the column of that name
        drop: tuple[str, ...] = ()  # columns and further pictures to leave out

        def __post_init__(self) -> None:
            check_option("part", "--folds", self.folds, 1)
            check_option("part", "--fold", self.fold, 0, self.folds - 1)
            check_option("part", "--limit", self.limit, 0)
            check_option("part", "--width", self.width, 0, MAX_SIDE)
            check_option("part", "--height", self.height, 0, MAX_SIDE)
            if bool(self.width) != bool(self.height):
                raise UserError("migaki import part: give both --width and --height, or neither")
            if self.by and self.group:
                raise UserError("migaki import part: --by and --group deal rows in different ways: leave one out")

    config: Config

    def find(self, path: Path) -> Sequence[int]:
        """The numbers of the rows, in the folder's order."""
        config = self.config
        size = (config.height, config.width) if config.width else None
        self._folder = ImageFolder(path, size=size, channels=config.channels or None)
        if config.labelled:
            said = said_of(self._folder)
            names = said.get("classes") or self._folder.class_names("labels") or self._folder.class_names("classes")
            self.classes = () if config.label or config.classes else names
            self.mask_classes, self.keypoint_names = said.get("mask_classes", ()), said.get("keypoint_names", ())
            self.units, self.circular = said.get("units", {}), said.get("circular", ())
        stems = [stem_of(name) for name in self._folder.names]
        self._are_unique = len(set(stems)) == len(stems)
        among = np.flatnonzero(self._wanted())
        folds = self._folds(among)
        chosen = among[(folds != config.fold) if config.rest else (folds == config.fold)]
        if config.limit and len(chosen) > config.limit:
            chosen = chosen[np.linspace(0, len(chosen) - 1, config.limit).round().astype(int)]
        found: list[int] = chosen.tolist()
        return found

    def _wanted(self) -> Array:
        """Which rows (N,) are of the wanted classes."""
        if not self.config.classes:
            return np.ones(len(self._folder), np.bool_)
        wanted = np.array([str(self._label(row)) in self.config.classes for row in range(len(self._folder))])
        if not wanted.any():
            raise UserError(f"{show(self._folder.path)}: has no picture of "
                            f"{', '.join(map(show, self.config.classes))}: give --classes that it has")
        return wanted

    def _label(self, index: int) -> Any:
        """What a row says of its class: a name where there is one, else a number."""
        value, names = self._folder.rows[index].get(self.config.label or "label"), self._folder.classes
        if not self.config.label and isinstance(value, int) and 0 <= value < len(names):
            return names[value]
        return value

    def _folds(self, among: Array) -> Array:
        """The part of each of these rows."""
        config = self.config
        if config.group:
            return dealt_groups(self._column(config.group)[among], config.folds)
        folds = np.empty(len(among), np.int64)
        classes = self._column(config.by)[among] if config.by else np.zeros(len(among), np.int64)
        for value in np.unique(classes):
            rows = np.flatnonzero(classes == value)
            place = np.arange(len(rows))
            folds[rows] = place * config.folds // len(rows) if config.order == "blocks" else place % config.folds
        return folds

    def _column(self, name: str) -> Array:
        """The values (N,) of a column as numbers: equal values, equal numbers."""
        values = [self._label(row) if name == "label" else self._folder.rows[row].get(name)
                  for row in range(len(self._folder))]
        if all(value is None for value in values):
            raise UserError(f"{show(self._folder.path)}: has no column '{show(name)}' (it has: "
                            f"{', '.join(map(show, self._folder.labels)) or 'none'}): give one of them")
        return np.unique([str(value) for value in values], return_inverse=True)[1]

    def load(self, entry: int) -> tuple[str, Array, Row]:
        """One picture `(C, H, W)`, its row if labels are wanted."""
        folder, config = self._folder, self.config
        image = folder.read([entry], ("image",))["image"]
        pixels = (image[0] * 255).round().to(torch.uint8).numpy()
        row: Row = {}
        if config.labelled:
            row = folder.row(entry, drop=config.drop)
            row |= carried_files(folder, entry, folder.move(entry), drop=config.drop)
            if config.label or self.config.classes:  # names say the same in every set, numbers need not
                row["label"] = self._label(entry)
        stem = stem_of(folder.names[entry])
        return stem if self._are_unique else f"{entry:06d}", pixels, row


def dealt_groups(groups: Array, folds: int) -> Array:
    """The part (N,) of each row, for the group (N,) of each: whole groups in the order in which they come, so that
    parts hold about equally many rows."""
    values, first, counts = np.unique(groups, return_index=True, return_counts=True)
    order = np.argsort(first)
    middle = np.cumsum(counts[order]) - counts[order] / 2
    parts = np.empty(len(values), np.int64)
    parts[order] = np.minimum(middle * folds // len(groups), folds - 1)
    result: Array = parts[np.searchsorted(values, groups)]
    return result
