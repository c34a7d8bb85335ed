"""Rows of two sets that belong together by name: what was made, and the truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from migaki import __version__
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.files.names import stem_of
from migaki.data.folder import ImageFolder
from migaki.data.sets.labels import VECTOR_KEYS

Array = np.ndarray[Any, Any]


class SameRows:
    """The rows of `made` that have a row of the same name (without its ending) in `truth`.

    Raises UserError if no row has, or if a set lacks the files or the column `key`.
    """

    def __init__(self, made: Path, truth: Path, key: str) -> None:
        self.key = key
        self._sets = ImageFolder(made), ImageFolder(truth)
        for folder in self._sets:
            folder.require_column(key)
        by_stem = {stem_of(name): index for index, name in enumerate(self._sets[1].names)}
        self.pairs = [(index, by_stem[stem_of(name)]) for index, name in enumerate(self._sets[0].names)
                      if stem_of(name) in by_stem and self._has(0, index) and self._has(1, by_stem[stem_of(name)])]
        self.num_true = sum(self._has(1, index) for index in range(len(self._sets[1])))
        if not self.pairs:
            raise UserError(f"{show(made)}: no picture has the name and a {key} of one in {show(truth)}: give the set "
                            "that was made of it")

    def __len__(self) -> int:
        return len(self.pairs)

    def name(self, number: int) -> str:
        """The name of pair `number`."""
        return self._sets[0].names[self.pairs[number][0]]

    def labels(self) -> tuple[Array, Array]:
        """The column of all pairs, as made and as true."""
        chosen = np.array(self.pairs)
        return self._sets[0].labels[self.key][chosen[:, 0]], self._sets[1].labels[self.key][chosen[:, 1]]

    def maps(self, number: int) -> tuple[Array, Array]:
        """The planes (H, W) or vectors (C, H, W) of pair `number`; UserError unless both have one size."""
        made, truth = (self._map(which, self.pairs[number][which]) for which in (0, 1))
        if made.shape != truth.shape:
            raise UserError(f"{show(self._sets[0].path)}: the {self.key} of '{show(self.name(number))}' has "
                            f"{made.shape[-1]} x {made.shape[-2]} px, the true one {truth.shape[-1]} x "
                            f"{truth.shape[-2]}: bring both to one size")
        return made, truth

    def _has(self, which: int, index: int) -> bool:
        files = self._sets[which].files.get(self.key)
        return files is None or files[index] is not None

    def _map(self, which: int, index: int) -> Array:
        folder = self._sets[which]
        return folder.vectors(self.key, index) if self.key in VECTOR_KEYS else folder.plane(self.key, index)


class AgainstTruth:
    """What judges share that compare a set with the true one: `Config` has `data` and `truth`."""

    config: Any

    def sources(self) -> tuple[Path, ...]:
        """Both sets."""
        return (self.config.data, self.config.truth)

    def pairs(self, runs: Sequence[Path], key: str) -> SameRows:
        """Returns the rows that both sets have; UserError if runs were given, which are not judged here."""
        if runs:
            name = type(self).__module__.rpartition(".")[2]
            raise UserError(f"evaluate {name}: takes no runs: give the set by --data")
        return SameRows(self.config.data, self.config.truth, key)

    def record(self, **more: Any) -> dict[str, Any]:
        """Returns what was compared."""
        return {"data": str(self.config.data), "truth": str(self.config.truth), **more, "version": __version__}
