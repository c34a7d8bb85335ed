"""Importer: what people have, turned into an image folder.

One file of `data/` holds one subclass; its module name is its name on the command line
(`migaki import mpiigaze PATH --out DIR`).
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from migaki import __version__
from migaki.core.config import to_dict
from migaki.core.errors import UserError
from migaki.core.files import apart
from migaki.data.files.image_file import show
from migaki.data.sets.contents import names_and_sizes
from migaki.data.sets.labels import plain
from migaki.data.writers.writer import FolderWriter

Array = np.ndarray[Any, Any]
Row = dict[str, Any]

MAX_SIDE: Final = 8192
"""px: the widest and highest picture that an import makes; far beyond it memory would run out."""


class Importer(ABC):
    """Reads a foreign layout. `Config` is a frozen, keyword-only dataclass of its choices."""

    Config: ClassVar[type[Any]]
    licence: ClassVar[str]
    source: ClassVar[str]
    takes_all: ClassVar[bool] = False  # every picture below the path, so that the result must not lie there

    def __init__(self, config: Any = None) -> None:
        self.config: Any = self.Config() if config is None else config

    @abstractmethod
    def find(self, path: Path) -> Sequence[Any]:
        """The entries at `path`, in a fixed order; UserError in one line if there are none."""

    @abstractmethod
    def load(self, entry: Any) -> tuple[str, Array, Row]:
        """File name, image `(C, H, W)` uint8 and row of one entry."""

    def run(
        self, path: Path | str, out: Path | str, command: str = "", report: Callable[[int, int], None] | None = None
    ) -> int:
        """Import everything at `path` into the image folder `out`; goes on where a killed run stopped.

        Args:
            path: A file or folder of the foreign layout.
            out: The image folder to make.
            command: The command line, kept in `dataset.json`.
            report: Called with (done, total): first with what was there already, then after each image.

        Returns:
            The number of images in the folder.
        """
        path = Path(path)
        if not path.exists():
            raise UserError(f"{show(path)}: there is no such file or folder: check the spelling")
        if self.takes_all:
            apart(Path(out), path)
        entries = self.find(path)
        if not entries:
            raise UserError(f"{show(path)}: nothing to import was found: check that this is the right folder")
        name = type(self).__module__.rsplit(".", 1)[-1]
        info = {
            "command": command,
            "importer": name,
            "config": to_dict(self.config),
            "version": __version__,
            "parent": {"path": os.fspath(path), "fingerprint": names_and_sizes(path)},
            "source": self.source,
            "licence": self.licence,
        }
        with FolderWriter(out, info, len(entries)) as writer:
            left = writer.missing(range(len(entries)))
            report = report or _unheard
            report(len(entries) - len(left), len(entries))
            for done, index in enumerate(left, start=len(entries) - len(left) + 1):
                writer.write(index, *self.load(entries[index]))
                report(done, len(entries))
        return len(entries)


def _unheard(done: int, total: int) -> None:
    """A report that nobody wants."""


def check_option(name: str, option: str, value: float, low: float, high: float = math.inf) -> None:
    """UserError unless low <= value <= high (which NaN never is); `option` as it is typed for the importer `name`."""
    if not low <= value <= high:
        wanted = f"of at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        raise UserError(f"migaki import {name}: {option} {value}: give a number {wanted}")


def decimals(values: Array) -> list[Any]:
    """A vector or table as float32 in the shortest decimals; see `labels.plain`."""
    return plain(np.asarray(values, np.float32))
