"""The further pictures of a row (mask, depth, target, ...) after the pixels of its image have moved."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from migaki.core.errors import UserError
from migaki.core.glossary import glossary
from migaki.data.files import framing
from migaki.data.files.image_file import read_image, show
from migaki.data.files.member import place, stream
from migaki.data.folder import ImageFolder
from migaki.data.sets.carry import Move, in_pixels
from migaki.data.sets.labels import PLANE_KEYS, SIGNAL_KEYS, VECTOR_KEYS
from migaki.data.writers.record import FileCopy

Row = dict[str, Any]


def carried_files(folder: ImageFolder, index: int, move: Move, *, drop: Collection[str] = ()) -> Row:
    """Returns key -> content to store, for the further pictures of row `index`.

    If no pixel moved, the file is copied unchanged. Otherwise planes are resampled at the nearest pixel and pictures
    linearly: by the folder's own framing if it has a size, else by `move`. Series of numbers are not pictures and are
    copied unchanged, unless their key has an axis of rows and one of columns. Raises UserError for a file that cannot
    be read.
    """
    found: Row = {}
    for key, names in folder.files.items():
        name = names[index]
        if name is None or key in drop or f"{key}_file_name" in drop:
            continue
        if move.is_identity or (key in SIGNAL_KEYS and not _has_pixels(key)):
            path = place(folder.path, folder.rows[index], f"{key}_file_name")
            with stream(path) as file:
                found[key] = FileCopy(file.read(), path.suffix.lower() or ".png")
        elif key in VECTOR_KEYS:
            values = read_image(place(folder.path, folder.rows[index], f"{key}_file_name")).astype("float32")
            if values.shape[1:] != move.before:
                raise _unequal(folder, index, key, values.shape[1:], move)
            found[key] = move.vectors(values, in_pixels=in_pixels(key))
        elif key in PLANE_KEYS:
            plane = folder.plane(key, index)
            if folder.size is not None:
                found[key] = framing.resize(plane[None], move.after, nearest=True)[0]
            elif plane.shape != move.before:
                raise _unequal(folder, index, key, plane.shape, move)
            else:
                found[key] = move.plane(plane[None], nearest=True)[0]
        else:
            found[key] = _picture(folder, index, key, move)
    return found


def _has_pixels(key: str) -> bool:
    """Whether a series of numbers has a value for each pixel, such as soft masks."""
    return {"H", "W"} <= set(glossary()[key].shape)


def _picture(folder: ImageFolder, index: int, key: str, move: Move) -> Any:
    path = place(folder.path, folder.rows[index], f"{key}_file_name")
    array = framing.check_values(read_image(path), None, path)
    if folder.size is None and array.shape[1:] != move.before:
        raise _unequal(folder, index, key, array.shape[1:], move)
    resized = framing.resize(array, move.after) if folder.size is not None else move.plane(array, nearest=False)
    return resized if resized.dtype.kind == "u" and resized.dtype.itemsize == 1 else framing.to_unit(resized)


def _unequal(folder: ImageFolder, index: int, key: str, size: tuple[int, ...], move: Move) -> UserError:
    name = show(folder.names[index])
    return UserError(f"{show(folder.path)}: the {key} of '{name}' is {size[1]} x {size[0]} px, the "
                     f"image {move.before[1]} x {move.before[0]}: bring them to one size, or add --drop {key}")
