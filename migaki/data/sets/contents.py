"""What a folder holds, in a few digits: a run on images that have changed since must not pass for one on these."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from migaki.core.files import explain
from migaki.data.files.image_file import show

_OURS = ("dataset.json", "config.json")  # what migaki writes into a folder of images and into a run
_METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")


def contents(path: Path) -> str:
    """16 hexadecimal digits that change when the folder (or file) at `path` is made anew or edited; no image is read.

    They are those of what migaki wrote about the folder and of its metadata; of pictures alone, of their names and
    sizes. So a million rows take seconds. Raises UserError if it cannot be read.
    """
    known = [path / name for name in (*_OURS, *_METADATA) if (path / name).is_file()]
    if not known:
        return names_and_sizes(path)
    state = hashlib.sha256()
    try:
        for name in known:
            with open(name, "rb") as file:  # in pieces: the metadata of a million rows are gigabytes
                state.update(name.name.encode() + hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        raise explain(error, show(path)) from error
    return state.hexdigest()[:16]


def contents_of(folders: Mapping[str, Sequence[Path]]) -> dict[str, list[str]]:
    """`contents` of every folder of `core.system.data_paths`, by its name there."""
    return {name: [contents(path) for path in paths] for name, paths in folders.items()}


def names_and_sizes(path: Path) -> str:
    """16 hexadecimal digits of the names and sizes of the files at `path`. Raises UserError if it cannot be read."""
    state = hashlib.sha256()
    try:
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        for file in files:
            name = b"" if file == path else os.fsencode(file.relative_to(path))
            state.update(name + f"\0{file.stat().st_size}\0".encode())
    except OSError as error:
        raise explain(error, show(path)) from error
    return state.hexdigest()[:16]
