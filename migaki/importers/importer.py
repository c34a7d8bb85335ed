"""Importer: the base class of converters of foreign data to image folders.

One file of `importers/` holds one subclass; its module name is its name on the command line
(`migaki import mpiigaze PATH --out DIR`).
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Final

import numpy as np

from migaki import __version__
from migaki.core.config import to_dict
from migaki.core.errors import UserError
from migaki.core.files import apart
from migaki.data.files.image_file import show
from migaki.data.sets.contents import all_contents
from migaki.data.sets.labels import plain
from migaki.data.walk import Done, OutputJob, Work, walk
from migaki.importers.untouched import record_of

Array = np.ndarray[Any, Any]
Row = dict[str, Any]

MAX_SIDE: Final = 8192
"""px: largest width and height of imported pictures; larger ones would exhaust the memory."""

_NAME_LISTS = ("classes", "mask_classes", "keypoint_names", "circular")


class Importer(ABC):
    """Reads a foreign layout. `Config` is a frozen, keyword-only dataclass of its options."""

    Config: ClassVar[type[Any]]
    licence: ClassVar[str]
    source: ClassVar[str]
    takes_all: ClassVar[bool] = False  # reads all pictures below the path, so that the output must not be there
    # What `find` may set, for dataset.json:
    classes: Sequence[str] = ()  # names of the classes of `label`, `labels` and `classes`, by number
    mask_classes: Sequence[str] = ()  # names of the indices of `mask`, the background's first
    keypoint_names: Sequence[str] = ()  # of the points of `keypoints` or `object_keypoints`
    units: Mapping[str, str] = MappingProxyType({})  # column -> unit, such as {"distance": "mm"}
    circular: Sequence[str] = ()  # columns that are angles going round
    scene: Mapping[str, Any] = MappingProxyType({})  # of posed pictures: bounds, near, far, background

    def __init__(self, config: Any = None) -> None:
        self.config: Any = self.Config() if config is None else config

    @classmethod
    def recognises(cls, path: Path) -> str:
        """Whether `path`, a folder or a file that exists, has this layout: one line that says what was found, such as
        "COCO: annotations/instances_train.json beside images"; "" if it has not.

        It looks for marker files and at their first bytes; it reads no whole file, follows no link out of the folder,
        and raises nothing for whatever lies there. By default no layout is recognised.
        """
        return ""

    @abstractmethod
    def find(self, path: Path) -> Sequence[Any]:
        """Returns the entries at `path` in a fixed order; UserError in one line if there are none."""

    @abstractmethod
    def load(self, entry: Any) -> tuple[str, Array, Row]:
        """Returns file name, image `(C, H, W)` uint8 and row of one entry."""

    def announcements(self) -> list[str]:
        """Returns lines to print before the first picture, such as what is odd about the whole set."""
        return []

    def note(self, name: str, image: Array) -> str:
        """Returns what `summary` is to know of a picture; empty: nothing."""
        return ""

    def summary(self, notes: Counter[str], made: int) -> list[str]:
        """Returns lines to print at the end, from the notes of the `made` pictures of this call."""
        return []

    def run(
        self, path: Path | str, out: Path | str, command: str = "", report: Callable[[int, int], None] | None = None,
        *, job: OutputJob | None = None, quiet: bool = True,
    ) -> int:
        """Import everything at `path` into the image folder `out`; continues where a killed run stopped.

        Args:
            path: A file or folder of the foreign layout.
            out: The image folder to write.
            command: The command line, recorded in `dataset.json`.
            report: Called with (done, total): first with the work of earlier runs, then after each batch.
            job: The form of the output and the number of workers; None: a folder, one process. Its `out` is ignored.
            quiet: Whether to hide the progress bar.

        Returns:
            The number of images in the folder.
        """
        path = Path(path)
        if not path.exists():
            raise UserError(f"{show(path)}: there is no such file or folder: check the spelling")
        if self.takes_all:
            apart(Path(out), path)
        asked = replace(job, out=Path(out)) if job is not None else OutputJob(out=Path(out))
        work = walk(ImportWork, (type(self), self.config, path), asked, command=command, quiet=quiet, report=report)
        return work.total


class ImportWork(Work):
    """The `Work` of an importer, for any entries in any order and any process."""

    batch_size = 16
    lanes = 1  # importers keep files open, which threads would have to share

    def __init__(self, kind: type[Importer], config: Any, path: Path) -> None:
        self.importer = kind(config)
        self.path = path
        self.name = f"import {kind.__module__.rsplit('.', 1)[-1]}"
        self.entries = self.importer.find(path)
        if not self.entries:
            raise UserError(f"{show(path)}: nothing to import was found: check that this is the right folder")
        self.total = len(self.entries)

    @property
    def info(self) -> dict[str, Any]:
        """The record of what makes the images."""
        return {
            "importer": self.name.removeprefix("import "),
            "config": to_dict(self.importer.config),
            "version": __version__,
            "parent": {"path": os.fspath(self.path), "fingerprint": all_contents(self.path)},
            "source": self.importer.source,
            "licence": self.importer.licence,
        } | self._meanings()

    def _meanings(self) -> dict[str, Any]:
        """What the importer says of the names and units of labels, as dataset.json has it."""
        lists = {name: list(getattr(self.importer, name)) for name in _NAME_LISTS if getattr(self.importer, name)}
        more = {name: dict(getattr(self.importer, name)) for name in ("units", "scene") if getattr(self.importer, name)}
        return lists | more

    def do(self, places: list[int]) -> list[Done]:
        """Load and encode these entries."""
        done = []
        for place in places:
            name, image, row = self.importer.load(self.entries[place])
            note = self.importer.note(name, image)
            done.append(Done(place=place, records=(record_of(name, image, row),), notes=(note,) if note else ()))
        return done

    def announcements(self) -> list[str]:
        """The importer's lines before the first picture."""
        return self.importer.announcements()

    def summary(self, notes: Counter[str], made: int) -> list[str]:
        """The importer's lines at the end."""
        return self.importer.summary(notes, made)


def _no_report(done: int, total: int) -> None:
    """A report function that does nothing."""


def check_option(name: str, option: str, value: float, low: float, high: float = math.inf) -> None:
    """UserError unless low <= value <= high (raised for NaN); `option` is the importer's option on the command line."""
    if not low <= value <= high:
        wanted = f"of at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        raise UserError(f"migaki import {name}: {option} {value}: give a number {wanted}")


def decimals(values: Array) -> list[Any]:
    """Convert a vector or table to the shortest decimals that read back to its float32; see `labels.plain`."""
    return plain(np.asarray(values, np.float32))
