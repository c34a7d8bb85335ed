"""Planes of several pictures as one array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import show

Array = np.ndarray[Any, Any]


def stacked(planes: Sequence[Array], place: object, key: str) -> Array:
    """Returns planes of one shape as an array (B, ...); UserError that names the set `place` for different shapes."""
    shapes = sorted({plane.shape for plane in planes})
    if len(shapes) > 1:
        raise UserError(f"{show(str(place))}: the planes '{key}' differ in shape ({shapes[0]} and {shapes[-1]}): give "
                        "each picture one of the same number of channels and size")
    return np.stack(planes)
