"""Columns with as many entries an image as it has objects: lists of any length, arrays of one length, and back."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, Final

import numpy as np

from migaki.core.batch import Key
from migaki.core.glossary import glossary

Array = np.ndarray[Any, Any]
Row = dict[str, Any]

LEAST_LEFT: Final = 0.1
"""The share of a box's area that must still be inside of a picture that was cut; with less the object is left out."""

WHOLE: Final = ("classes", "crowd", "labels")
"""The columns whose entries are whole numbers."""


def object_key(column: str) -> Key | None:
    """The key of a column with an entry an object, `predicted_...` included; None for any other column."""
    key = glossary().get(column.removeprefix("predicted_"))
    return key if key is not None and key.pad is not None else None


def of_objects(column: str) -> bool:
    """Whether a column has an entry for each box: its list is as long as that of the boxes."""
    return object_key(column) is not None and column.removeprefix("predicted_") != "labels"


def filled(values: Sequence[Any], key: Key, first: int = 0) -> tuple[Array | None, str]:
    """Lists of any length as one array (N, M, ...), filled up with `pad`; an empty one for None.

    Returns the array, or None and the reason why there can be none; `first` is the number of rows before these.
    Text (names of classes) is no reason.
    """
    whole = key.name in WHOLE
    inner: tuple[int, ...] = ()
    arrays: list[Array | None] = []
    for number, value in enumerate(values, first + 1):
        if value is not None and type(value) is not list:
            return None, "" if isinstance(value, str) else f"row {number} holds no list"
        if not value:
            arrays.append(None)
            continue
        try:
            array = np.array(value)
        except ValueError:
            return None, f"row {number} holds lists of differing lengths"
        if array.dtype.kind not in "bif":
            return None, "" if array.dtype.kind == "U" else f"row {number} holds something else than numbers"
        if array.ndim != len(key.shape) or (inner and array.shape[1:] != inner) or not _fits(array, key):
            return None, f"row {number} holds no list of {_wanted(key)}"
        if not np.isfinite(array).all() or (whole and (array != np.floor(array)).any()):
            return None, f"row {number} holds a number that is not {'whole' if whole else 'finite'}"
        inner = array.shape[1:]
        arrays.append(array)
    most = max((len(array) for array in arrays if array is not None), default=0)
    if not most:
        return no_objects(len(values), key), ""
    result = np.full((len(values), most, *inner), key.pad, np.int64 if whole else np.float32)
    for place, entries in enumerate(arrays):
        if entries is not None:
            result[place, : len(entries)] = entries
    return result, ""


def no_objects(count: int, key: Key) -> Array:
    """The array of `count` images without an object."""
    inner = tuple(int(part) if part.isdigit() else 1 for part in key.shape[1:])
    return np.empty((count, 0, *inner), np.int64 if key.name in WHOLE else np.float32)


def together(blocks: Sequence[Array], key: Key) -> Array:
    """Filled arrays of several blocks of rows as one."""
    most = max(block.shape[1] for block in blocks)
    inner = next((block.shape[2:] for block in blocks if block.shape[1]), blocks[0].shape[2:])
    result = np.full((sum(map(len, blocks)), most, *inner), key.pad, blocks[0].dtype)
    start = 0
    for block in blocks:
        if block.shape[1]:
            result[start : start + len(block), : block.shape[1]] = block
        start += len(block)
    return result


def _fits(array: Array, key: Key) -> bool:
    return all(not part.isdigit() or length == int(part)
               for part, length in zip(key.shape[1:], array.shape[1:], strict=True))


def _wanted(key: Key) -> str:
    return f"{' x '.join(key.shape[1:])} numbers ({key.unit})" if len(key.shape) > 1 else f"numbers ({key.unit})"


def present(array: Array, key: Key) -> Array:
    """Which entries of a filled array (..., M, ...) are objects: truth values (..., M)."""
    last = array
    for _ in key.shape[1:]:
        last = last[..., -1]
    return np.asarray(last != key.pad)


def listed_objects(array: Array, key: Key) -> list[Array]:
    """A filled array (N, M, ...) as one array (m, ...) an image, without the entries that are no objects."""
    there = present(array, key)
    return [values[kept] for values, kept in zip(array, there, strict=True)]


def inside(boxes: Array, size: tuple[int, int]) -> tuple[Array, Array]:
    """Boxes (M, 4) cut at the edges of a picture of `size` (H, W), and which of them (M,) are still to be seen.

    An object of which less than `LEAST_LEFT` of its box is left is not.
    """
    given = np.asarray(boxes, np.float64).reshape(-1, 4)
    low = np.clip(given[:, :2], 0, size[::-1])
    high = np.clip(given[:, :2] + given[:, 2:], 0, size[::-1])
    cut = np.concatenate([low, high - low], 1)
    area, left = given[:, 2] * given[:, 3], cut[:, 2] * cut[:, 3]
    return cut, (left > 0) & (left >= LEAST_LEFT * area)


def kept_inside(row: Row, size: tuple[int, int], columns: Collection[str]) -> Row:
    """A row whose pixels have moved: its boxes cut at the edges of the picture, (H, W); objects that are out of it
    leave those of `columns` that have an entry for each box."""
    found = dict(row)
    for prefix in ("", "predicted_"):
        name = f"{prefix}boxes"
        boxes = row.get(name) if name in columns else None
        if not isinstance(boxes, list) or not boxes:
            continue
        try:
            cut, seen = inside(np.array(boxes, np.float64), size)
        except (ValueError, TypeError):
            continue  # no boxes of ours: `carry` has said what it could of them
        if len(cut) != len(boxes):
            continue
        for column in columns:
            value = row[column]
            same = column.startswith("predicted_") == bool(prefix) and of_objects(column)
            if same and isinstance(value, list) and len(value) == len(boxes):
                source = [_short(box) for box in cut] if column == name else value
                found[column] = [item for item, kept in zip(source, seen, strict=True) if kept]
    return found


def _short(box: Array) -> list[float]:
    return [float(np.float32(value)) if math.isfinite(value) else 0.0 for value in np.round(box, 4)]
