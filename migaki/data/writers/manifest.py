"""Reads dataset.json and the journal of a set that was begun earlier; both may come from a stranger."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from migaki.core.errors import UserError
from migaki.data.files.image_file import show
from migaki.data.sets.labels import is_file_column
from migaki.data.writers.record import file_name

Row = dict[str, Any]

OUTCOME = ("num_images", "dropped")
"""Entries of dataset.json that describe the result rather than the settings."""


def heading_of(found: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """Returns the settings in `found`, after their comparison with `ours`; the command is kept if it is text."""
    kept = {key: value for key, value in found.items() if key not in OUTCOME}
    if "command" in kept and not isinstance(kept["command"], str):
        kept["command"] = ours.get("command", "")
    return kept


def dropped_of(found: dict[str, Any], path: Path) -> list[int]:
    """Returns the images that were left out according to dataset.json at `path`; UserError for an invalid list."""
    dropped = found.get("dropped", [])
    if not isinstance(dropped, list) or not all(type(index) is int and index >= 0 for index in dropped) or (
            len(set(dropped)) < len(dropped)):
        raise UserError(f"{show(path)}: 'dropped' is no list of image numbers: restore the file or delete the folder")
    return dropped


def rows_with_gaps(rows: list[Row], found: dict[str, Any], path: Path) -> dict[int, Row]:
    """Returns the rows of a finished folder by index; images that were left out have empty rows."""
    gaps = set(dropped_of(found, path))
    kept = [index for index in range(len(rows) + len(gaps)) if index not in gaps]
    if len(kept) != len(rows):
        raise UserError(f"{show(path)}: 'dropped' names images beyond those of the folder: restore the file or delete "
                        "the folder")
    return dict(zip(kept, rows, strict=True)) | {index: {} for index in gaps}


def num_images_of(found: dict[str, Any], path: Path) -> int:
    """Returns the number of requested images, including those that were left out."""
    count = found.get("num_images")
    if type(count) is not int or count < 0:
        raise UserError(f"{show(path)}: 'num_images' is not a number of images: restore the file or delete the folder")
    return count + len(dropped_of(found, path))


def is_whole(out: Path, row: Row) -> bool:
    """Whether the files of a row are in the folder, and not empty as after a power cut. Links do not count."""
    if "file_name" not in row:
        return False
    try:
        return all(is_plain_file(out / file_name(name, "")) for column, name in row.items() if is_file_column(column))
    except (ValueError, AttributeError):  # not a name of a file in the folder
        return False


def is_plain_file(path: Path) -> bool:
    """Whether `path` is a plain file, not a link, and not empty."""
    try:
        found = os.lstat(path)
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size > 0


def first_difference(key: str, was: Any, now: Any) -> tuple[str, str, str]:
    """Returns the first setting that differs, by its path, and its two values."""
    if isinstance(was, dict) and isinstance(now, dict):
        inner = next(name for name in [*now, *was] if was.get(name) != now.get(name))
        return first_difference(f"{key}.{inner}", was.get(inner), now.get(inner))
    return key, json.dumps(was, ensure_ascii=False), json.dumps(now, ensure_ascii=False)


def short(text: str) -> str:
    """Returns the beginning of a long text."""
    return text if len(text) <= 60 else text[:57] + "..."


def is_bare(folder: Path) -> bool:
    """Whether a folder holds only hidden files."""
    with os.scandir(folder) as entries:
        return all(entry.name.startswith(".") for entry in entries)
