"""Hashes of the content of folders, to detect results that were made from other files.

The hash depends on contents, not on names, sizes or times: it does not change for a copied or touched folder, and it
changes for a new picture under an old name. Hidden files do not count. `core.hashes` describes the cost.
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
_READ = EXTENSIONS | {".jsonl", ".csv", ".parquet", ".tar"}  # the files that readers of a set use, so not its README


def contents(path: Path) -> str:
    """Returns 16 hexadecimal digits for the content of `path`: a run, a set of images or a file.

    For a run they depend on its model: system, configuration and weights. For a set they depend on its pictures,
    metadata, shards and dataset.json (without the command line). UserError if it cannot be read.
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
    """Returns the hash of all files at `path` that are not hidden, for foreign layouts with files of any kind."""
    try:
        return _of_file(path) if path.is_file() else hash_files(path, list(_below(path, "")))
    except OSError as error:
        raise explain(error, show(error.filename or path)) from error


def contents_of(folders: Mapping[str, Sequence[Path]]) -> dict[str, list[str]]:
    """Returns `contents` of every folder of `core.system.data_paths`, by its name there."""
    return {name: [contents(path) for path in paths] for name, paths in folders.items()}


def _of_file(path: Path) -> str:
    """Returns the hash of one file, independent of its name."""
    real = Path(os.path.realpath(path))
    return hash_files(real.parent, [real.name], with_names=False)


def _of_run(path: Path) -> str:
    record = read_json(path / "config.json")
    model = {key: record.get(key) for key in ("system", "config")} if isinstance(record, dict) else record
    weights = [name for name in ("model.safetensors",) if (path / name).exists()]
    return digest(json.dumps(model, sort_keys=True) + hash_files(path, weights))


def _manifest(path: Path) -> str:
    """Returns the values of dataset.json without the command line."""
    if not path.is_file():
        return ""
    try:
        found = read_json(path)
    except UserError:  # foreign or damaged; its reader will report it
        return all_contents(path)
    if isinstance(found, dict):
        found.pop("command", None)
    return json.dumps(found, sort_keys=True)


def _below(folder: Path, prefix: str) -> Iterator[str]:
    """Yields all plain files, relative with `/`; skips links to folders and broken links."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _below(Path(entry.path), f"{prefix}{entry.name}/")
            elif entry.is_file():
                yield prefix + entry.name
