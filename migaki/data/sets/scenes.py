"""What dataset.json says of the scene of a posed set: its box, where rays begin and end, what lies behind."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.folder import ImageFolder


@dataclass(frozen=True, slots=True)
class Scene:
    """A box (x0 y0 z0 x1 y1 z1), two distances in scene units, and a colour in [0, 1] or None."""

    bounds: tuple[float, ...]
    near: float
    far: float
    background: tuple[float, ...]  # empty if it is unknown


def scene_of(folder: ImageFolder) -> Scene:
    """Returns the scene of a set; UserError if dataset.json does not say it, or says what cannot be."""
    where = show(folder.path / "dataset.json")
    found = folder.made.get("scene")
    if not isinstance(found, dict):
        raise UserError(f"{where}: says nothing of a scene (its bounds, near and far): import the capture with "
                        "`migaki import`, or write \"scene\" there")
    box = found.get("bounds")
    low, high = (_numbers(part) for part in box) if isinstance(box, list) and len(box) == 2 else ((), ())
    near, far = _numbers([found.get("near"), found.get("far")]) or (0.0, 0.0)
    behind = _numbers(found.get("background")) or ()
    if len(low) != 3 or len(high) != 3 or any(a >= b for a, b in zip(low, high, strict=True)):
        raise UserError(f"{where}: scene.bounds is no box [[x0, y0, z0], [x1, y1, z1]]: correct it")
    if not 0 <= near < far:
        raise UserError(f"{where}: scene.near {near:g} and scene.far {far:g} are no ascending distances: correct them")
    if len(behind) not in (0, 3) or not all(0 <= part <= 1 for part in behind):
        raise UserError(f"{where}: scene.background is no colour [r, g, b] from 0 to 1: correct it")
    return Scene((*low, *high), near, far, behind)


def _numbers(value: Any) -> tuple[float, ...]:
    """The finite numbers of a list; nothing if it is none."""
    if not isinstance(value, list | tuple) or not all(
            isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one) for one in value):
        return ()
    return tuple(float(one) for one in value)
