"""The rule by which labels follow pixels: positions are moved, other labels are copied, uncertain ones are refused.

The glossary (`core.batch.Kind`) declares a column's kind. Of undeclared columns, text, truth values and single numbers
are copied. Lists of numbers, and numbers with a name such as `xmin`, may be positions in px. If pixels move, these are
refused by name, unless the caller names them to be copied or dropped.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from migaki.core.batch import Kind
from migaki.core.errors import UserError
from migaki.core.glossary import glossary
from migaki.data.files.framing import cover_box
from migaki.data.sets.labels import is_file_column, plain
from migaki.data.sets.objects import kept_inside

Array = np.ndarray[Any, Any]
Row = dict[str, Any]

_BOXES = ("bbox", "bboxes", "box", "boxes")  # x y width height, as in COCO and Hugging Face
_POINTS = ("points", "landmarks")
_PLACE = re.compile(r"(?:.*_)?(?:[xyuv]|c[xy]|[xy][12]|[xy]_?(?:min|max)|left|right|top|bottom|px)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Move:
    """How pixels moved: `matrix` (2, 3) float64 maps (x, y, 1) of the old picture to x y of the new one.

    Both are in px, with the centre of the first pixel at (0, 0). `before` and `after` are the pictures' (H, W).
    """

    matrix: Array
    before: tuple[int, int]
    after: tuple[int, int]

    @property
    def is_identity(self) -> bool:
        """Whether no pixel moved and the size is unchanged."""
        return self.before == self.after and bool(np.allclose(self.matrix, np.eye(2, 3), atol=1e-9))

    @property
    def keeps_directions(self) -> bool:
        """Whether pictures were only scaled (by one positive factor) and cut: no rotation, no mirroring, no shear."""
        factor = self.matrix[0, 0]
        return bool(factor > 0 and np.allclose(self.matrix[:, :2], np.eye(2) * factor, rtol=0.05, atol=0.05 * factor))

    def points(self, values: Array) -> Array:
        """Move positions (..., 2 or more), whose first two values are x y."""
        moved = np.array(values, np.float64)
        moved[..., :2] = moved[..., :2] @ self.matrix[:, :2].T + self.matrix[:, 2]
        return moved

    def boxes(self, values: Array) -> Array:
        """Move boxes (..., 4), x y width height: returns the upright box around the four moved corners."""
        given = np.asarray(values, np.float64)
        left, top, width, height = (given[..., k] for k in range(4))
        corners = np.stack([np.stack([left + dx * width, top + dy * height], -1) for dx in (0, 1) for dy in (0, 1)], -2)
        moved = self.points(corners - 0.5) + 0.5  # a box's corner is a pixel's corner, not its centre
        low, high = moved.min(-2), moved.max(-2)
        return np.concatenate([low, high - low], -1)

    def camera(self, values: Array) -> Array:
        """Convert fx fy cx cy (..., 4) for a change of size."""
        given = np.asarray(values, np.float64)
        scale = np.array([self.matrix[0, 0], self.matrix[1, 1]])
        return np.concatenate([given[..., :2] * scale, self.points(given[..., 2:])], -1)

    def lens(self, values: Array) -> Array:
        """Convert fx fy cx cy (..., 4) from the picture's corner for a change of size."""
        half = np.array([0.0, 0.0, 0.5, 0.5])
        moved: Array = self.camera(np.asarray(values, np.float64) - half) + half
        return moved

    def vectors(self, values: Array, *, in_pixels: bool) -> Array:
        """Resample numbers (C, h, w) at the nearest pixel; x y in px, the first two, are turned and scaled too."""
        moved = self.plane(values, nearest=True)
        if in_pixels:
            moved[:2] = np.einsum("ij,jhw->ihw", self.matrix[:, :2], moved[:2])
        return moved

    def plane(self, values: Array, *, nearest: bool) -> Array:
        """Resample a picture (C, h, w) to (C, *after); it is 0 outside of the old picture."""
        inverse = np.linalg.inv(np.vstack([self.matrix, [0.0, 0.0, 1.0]]))
        swapped = inverse[:2, :2][::-1, ::-1], inverse[:2, 2][::-1]  # rows before columns
        # A pixel reaches half a pixel beyond its centre, at the picture's edges too: so the nearest one counts there.
        shown = ndimage.affine_transform(np.ones(values.shape[1:], bool), *swapped, output_shape=self.after, order=0,
                                         mode="grid-constant")
        order, source = (0, values) if nearest else (1, values.astype(np.float32))
        moved = np.stack([np.where(shown, ndimage.affine_transform(
            band, *swapped, output_shape=self.after, order=order, mode="nearest"), 0).astype(source.dtype)
            for band in source])
        return moved if nearest or values.dtype.kind == "f" else np.rint(moved).astype(values.dtype)


_STAYS = Move(np.eye(2, 3), (1, 1), (1, 1))


def framed(height: int, width: int, size: tuple[int, int]) -> Move:
    """Returns the move of `framing.resize`: scaled to cover `size` (H, W), cut around the centre."""
    left, top, right, _ = cover_box(height, width, size)
    scale = size[1] / (right - left)
    shift = (0.5 - np.array([left, top])) * scale - 0.5
    return Move(np.array([[scale, 0.0, shift[0]], [0.0, scale, shift[1]]]), (height, width), size)


