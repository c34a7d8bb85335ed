"""The second picture of each row of a set: the right view of a stereo pair, or the next picture of a flow."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from migaki.core.errors import UnfitPicture, UserError
from migaki.core.files import show
from migaki.data.files import framing
from migaki.data.files.image_file import read_header, read_image
from migaki.data.files.member import FilePath, place
from migaki.data.files.names import stem_of
from migaki.data.folder import ImageFolder
from migaki.data.sets.clips import CLIP, Clips

Array = np.ndarray[Any, Any]


class SecondPictures:
    """Finds them: in the folder or file `given`, by name; else in the column `KEY_file_name`; else as the next frame.

    Args:
        folder: The set of first pictures.
        key: The further picture that takes the second place, such as `right`.
        given: A folder with pictures of the same names, or one picture for a set of one; None: see above.
        frames: Whether the frame after each one of a film (columns `clip` and `frame`) may take the second place.

    Raises:
        UserError: for a set that says nowhere what the second pictures are.
    """

    def __init__(self, folder: ImageFolder, key: str, given: Path | None, *, frames: bool = False) -> None:
        self._folder, self._key = folder, key
        self._files: list[FilePath | None]
        self._others: ImageFolder | None = None
        if given is not None:
            self._others, self._at = _named(folder, key, given)
            self._files = [self._others.file(index) for index in self._at]
        elif key in folder.files:
            self._files = [None if name is None else place(folder.path, folder.rows[index], f"{key}_file_name")
                           for index, name in enumerate(folder.files[key])]
        elif frames and CLIP in folder.rows[0]:
            self._files = _next_frames(folder)
        else:
            film = ", or a film's frames of `migaki import film`" if frames else ""
            raise UserError(f"{show(folder.path)}: has no second pictures: give them by --{key}{film}, or name them in "
                            f"a column {key}_file_name")

    def plane(self, key: str, row: int) -> Array | None:
        """Returns the plane `key` (H, W) of a row's second picture; None if nothing says it.

        It is that of the folder `given`, or the set's further picture `<second key>_<key>`, such as `next_depth`.
        """
        folder, index, name = (self._folder, row, f"{self._key}_{key}") if self._others is None else (
            self._others, self._at[row], key)
        files = folder.files.get(name)
        return None if files is None or files[index] is None else folder.plane(name, index)

    def label(self, key: str, row: int) -> Array | None:
        """Returns the column `key` of a row's second picture in the folder `given`; None if nothing says it."""
        if self._others is None or key not in self._others.labels:
            return None
        return np.asarray(self._others.labels[key][self._at[row]])

    def of(self, row: int, first: Array) -> Array | None:
        """Returns the second picture of a row, (C, H, W) float32 in [0, 1]; None if it has none.

        UnfitPicture unless it has the size of the `first` (C, H, W), whose channels it gets.
        """
        path = self._files[row]
        if path is None:
            return None
        array = framing.check_values(read_image(path), None, path)
        has_alpha = path.suffix.lower() != ".npy" and len(array) in (2, 4) and read_header(path).has_alpha
        if array.shape[1:] != first.shape[1:]:
            raise UnfitPicture(f"has {first.shape[2]} x {first.shape[1]} px, and its {self._key} picture "
                               f"{array.shape[2]} x {array.shape[1]}: bring both to one size")
        own = framing.convert_channels(array, len(first), has_alpha=has_alpha, path=path)
        return np.ascontiguousarray(framing.to_unit(own), np.float32)


def _named(folder: ImageFolder, key: str, given: Path) -> tuple[ImageFolder, list[int]]:
    """The set `given`, and its rows in the order of the first set."""
    if not given.exists():
        raise UserError(f"--{key} {show(given)}: there is no such file or folder: check the spelling")
    others = ImageFolder(given)
    if len(folder) == 1 and len(others) == 1:
        return others, [0]
    by_stem = {stem_of(name): index for index, name in enumerate(others.names)}
    missing = next((name for name in folder.names if stem_of(name) not in by_stem), None)
    if missing is not None:
        raise UserError(f"--{key} {show(given)}: has no picture named as '{show(missing)}': give both of a pair one "
                        "name")
    return others, [by_stem[stem_of(name)] for name in folder.names]


def _next_frames(folder: ImageFolder) -> list[FilePath | None]:
    """The file of the frame after each, None for the last ones."""
    after: list[FilePath | None] = [None] * len(folder)
    for film in Clips(folder.rows, show(folder.path)).films:
        for one, other in itertools.pairwise(film):
            after[one] = folder.file(other)
    return after
