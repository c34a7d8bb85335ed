"""Labels of gaze in a folder: that they are what they are taken for."""

from __future__ import annotations

import math

from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder


def require_gaze(folder: ImageFolder, key: str = "gaze") -> None:
    """UserError unless every image has a pitch and a yaw in column(s) `key` that can be radians."""
    folder.require(key)
    labels = folder.labels[key]
    if labels.shape[1:] != (2,):
        raise UserError(f"{folder.path}: '{key}' must be pitch and yaw, two numbers an image: mend the metadata")
    if abs(labels).max() > math.pi:
        raise UserError(f"{folder.path}: '{key}' goes up to {abs(labels).max():.3g}, which cannot be radians: "
                        "convert degrees to radians")
