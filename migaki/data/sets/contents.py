"""What folders hold, in a few digits: what was made from other files must not pass for made from these.

The digits are those of contents, not of names, sizes or times: a folder that was copied or touched keeps them, a
picture that was drawn anew under its old name changes them. Hidden files do not count. See `core.hashes` for the cost.
"""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from migaki.core.errors import UserError
from migaki.core.files import digest, explain, read_json
from migaki.core.hashes import hash_files
from migaki.data.files.image_file import EXTENSIONS, show
from migaki.data.sets.listing import list_files

_MANIFEST = "dataset.json"
_READ = EXTENSIONS | {".jsonl", ".csv", ".parquet", ".tar"}  # what the readers of a set look at: not its README


def contents(path: Path) -> str:
    """16 hexadecimal digits of what a reader finds at `path`: a run, a set of images or a file.

    Of a run they are those of its model: system, configuration and weights. Of a set, those of its pictures, metadata
    and shards, and of what dataset.json says, less the command line. UserError if it cannot be read.
    """
    try:
        if path.is_file():
            return _of_file(path)
        if (path / "config.json").is_file():
            return _of_run(path)
        names = [name for name in list_files(path) if posixpath.splitext(name)[1].lower() in _READ]
        return digest(hash_files(path, names) + _manifest(path / _MANIFEST))
    except OSError as error:
        raise explain(error, show(error.filename or path)) from error


def all_contents(path: Path) -> str:
    """The digits of every file at `path` that is not hidden: of a layout of others, which may hold anything."""
    try:
        return _of_file(path) if path.is_file() else hash_files(path, list(_below(path, "")))
    except OSError as error:
        raise explain(error, show(error.filename or path)) from error


def contents_of(folders: Mapping[str, Sequence[Path]]) -> dict[str, list[str]]:
    """`contents` of every folder of `core.system.data_paths`, by its name there."""
    return {name: [contents(path) for path in paths] for name, paths in folders.items()}


def _of_file(path: Path) -> str:
    """The digits of one file, whatever its name."""
    real = Path(os.path.realpath(path))
    return hash_files(real.parent, [real.name], with_names=False)


def _of_run(path: Path) -> str:
    record = read_json(path / "config.json")
    model = {key: record.get(key) for key in ("system", "config")} if isinstance(record, dict) else record
    weights = [name for name in ("model.safetensors",) if (path / name).exists()]
    return digest(json.dumps(model, sort_keys=True) + hash_files(path, weights))


def _manifest(path: Path) -> str:
    """What dataset.json says; the command line does not count."""
    if not path.is_file():
        return ""
    try:
        found = read_json(path)
    except UserError:  # of somebody else, or damaged: whoever needs it will say so
        return all_contents(path)
    if isinstance(found, dict):
        found.pop("command", None)
    return json.dumps(found, sort_keys=True)


def _below(folder: Path, prefix: str) -> Iterator[str]:
    """All plain files, relative with `/`; links to folders are not followed, those to nothing are left out."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _below(Path(entry.path), f"{prefix}{entry.name}/")
            elif entry.is_file():
                yield prefix + entry.name