def scaled(before: tuple[int, int], after: tuple[int, int]) -> Move:
    """Returns the move of a plain change of size, with one factor per axis."""
    wide, tall = after[1] / before[1], after[0] / before[0]
    return Move(np.array([[wide, 0.0, (wide - 1) / 2], [0.0, tall, (tall - 1) / 2]]), before, after)


def carried(row: Mapping[str, Any], move: Move, where: str, *, keep: Collection[str] = (),
            drop: Collection[str] = ()) -> Row:
    """Returns the row of a picture after its pixels moved, without file columns.

    Boxes are cut at the edges of the new picture, and objects outside of it are removed (`objects.kept_inside`).
    `keep` names columns to copy although they may hold positions; `drop` names columns to leave out. Raises UserError
    with `where` and the column for a label that cannot follow.
    """
    values = {name: value for name, value in row.items() if name not in drop and not is_file_column(name)}
    if move.is_identity:
        return values
    found: Row = {}
    joined = _joined(values, keep)
    for name, value in values.items():
        if name in keep or value is None:
            found[name] = value
        elif name in joined:
            found[name] = joined[name](move)
        else:
            found[name] = _followed(name, value, move, where)
    return kept_inside(found, move.after, {name for name in found if name not in keep})


def places(row: Mapping[str, Any]) -> list[str]:
    """Returns the columns of a row that are, or may be, positions in px or directions."""
    turned = Move(np.array([[0.0, -2.0, 1.0], [2.0, 0.0, 1.0]]), (7, 9), (9, 7))
    found = []
    for name in row:
        try:
            if carried(row, turned, "", keep=[other for other in row if other != name]) != carried(row, _STAYS, ""):
                found.append(name)
        except UserError:
            found.append(name)
    return found


def in_pixels(key: str) -> bool:
    """Whether the glossary says that the vectors `key` are in px, such as flow."""
    return glossary()[key].unit.startswith("px")


def _joined(values: Row, keep: Collection[str]) -> dict[str, Any]:
    """Returns for columns that spread one vector of positions (`pupil_x`, `pupil_y`): column -> moved value."""
    found: dict[str, Any] = {}
    for key in glossary().values():
        columns = key.columns
        if key.kind != "points" or not columns or not all(values.get(name) is not None for name in columns) or \
                set(columns) & set(keep):
            continue
        point = np.array([values[name] for name in columns], np.float64)
        for place, name in enumerate(columns):
            found[name] = lambda move, point=point, place=place: _plain(move.points(point))[place]
    return found


def _kind_of(name: str) -> Kind | None:
    """Returns the kind of a column by its name; None for an undeclared name."""
    own = name.removeprefix("predicted_")
    known = glossary()
    if own in _BOXES:
        return "boxes"
    if own in _POINTS:
        return "points"
    if own in known:
        return known[own].kind
    spread = {column: key.kind for key in known.values() for column in key.columns}
    return spread.get(name, spread.get(own))


def _followed(name: str, value: Any, move: Move, where: str) -> Any:
    kind = _kind_of(name)
    if kind == "numbers":
        return value
    if kind == "directions":
        if move.keeps_directions:
            return value
        raise _refused(name, where, "is a direction, which a rotated, mirrored or sheared picture does not keep")
    if isinstance(value, dict):
        return {part: _followed(part, item, move, where) for part, item in value.items()}
    if kind in ("points", "boxes", "camera", "lens") and not isinstance(value, int | float | str | bool):
        return _moved(name, value, kind, move, where)
    size = {"width": (move.before[1], move.after[1]), "height": (move.before[0], move.after[0])}.get(name)
    if size is not None and value == size[0]:
        return size[1]
    if isinstance(value, list):
        if _has_numbers(value):
            raise _refused(name, where, "holds lists of numbers, which may be positions in px")
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and (size is not None or _PLACE.fullmatch(name)):
        raise _refused(name, where, "may be a position in px")
    return value


def _moved(name: str, value: Any, kind: Kind, move: Move, where: str) -> Any:
    if not value:
        return value  # an empty list of boxes
    wanted = {"boxes": "x y width height", "points": "x y"}.get(kind, "fx fy cx cy")
    try:
        array = np.array(value, np.float64)
    except (ValueError, TypeError) as error:
        if isinstance(value, list) and any(isinstance(item, list) for item in value):
            return [_moved(name, item, kind, move, where) if item is not None else None for item in value]
        raise _refused(name, where, f"is not {wanted}") from error
    width = array.shape[-1] if array.ndim else 0
    if width < 2 or (kind != "points" and width != 4) or (kind == "points" and width > 3):
        raise _refused(name, where, f"is not {wanted}")
    return _plain({"boxes": move.boxes, "points": move.points, "camera": move.camera, "lens": move.lens}[kind](array))


def _plain(array: Array) -> list[Any]:
    return plain(array.astype(np.float32))


def _has_numbers(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_has_numbers, value))
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refused(name: str, where: str, why: str) -> UserError:
    return UserError(f"{where}: pixels move, and the column '{name}' {why}: add --drop {name} to leave it out, or "
                     f"--keep {name} to copy it unchanged")
