"""Labels of gaze in a folder: that they are what they are taken for."""

from __future__ import annotations

from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder
from migaki.ops.gaze import problem_of


def require_gaze(folder: ImageFolder, key: str = "gaze") -> None:
    """UserError unless every image has a pitch and a yaw in column(s) `key` that can be radians."""
    folder.require(key)
    if problem := problem_of(folder.labels[key], key):
        raise UserError(f"{folder.path}: {problem}")
