"""Checks of a column that something needs: no row may lack it, and its numbers must be such as can be.

A lens of no length, a mirrored pose or a sensor without a white level give pictures of nothing, or figures that are
not numbers, hours later. So they are refused where a set is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import show

Array = np.ndarray[Any, Any]

_OFF = 1e-2  # by which a rotation may miss: rounded columns of four digits do not
_FARTHEST = 1e9  # scene units
_LARGEST = 65535  # of a raw number


def check_present(path: Path, names: Sequence[str], key: str, held: Array | Sequence[str | None]) -> None:
    """UserError if a row lacks `key`, or holds numbers in it that cannot be.

    Args:
        path: The set.
        names: Its pictures.
        key: The column.
        held: Its numbers (N, ...), or the names (N) of its files.
    """
    if not isinstance(held, np.ndarray):
        _refuse(path, names, np.array([name is None for name in held]), f"'{key}' is missing or not finite")
        return
    if held.dtype.kind == "f":
        _refuse(path, names, np.logical_not(np.isfinite(held.reshape(len(names), -1)).all(axis=1)),
                f"'{key}' is missing or not finite")
    if key in _POSSIBLE and len(held):
        is_possible, wanted = _POSSIBLE[key]
        _refuse(path, names, np.logical_not(is_possible(held.astype(np.float64))), f"'{key}' cannot be ({wanted})")


def _refuse(path: Path, names: Sequence[str], wrong: Array, what: str) -> None:
    if wrong.any():
        index = int(wrong.argmax())
        raise UserError(f"{show(path)}: {what} for {int(wrong.sum())} of {len(names)} images, first for "
                        f"{show(names[index])} (row {index + 1}): correct or remove these rows")


def is_pose(poses: Array) -> Array:
    """Which poses (N, 3, 4) hold a rotation (no mirror image) and a place: (N,)."""
    turns, centres = poses[:, :, :3], poses[:, :, 3]
    off = np.abs(turns @ turns.transpose(0, 2, 1) - np.eye(3)).max((1, 2))
    return np.asarray((off <= _OFF) & (np.linalg.det(turns) > 0) & (np.abs(centres).max(1) < _FARTHEST))


def is_lens(lenses: Array) -> Array:
    """Which intrinsics (N, 4) have focal lengths above 0: (N,)."""
    return np.asarray((lenses[:, :2] > 0).all(1))


def _is_mosaic(squares: Array) -> Array:
    return np.asarray(np.isin(squares, (0, 1, 2)).all(1) & (squares[:, :, None] == np.arange(3)).any(1).all(1))


_POSSIBLE: Final[dict[str, tuple[Callable[[Array], Array], str]]] = {
    "camera_to_world": (is_pose, "its first three columns are a rotation: orthogonal, of length 1, not mirrored"),
    "intrinsics": (is_lens, "focal lengths are above 0 px"),
    "mosaic": (_is_mosaic, "a mosaic is four of 0, red, 1, green, and 2, blue, with each of them"),
    "black_level": (lambda level: (level >= 0) & (level < _LARGEST), f"levels are from 0 to {_LARGEST}"),
    "white_level": (lambda level: (level > 0) & (level <= _LARGEST), f"levels are from 0 to {_LARGEST}"),
    "shutter": (lambda time: time > 0, "times of exposure are above 0 s"),
    "white_balance": (lambda factors: np.asarray((factors > 0).all(1)), "factors are above 0"),
    "colour_matrix": (lambda matrix: np.asarray(np.abs(np.linalg.det(matrix)) > 1e-6),
                      "a matrix of colours can be inverted"),
    "preview_gain": (lambda gain: gain > 0, "factors are above 0"),
    "shot_noise": (lambda noise: noise > 0, "a variance is above 0"),
    "read_noise": (lambda noise: (noise >= 0) & (noise <= 1), "noise is from 0 to 1, which is white"),
}
"""Whether the numbers (N, ...) of a column can be, row by row, and what they have to be."""
