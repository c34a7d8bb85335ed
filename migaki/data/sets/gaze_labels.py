"""Checks of gaze labels in a folder."""

from __future__ import annotations

from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder
from migaki.ops.gaze import problem_of


def require_gaze(folder: ImageFolder, key: str = "gaze") -> None:
    """UserError unless every image has a pitch and a yaw in column(s) `key` with plausible values in radians."""
    folder.require(key)
    if problem := problem_of(folder.labels[key], key):
        raise UserError(f"{folder.path}: {problem}")
