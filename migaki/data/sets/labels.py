"""Converts metadata rows to label arrays and back, by the glossary (`core.glossary`)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from migaki.core.batch import Batch, Key
from migaki.core.glossary import glossary, keys_of
from migaki.data.sets.label_shapes import MIXED, misfit, wants_numbers
from migaki.data.sets.objects import WHOLE, filled, listed_objects, no_objects, object_key, together

Array = np.ndarray[Any, Any]
Row = dict[str, Any]

IMAGE_KEYS = keys_of("picture")
"""Keys whose values are `(B, C, H, W)` pictures in [0, 1]."""

PLANE_KEYS = keys_of("plane")
"""Keys whose values are `(B, H, W)` planes that keep their unit."""

VECTOR_KEYS = keys_of("vectors")
"""Keys whose values are `(B, C, H, W)` numbers in their own unit, kept in files."""

SIGNAL_KEYS = keys_of("signal")
"""Keys whose values are series of numbers, kept in files."""

FILE_KEYS = frozenset((*IMAGE_KEYS, *PLANE_KEYS, *VECTOR_KEYS, *SIGNAL_KEYS))
"""All keys whose values are files."""

_COLUMNS = frozenset(column for key in glossary().values() for column in key.columns)

POINT_KEYS = keys_of("points")
"""Keys whose first two numbers along the last axis are pixel positions x y."""

LENS_KEYS = keys_of("lens")
"""Keys whose four numbers are fx fy cx cy in px from the picture's corner."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The content of the rows of a set, column by column."""

    labels: dict[str, Array]  # numbers, truth values and lists as arrays (N, ...)
    problems: dict[str, str]  # for each column that could not become an array the reason; none for text
    files: dict[str, list[str | None]]  # the further pictures: key -> a file name or None for each row


def gather_columns(rows: Sequence[Row]) -> Columns:
    """Gather all columns in one pass through the rows, which may be on the disk.

    Whole numbers become int64, truth values bool, all else float32; a missing number is NaN (and its column
    float32). Scalar columns that the glossary joins into a vector are joined (`gaze_pitch`, `gaze_yaw` -> `gaze`).
    """
    arrays: dict[str, Array] = {}
    problems: dict[str, str] = {}
    parts, files, kinds = _column_parts(rows)
    for name, blocks in parts.items():
        if name not in _COLUMNS and all(block is _MISSING for block in blocks):
            continue  # it may turn out to be text
        if object_key(name) is None and bool in kinds[name] and (kinds[name] & {int, float} or wants_numbers(name)):
            problems[name] = MIXED
            continue
        key = object_key(name)
        if key is not None:
            array, problem = _objects(key, blocks)
            if array is not None:
                arrays[name] = array
            elif problem:
                problems[name] = problem
            continue
        array = _joined_blocks(blocks, len(rows))
        if array is None and any(block is _LISTS or (not isinstance(block, str) and block.ndim > 1)
                                 for block in blocks):
            array, problem = _column([row.get(name) for row in rows])
            if problem:
                problems[name] = problem
        if array is not None and array.dtype == np.bool_ and wants_numbers(name):
            problems[name] = MIXED
        elif array is not None:
            arrays[name] = array
    joined = _join(arrays)
    for name in list(joined):
        if problem := misfit(name, joined[name]):
            problems[name] = problem
            del joined[name]
    _explain_vectors(joined, problems, parts)
    return Columns(joined, problems, files)


def _explain_vectors(arrays: dict[str, Array], problems: dict[str, str], parts: dict[str, list[_Block]]) -> None:
    """Explain for a vector that was not joined what is wrong with its columns."""
    for key in glossary().values():
        present = [name for name in key.columns if name in parts]
        if not present or key.name in arrays:
            continue
        bad = next((name for name in present if name in problems or name not in arrays or arrays[name].ndim > 1), None)
        if bad is not None:
            problems.setdefault(key.name, f"'{bad}': {problems.get(bad, 'holds something else than numbers')}")
        elif len(present) < len(key.columns):
            missing = next(name for name in key.columns if name not in parts)
            problems.setdefault(key.name, f"'{missing}' is missing beside '{present[0]}'")


_FIRST_POWER, _LAST_POWER = -12, 15
_POWERS = np.array([float(f"1e{power}") for power in range(_FIRST_POWER, _LAST_POWER + 1)])
_WHOLE_POWERS = np.array([float(f"1e{power}") for power in range(23)])  # exact; np.power need not be
_SMALLEST, _LARGEST = _POWERS[0], _POWERS[-1]
_BLOCK = 4096  # rows held as Python values at a time: arrays are many times smaller
_MISSING, _TEXT, _LISTS = "nothing", "no numbers", "lists or not all of one kind"
_Block = Array | str


