"""Columns of places: which of a folder's columns is learned, and which of its places are labelled at all."""

from __future__ import annotations

from typing import Final

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.batches.task_source import count_places
from migaki.data.folder import ImageFolder
from migaki.data.sets.class_names import listed
from migaki.data.sets.labels import POINT_KEYS
from migaki.data.sets.objects import of_objects

KEYPOINTS: Final = "keypoints"
VISIBLE: Final = "keypoint_visible"
"""The column that says which of `keypoints` are labelled: 0 not, 1 hidden, 2 visible."""


def point_key(folder: ImageFolder, wanted: str = "") -> str:
    """The name of the places that are learned: `wanted`, else `keypoints`, else the only column of places.

    Raises UserError where the folder leaves a choice, or has no places.
    """
    found = [key for key in POINT_KEYS if not of_objects(key)
             and (key in folder.labels or f"predicted_{key}" in folder.labels)]
    if wanted or KEYPOINTS in found:
        return wanted or KEYPOINTS
    if len(found) != 1:
        what = f"has several kinds of places ({listed(found)}): choose one with --key" if found else \
            "has no places (keypoints, or a column that is named with --key)"
        raise UserError(f"{show(folder.path)}: {what}")
    return found[0]


def take_points(folder: ImageFolder, key: str) -> tuple[str, int]:
    """The column of a folder that holds the places `key`, fit to be learned, and how many they are an image.

    What a model has read (`predicted_...`, by `migaki apply`) goes before labels. Of the labels `keypoints`, those that
    `keypoint_visible` says are not labelled become NaN. Raises UserError for a column that holds no places, or none
    at all.
    """
    column = f"predicted_{key}" if f"predicted_{key}" in folder.labels else key
    folder.require_column(column)
    count = count_places(folder, column, may_miss=True)
    values = folder.labels[column].astype(np.float32)
    if column == KEYPOINTS and VISIBLE in folder.labels:
        visible = folder.labels[VISIBLE]
        if visible.shape != values.shape[:2]:
            raise UserError(f"{show(folder.path)}: '{VISIBLE}' has not one number for each of {count} keypoints: mend "
                            "the metadata")
        values[np.nan_to_num(visible) <= 0] = np.nan
    if np.isinf(values).any() or not np.isfinite(values[..., :2]).any():
        raise UserError(f"{show(folder.path)}: '{column}' holds "
                        f"{'a place that is not finite' if np.isinf(values).any() else 'no place in any row'}: mend "
                        "the metadata or choose another --key")
    folder.set_label(column, values)
    return column, count


def point_names(folder: ImageFolder, key: str, count: int) -> tuple[str, ...]:
    """The names of the places, from `keypoint_names` in dataset.json; empty where there are none."""
    said = folder.made.get("keypoint_names", [])
    if key != KEYPOINTS or not said:
        return ()
    if not isinstance(said, list) or not all(isinstance(name, str) for name in said) or len(said) != count:
        raise UserError(f"{show(folder.path / 'dataset.json')}: keypoint_names is no list of {count} names, one for "
                        "each of keypoints: mend it")
    return tuple(said)
