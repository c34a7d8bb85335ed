"""Layers: masks and depth that lie in folders beside the pictures, under the same names."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.sets.listing import list_files, natural_key
from migaki.importers.annotations import plain_folders

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
"""Endings of pictures."""

_MARKS = ("_labelids", "_labels", "_label", "_masks", "_mask", "-mask", "_segmentation", "_seg", "_gt", "_l")
"""What the names of masks may have behind those of their pictures, lower case."""


def named(folder: Path, names: Sequence[str]) -> str:
    """The first of these names, in any spelling, that a folder in `folder` has; "" if none has."""
    own = {inner.name.lower(): inner.name for inner in plain_folders(folder)}
    return next((own[name] for name in names if name in own), "")


def layer(folder: Path, endings: Sequence[str] = PICTURES) -> dict[str, str]:
    """The files below a folder by their names without the ending, relative to it; natural order.

    UserError for links that lead out of it, and for two files that differ in their ending alone.
    """
    files: dict[str, str] = {}
    for name in sorted(list_files(folder), key=natural_key):
        stem, ending = posixpath.splitext(name)
        if ending.lower() in endings:
            if stem in files:
                raise UserError(f"{show(folder)}: {show(files[stem])} and {show(name)} differ in their ending alone: "
                                "move one of them away")
            files[stem] = name
    return files


def matched(folder: Path, pictures: Mapping[str, str], files: Mapping[str, str]) -> dict[str, str]:
    """For each picture the file of a layer in `folder`: that of the same name, or with a mark such as `_mask`.

    UserError where a picture has none.
    """
    marked = {}
    for stem, name in files.items():
        mark = next((mark for mark in _MARKS if stem.lower().endswith(mark)), "")
        marked[stem[: len(stem) - len(mark)]] = name
    found = {stem: files.get(stem, marked.get(stem, "")) for stem in pictures}
    missing = [stem for stem, name in found.items() if not name]
    if missing:
        raise UserError(f"{show(folder)}: holds nothing for {len(missing)} of {len(pictures)} pictures, first for "
                        f"{show(pictures[missing[0]])}: add it, or move these pictures away")
    return found