def _column_parts(rows: Sequence[Row]
                  ) -> tuple[dict[str, list[_Block]], dict[str, list[str | None]], dict[str, set[type]]]:
    """Returns each column in blocks (arrays, or what they are instead), the columns of file names, and the types."""
    parts: dict[str, list[_Block]] = {}
    kinds: dict[str, set[type]] = {}
    files: dict[str, list[str | None]] = {}
    iterator, number = iter(rows), 0
    while block := list(itertools.islice(iterator, _BLOCK)):
        named = (name.removesuffix("_file_name") for row in block for name in row if name.endswith("_file_name"))
        for key in dict.fromkeys(itertools.chain(files, named)):
            names = files.setdefault(key, [None] * (number * _BLOCK))
            names += [row.get(f"{key}_file_name") for row in block]
        for name in dict.fromkeys(itertools.chain(parts, (name for row in block for name in row))):
            if is_file_column(name):
                continue
            before = parts.setdefault(name, [_MISSING] * number)
            values = [row.get(name) for row in block]
            kinds.setdefault(name, set()).update(map(type, values))
            declared = object_key(name)
            if declared is None:
                before.append(_block(values))
            else:
                array, problem = filled(values, declared, number * _BLOCK)
                before.append(problem if array is None else array)
        number += 1
    return parts, files, kinds


def _objects(key: Key, blocks: list[_Block]) -> tuple[Array | None, str]:
    """Returns one array of a column with an entry for each object, or the reason why not (empty for class names)."""
    arrays: list[Array] = []
    nothing = no_objects(_BLOCK, key)
    for block in blocks:
        if isinstance(block, str) and block is not _MISSING:
            return None, block
        arrays.append(nothing if isinstance(block, str) else block)
    if len({array.shape[2:] for array in arrays if array.shape[1]}) > 1:
        return None, "the entries of the lists have different lengths in some rows"
    return together(arrays, key), ""


def _block(values: list[Any]) -> _Block:
    if all(value is None for value in values):
        return _MISSING
    array, _ = _column(values)
    if array is not None:
        return array
    return _LISTS if any(type(value) is list for value in values) else _TEXT


def _column(values: list[Any]) -> tuple[Array | None, str]:
    array = _scalars(values)
    return (array, "") if array is not None else _vectors(values)


def _joined_blocks(blocks: list[_Block], count: int) -> Array | None:
    """Returns one array of all blocks, if they have the same shape."""
    arrays = [block for block in blocks if not isinstance(block, str)]
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1 or any(isinstance(block, str) and block is not _MISSING for block in blocks):
        return None
    kinds = {array.dtype.kind for array in arrays} | ({"f"} if len(arrays) < len(blocks) else set())
    dtype = np.bool_ if kinds == {"b"} else np.int64 if kinds <= {"b", "i"} else np.float32
    whole = np.empty((count, *(shapes.pop() if shapes else ())), dtype)
    for number, block in enumerate(blocks):
        whole[number * _BLOCK : (number + 1) * _BLOCK] = math.nan if isinstance(block, str) else block
    return whole


def is_file_column(name: str) -> bool:
    """Whether a metadata column names files: `file_name` or `KEY_file_name`."""
    return name == "file_name" or name.endswith("_file_name")


def _scalars(values: list[Any]) -> Array | None:
    """Returns a column of plain numbers, or None for any other column."""
    kinds = set(map(type, values))
    missing = type(None) in kinds
    kinds.discard(type(None))
    if not kinds <= {bool, int, float}:
        return None
    if not missing and kinds == {bool}:
        return np.array(values, np.bool_)
    try:
        if not missing and kinds <= {bool, int}:
            return np.array(values, np.int64)
        with np.errstate(over="ignore"):  # values beyond float32 become infinite, which `require` detects
            return np.array([math.nan if value is None else value for value in values], np.float32)
    except OverflowError:
        return None


