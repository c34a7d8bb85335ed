"""The density of a trained field as a grid whose surface can be drawn: what nobody saw is no second skin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from migaki.changes.parts.density_file import Density, softplus_inverse
from migaki.core.errors import UserError
from migaki.core.field import open_field
from migaki.core.files import show
from migaki.ops.hollows import unseen_hollows

Array = np.ndarray[Any, Any]

_CAMERAS = 24  # of which hollows are looked into
_INSIDE = 3.0  # above the level, of what is filled


def density_of_field(run: Path, points: int, level: float, fill: bool) -> Density:
    """Returns the densities of the field in `run`, with about `points` samples along the longest side.

    With `fill` hollows that no camera sees count as solid, above the density `level` (0: half of a cell's light).
    UserError for a run that is no field.
    """
    field = open_field(run)
    values, bounds = field.densities(points)
    if min(values.shape) < 4:
        raise UserError(f"{show(run)}: its grid has {' x '.join(map(str, values.shape))} points: train it with finer "
                        "--sides")
    cell = float((bounds[1, 0] - bounds[0, 0]) / (values.shape[0] - 1))
    found = Density(softplus_inverse(values * np.float64(cell)).astype(np.float32), bounds, cell)
    if fill:
        count = int(field.kept.count)
        poses = field.kept.poses[:count: max(1, count // _CAMERAS)].double().numpy()
        threshold = found.level(level)
        hollow = unseen_hollows(found.values > threshold, (poses[:, :, 3] - bounds[0]) / cell)
        found.values[hollow] = threshold + _INSIDE
    return found
