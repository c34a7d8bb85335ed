"""Index of pictures for the search of copies: descriptors as a memory map, with the names of their pictures.

A folder with `descriptors.npy` ((N, D) float32, rows of unit length), `background.npy` (the same of other pictures, if
there are any), `pictures.jsonl` (one row a picture: its name) and `index.json`, written
last: the network with a hash of its weights, how pictures were prepared, and pairs of which it is known whether they
are copies, by which likenesses become probabilities. Nothing in it is unpickled.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from migaki.core.errors import UserError
from migaki.core.files import atomic_write, explain, make_folder, open_plain, read_json, show, write_json
from migaki.data.files.member import FilePath
from migaki.data.folder import ImageFolder

Floats = NDArray[np.float32]

_FORMAT: Final = 1
_BLOCK: Final = 2**14  # rows written at a time
_AGAIN: Final = "make it again with `migaki apply index`"


@dataclass(frozen=True, kw_only=True, slots=True)
class About:
    """What index.json says."""

    network: str  # identity of the network
    model: str  # what opened it
    pictures: str  # folder of the pictures
    size: int  # px
    whole: bool  # pictures are squeezed to a square; else cut to it
    parts: bool  # pictures that are searched are also described in parts
    fingerprint: str  # of the pictures' set
    cosine: tuple[float, ...]  # of each known pair, normalised ...
    support: tuple[float, ...]  # ... key points that agree, or nothing without matching
    is_copy: tuple[bool, ...]
    version: str
    command: str = ""
    format: int = _FORMAT


@dataclass(frozen=True, slots=True)
class CopyIndex:
    """An index that was opened: descriptors are memory maps."""

    path: Path
    about: About
    descriptors: Floats
    background: Floats | None
    names: list[str]


def write_descriptors(folder: Path, rows: Floats, background: Floats | None,
                      names: Sequence[str]) -> tuple[Floats, Floats | None]:
    """Write descriptors and names; the folder is an index once `write_about` has followed.

    Returns both as memory maps, of unit length.
    """
    make_folder(folder)
    (folder / "index.json").unlink(missing_ok=True)
    try:
        _write_rows(folder / "descriptors.npy", rows)
        (folder / "background.npy").unlink(missing_ok=True)
        if background is not None:
            _write_rows(folder / "background.npy", background)
        with atomic_write(folder / "pictures.jsonl", "w") as file:
            for name in names:
                file.write(json.dumps({"file_name": name}, ensure_ascii=False) + "\n")
    except OSError as error:
        raise explain(error, folder) from error
    return _rows(folder / "descriptors.npy"), None if background is None else _rows(folder / "background.npy")


def write_about(folder: Path, about: About) -> None:
    """Write index.json, which makes the folder an index."""
    write_json(folder / "index.json", asdict(about))


def _write_rows(path: Path, rows: Floats) -> None:
    """Write rows block by block, brought to unit length."""
    with atomic_write(path) as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": rows.shape})
        for start in range(0, len(rows), _BLOCK):
            block = np.asarray(rows[start : start + _BLOCK], np.float32)
            length = np.maximum(np.linalg.norm(block, axis=1, keepdims=True), 1e-12)
            file.write(np.ascontiguousarray(block / length, "<f4").tobytes())


def open_index(folder: Path) -> CopyIndex:
    """Returns the index in a folder; UserError for anything else, and for one that is cut or damaged."""
    where = folder / "index.json"
    if not where.exists():
        raise UserError(f"{show(folder)}: no index of pictures (index.json): {_AGAIN}")
    about = _about(read_json(where), where)
    descriptors = _rows(folder / "descriptors.npy")
    background = _rows(folder / "background.npy") if (folder / "background.npy").exists() else None
    names = _names(folder / "pictures.jsonl")
    if len(names) != len(descriptors):
        raise UserError(f"{show(folder)}: has {len(names)} names for {len(descriptors)} descriptors: {_AGAIN}")
    if background is not None and background.shape[1] != descriptors.shape[1]:
        raise UserError(f"{show(folder / 'background.npy')}: has rows of another length: {_AGAIN}")
    return CopyIndex(folder, about, descriptors, background, names)


def _about(found: Any, where: Path) -> About:
    kinds = {"network": str, "model": str, "pictures": str, "size": int, "whole": bool, "parts": bool,
             "fingerprint": str, "cosine": list, "support": list, "is_copy": list, "version": str, "command": str,
             "format": int}
    if not isinstance(found, dict) or not all(type(found.get(name)) is kind for name, kind in kinds.items()):
        raise UserError(f"{show(where)}: is not the record of an index: {_AGAIN}")
    if found["format"] != _FORMAT:
        raise UserError(f"{show(where)}: was written in form {found['format']}, and this version reads {_FORMAT}: "
                        f"{_AGAIN}")
    pairs = [found[name] for name in ("cosine", "support", "is_copy")]
    if len(pairs[0]) != len(pairs[2]) or len(pairs[1]) not in (0, len(pairs[0])) or not all(
            isinstance(value, int | float) and math.isfinite(value) for part in pairs for value in part):
        raise UserError(f"{show(where)}: its known pairs do not fit together: {_AGAIN}")
    values: dict[str, Any] = {name: tuple(found[name]) if kind is list else found[name] for name, kind in kinds.items()}
    return About(**values)


def _rows(path: Path) -> Floats:
    try:
        open_plain(path).close()
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise explain(error, path) from error
    except (ValueError, EOFError) as error:  # NumPy's word for a header that is none, or a file that is cut
        raise UserError(f"{show(path)}: is cut or damaged: {_AGAIN}") from error
    if not isinstance(found, np.ndarray) or found.ndim != 2 or found.dtype != np.dtype("<f4") or not found.size:
        raise UserError(f"{show(path)}: does not hold descriptors: {_AGAIN}")
    return found


def _names(path: Path) -> list[str]:
    try:
        with open_plain(path) as file:
            rows = [json.loads(line) for line in file.read().split(b"\n") if line]
        return [str(row["file_name"]) for row in rows]
    except OSError as error:
        raise explain(error, path) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{show(path)}: is damaged: {_AGAIN}") from error


class Originals:
    """The pictures of an index by their names there, in the folder, or the shards, where they lie now."""

    def __init__(self, folder: Path) -> None:
        self.pictures = ImageFolder(folder)
        self._places = {name: place for place, name in enumerate(self.pictures.names)}

    def lacking(self, names: Sequence[str]) -> str | None:
        """The first of `names` that there is no more, if any."""
        return next((name for name in names if name not in self._places), None)

    def file(self, name: str) -> FilePath:
        """The file of a picture; UserError for one that there is not, so that no name leads out of the folder."""
        if name not in self._places:
            raise UserError(f"{show(self.pictures.path)}: lacks {show(name)}: {_AGAIN}")
        return self.pictures.file(self._places[name])