def _vectors(values: list[Any]) -> tuple[Array | None, str]:
    """Returns a column of equally long lists of numbers; else the reason why not, empty for text."""
    lists = [value for value in values if type(value) is list]
    if not lists:
        return None, ""
    shape = _shape(lists[0])
    filled = values if len(lists) == len(values) else [_or_missing(value, shape) for value in values]
    try:
        with np.errstate(over="ignore"):
            array = np.array(filled)
            if array.dtype.kind in "bifO":  # O: None among the numbers
                kind = {"b": np.bool_, "i": np.int64}.get(array.dtype.kind, np.float32)
                return array.astype(kind), ""
    except (ValueError, TypeError, OverflowError):
        pass  # explained below
    for index, value in enumerate(values):
        if value is not None and (shape is None or type(value) is not list or _shape(value) != shape):
            return None, f"row {index + 1} holds a list of another type or length than the first"
    return None, "the lists hold values that are not numbers"


def _or_missing(value: Any, shape: tuple[int, ...] | None) -> Any:
    return np.full(shape or (), math.nan).tolist() if value is None else value


def _shape(value: list[Any]) -> tuple[int, ...] | None:
    """Returns the shape of nested lists, or None if they are ragged."""
    try:
        return np.shape(value)
    except ValueError:
        return None


def _join(arrays: dict[str, Array]) -> dict[str, Array]:
    """Join the scalar columns into which the glossary spreads a vector, also those that a model predicted."""
    for key, prefix in itertools.product(glossary().values(), ("", "predicted_")):
        columns = [f"{prefix}{name}" for name in key.columns]
        if columns and all(name in arrays and arrays[name].ndim == 1 for name in columns):
            parts = [arrays.pop(name).astype(np.float32) for name in columns]
            arrays[f"{prefix}{key.name}"] = np.stack(parts, axis=1)
    return arrays


def batch_rows(batch: Batch) -> list[Row]:
    """Convert the labels of a batch to metadata rows, ready for `FolderWriter.write`.

    Vectors that the glossary spreads over columns are spread (`gaze` -> `gaze_pitch`, `gaze_yaw`), other vectors are
    nested lists. Floats are the shortest decimals that read back to the same float32; NaN is None. `image` is left
    out; other pictures and planes (`mask`, `depth`, `target`) stay tensors, which the writer stores as files.
    """
    count = len(next(iter(batch.values()))) if batch else 0
    rows: list[Row] = [{} for _ in range(count)]
    for name, value in batch.items():
        if name == "image":
            continue
        if name in FILE_KEYS:
            for row, item in zip(rows, value, strict=True):
                row[name] = item
            continue
        if (key := object_key(name)) is not None:
            for row, entries in zip(rows, listed_objects(value.detach().float().cpu().numpy(), key), strict=True):
                row[name] = plain(entries.astype(np.int64)) if name in WHOLE else plain(entries)
            continue
        columns = glossary()[name].columns if name in glossary() else ()
        for row, item in zip(rows, plain(value), strict=True):
            if columns:
                row.update(zip(columns, item, strict=True))
            else:
                row[name] = item
    return rows


def plain(value: torch.Tensor | Array) -> list[Any]:
    """Convert a tensor to (nested) lists of plain numbers; see `batch_rows` for floats."""
    array = np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value)
    if array.dtype.kind != "f":
        numbers: list[Any] = array.tolist()
        return numbers
    decimals = shortest_decimals(array.astype(np.float32))
    result: list[Any] = decimals.tolist()
    if np.isnan(decimals).any():
        shaped = decimals.astype(object)
        shaped[np.isnan(decimals)] = None
        result = shaped.tolist()
    return result


def shortest_decimals(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Returns for each float32 the shortest decimal that reads back to it, as the float64 that prints so. Any shape.

    The nearest decimal of 6 digits is the shortest if it reads back to the same float32, else that of 7, 8 or 9 digits:
    such decimals are further apart than float32 values. Printing and parsing takes ten times as long.
    """
    exact = values.astype(np.float64).ravel()
    size = np.abs(exact)
    plain = (size >= _SMALLEST) & (size < _LARGEST)
    result = np.where(plain, 0.0, exact)
    odd = np.flatnonzero(~plain & (exact != 0) & np.isfinite(exact))
    result[odd] = [float(text) for text in values.ravel()[odd].astype(str)]
    left = np.flatnonzero(plain)
    exponents = np.searchsorted(_POWERS, size[left], side="right") - 1 + _FIRST_POWER
    for digits in (6, 7, 8, 9):
        shift = digits - 1 - exponents  # digits after the point
        up, down = _WHOLE_POWERS[np.maximum(shift, 0)], _WHOLE_POWERS[np.maximum(-shift, 0)]
        rounded = np.rint(exact[left] / down * up) / up * down
        result[left] = rounded
        again = rounded.astype(np.float32) != exact[left]
        left, exponents = left[again], exponents[again]
    return result.reshape(values.shape)
