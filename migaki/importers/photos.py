"""Imports the user's pictures: a folder converted to one size, whole or in halves, with or without labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal

import numpy as np
import torch

from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder
from migaki.data.further import carried_files
from migaki.importers.importer import MAX_SIDE, Array, Importer, Row, check_option
from migaki.importers.untouched import untouched
from migaki.ops.histogram import equalise

Half = Literal["all", "first", "second"]
_NO_LABELS = ("side",)  # columns that describe how a picture was taken and are not to be learned


class Photos(Importer):
    """`migaki import photos DIR --out DIR`: any folder of pictures, labelled or not, converted to one size.

    Halves are cut in the order of the names or the metadata, not at random: neighbouring pictures often show the same
    person or the same second, and must not be in both halves. File names are kept.
    """

    licence = "that of the pictures"
    source = "a folder of the user's"
    takes_all = True

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The pictures to import, and their conversion."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "width height channels half limit keep drop value_range labelled equalise"}

        width: int = 60  # px
        height: int = 36  # px
        channels: Literal[1, 3] = 1  # grey or RGB
        half: Half = "all"  # of the pictures, in their order
        limit: int = 0  # import at most this many, evenly spaced; 0 = all
        keep: tuple[str, ...] = ()  # columns to copy unchanged although they may be positions in px
        drop: tuple[str, ...] = ()  # columns and further pictures to leave out
        value_range: tuple[float, float] | None = None  # file values that map to 0 and 1; none: by the files' type
        labelled: bool = True  # False: leave out the labels (except `side`, which describes the picture)
        equalise: bool = False  # histogram equalisation, as in MPIIGaze's patches

        def __post_init__(self) -> None:
            check_option("photos", "--width", self.width, 1, MAX_SIDE)
            check_option("photos", "--height", self.height, 1, MAX_SIDE)
            check_option("photos", "--limit", self.limit, 0)
            if self.value_range is not None and not self.value_range[0] < self.value_range[1]:
                raise UserError("migaki import photos: --value-range LOW HIGH: give two ascending numbers")

    config: Config

    def find(self, path: Path) -> Sequence[int]:
        """Returns the numbers of the pictures."""
        config = self.config
        self._folder = ImageFolder(path, size=(config.height, config.width), channels=config.channels,
                                   value_range=config.value_range)
        self.classes = self._folder.classes if config.labelled else ()
        places = halved(len(self._folder), config.half)
        if config.limit and len(places) > config.limit:
            chosen = np.linspace(0, len(places) - 1, config.limit).round().astype(int)
            places = [places[k] for k in chosen]
        return places

    def load(self, entry: int) -> tuple[str, Array, Row]:
        """Returns one picture `(C, height, width)`, with its row if labels are wanted."""
        image = self._folder.read([entry], ("image",))["image"]
        image = equalise(image) if self.config.equalise else image
        pixels = (image[0] * 255).round().to(torch.uint8).numpy()
        config = self.config
        if config.labelled:
            row = self._folder.row(entry, keep=config.keep, drop=config.drop)
            row |= carried_files(self._folder, entry, self._folder.move(entry), drop=config.drop)
        else:
            row = {key: value for key, value in self._folder.rows[entry].items() if key in _NO_LABELS}
        name = PurePosixPath(self._folder.names[entry])
        # Two files may differ only in their ending.
        return f"{name.with_suffix('')}_{entry:06d}", self._own(entry, pixels), row

    def _own(self, entry: int, pixels: Array) -> Array:
        """The pixels, marked as those of their file if nothing was done to them."""
        config, header, file = self.config, self._folder.headers[entry], self._folder.file(entry)
        is_same = (header.channels, header.height, header.width) == pixels.shape
        return untouched(pixels, file) if is_same and not config.equalise and config.value_range is None and isinstance(
            file, Path) else pixels


def halved(count: int, half: Half) -> list[int]:
    """Returns the positions of a half of `count` items; of an odd number the second half gets one more."""
    middle = count // 2
    return list({"all": range(count), "first": range(middle), "second": range(middle, count)}[half])
