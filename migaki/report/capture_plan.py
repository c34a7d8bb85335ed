"""The cameras of a capture seen from above and from the side, with the scene's bounds: one picture."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Array = npt.NDArray[Any]

_SIDE, _MARGIN = 460, 30  # px of one view
_PAPER, _INK, _BOX = (255, 255, 255), (60, 60, 60), (170, 170, 170)
_CAMERA: Final[dict[str, tuple[int, int, int]]] = {"train": (38, 98, 175), "": (38, 98, 175), "test": (24, 140, 90),
                                                   "val": (24, 140, 90)}
_ODD = (205, 45, 45)


def capture_plan(poses: Array, splits: Sequence[str], bounds: Array | None, odd: Collection[int] = ()) -> bytes:
    """Returns a PNG: a dart for each camera (N, 3, 4) that points where it looks; green: testing, red: `odd` ones.

    Upwards is the mean of what is upwards in the pictures. `bounds` (2, 3) are drawn as a box.
    """
    axes = _frame(poses)
    centres, forward = poses[:, :, 3] @ axes.T, poses[:, :, 2] @ axes.T
    box = np.zeros((0, 3)) if bounds is None else _corners(bounds) @ axes.T
    canvas = Image.new("RGB", (2 * _SIDE, _SIDE + 24), _PAPER)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(14)
    for number, (pair, title) in enumerate((((0, 1), "from above"), ((0, 2), "from the side"))):
        flat, ahead, edges = centres[:, pair], forward[:, pair], box[:, pair]
        every = np.concatenate([flat, edges])
        middle, reach = (every.min(0) + every.max(0)) / 2, max(float(np.ptp(every, axis=0).max()), 1e-9)
        scale = (_SIDE - 2 * _MARGIN) / reach

        def place(point: Array, middle: Array = middle, scale: float = scale, number: int = number
                  ) -> tuple[float, float]:
            x, y = (point - middle) * scale
            return _SIDE * number + _SIDE / 2 + float(x), _SIDE / 2 - float(y)

        for first, second in _EDGES if len(edges) else ():
            draw.line([place(edges[first]), place(edges[second])], fill=_BOX)
        for camera, (point, way) in enumerate(zip(flat, ahead, strict=True)):
            side = np.array([-way[1], way[0]])
            tip, left, right = (place(point + step / scale) for step in (14 * way, 4 * side, -4 * side))
            colour = _ODD if camera in odd else _CAMERA.get(splits[camera], _CAMERA[""])
            draw.polygon([tip, left, right], outline=colour, fill=colour if camera in odd else None)
        draw.text((_SIDE * number + 8, _SIDE + 2), title, fill=_INK, font=font)
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()


def _frame(poses: Array) -> Array:
    """Axes (3, 3) by rows: two level ones, and upwards."""
    up = -poses[:, :, 1].mean(0)
    length = float(np.linalg.norm(up))
    up = up / length if length > 1e-6 else np.array([0.0, 0.0, 1.0])
    level = np.eye(3)[int(np.abs(up).argmin())]
    first = np.cross(level, up)
    first = first / np.linalg.norm(first)
    return np.stack([first, np.cross(up, first), up])


def _corners(bounds: Array) -> Array:
    return np.array([[bounds[i, 0], bounds[j, 1], bounds[k, 2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)])


_EDGES = tuple((first, first | 1 << bit) for bit in range(3) for first in range(8) if not first >> bit & 1)
