"""A set of images, opened: rows, labels, pictures with their labels drawn."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from migaki.api.show import picture_html, title_html
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.files.video import VIDEO_EXTENSIONS
from migaki.data.folder import ImageFolder
from migaki.report.labelled import labelled_picture, words_of

Array = np.ndarray[Any, Any]

_SHOWN = 12  # pictures in a notebook
_SIDE = 160  # px of each


def refuse_film(path: str | os.PathLike[str]) -> None:
    """UserError for a film in a file, whose result is no folder."""
    if Path(path).is_file() and Path(path).suffix.lower() in VIDEO_EXTENSIONS:
        raise UserError(f"{show(path)}: a film becomes a film, not a folder: use `migaki apply` on the command line, "
                        "or bring it into a folder with `migaki import film`")


class Folder:
    """A folder of images with their labels, or one picture; it may be given wherever a path may.

    A notebook shows its first pictures with their labels drawn: green what the set says, red what a model has read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.images = ImageFolder(self.path)

    def __fspath__(self) -> str:
        return str(self.path)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns row `index`: file_name and the labels, as metadata.jsonl has them."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"{index}: the folder has {len(self)} images")
        return dict(self.images.rows[index % len(self)])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        return f"Folder('{show(self.path)}': {self._line()})"

    @property
    def labels(self) -> dict[str, Array]:
        """The columns of numbers as arrays, by key, (N, ...)."""
        return self.images.labels

    @property
    def classes(self) -> list[str]:
        """The names of the classes, by number; empty where they have none."""
        return self.images.classes

    @property
    def columns(self) -> list[str]:
        """The names of the columns of the first row."""
        return [name for name in self[0] if name != "file_name"]

    def picture(self, index: int, side: int = 320) -> Image.Image:
        """Returns picture `index` with its labels drawn, its longer side near `side` px."""
        return labelled_picture(self.images, index % len(self), side)

    def show(self, count: int = _SHOWN, start: int = 0, side: int = _SIDE) -> Shown:
        """Returns `count` pictures from `start` on, as a notebook shows them."""
        return Shown(self, range(max(0, start), min(len(self), start + count)), side)

    def _line(self) -> str:
        named = self.columns
        return f"{len(self):,} images; " + (f"columns {', '.join(map(show, named))}" if named else "no labels")

    def _repr_html_(self) -> str:
        return title_html(show(self.path), self._line()) + self.show()._repr_html_()


class Shown:
    """Some pictures of a folder, for a notebook."""

    def __init__(self, folder: Folder, indices: range, side: int) -> None:
        self.folder, self.indices, self.side = folder, indices, side

    def _repr_html_(self) -> str:
        images, cards = self.folder.images, []
        for index in self.indices:
            text = [show(images.names[index]), *(f"{name}: {value}" for name, value in words_of(images, index)[:6])]
            try:
                cards.append(picture_html(self.folder.picture(index, self.side), text))
            except UserError as error:  # one damaged file must not hide the others
                cards.append(title_html(text[0], str(error)))
        return "".join(cards)
