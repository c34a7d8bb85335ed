"""Splits: neighbouring folders `train/`, `val/` and `test/` are parts of one data set, not classes.

Hugging Face's ImageFolder treats them the same. Reading all of them at once would train on the test set.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.notices import notice

_SPLIT = re.compile(r"(train|val|test)(?:ing|id|idation)?(?:[_\-]?(?:set|data|images|\d+))?", re.IGNORECASE)
_SHARD = re.compile(r"(?:.*/)?(train|val|test)(?:ing|id|idation)?[-_.].*", re.IGNORECASE)


def split_of(folder: str) -> str:
    """Returns the split that a folder's name stands for: train, val, test, or an empty string."""
    found = _SPLIT.fullmatch(folder) or re.fullmatch("(dev)", folder, re.IGNORECASE)
    return found[1].lower().replace("dev", "val") if found else ""


def refuse_splits(path: Path, names: Iterable[str]) -> None:
    """UserError if the pictures or the metadata of a set (names relative to it) lie in several splits."""
    if splits := _mixed_splits(names):
        raise UserError(f"{show(path)}: {_joined(splits)} are splits of one set, not classes: give one of them, such "
                        f"as {show(path / splits[0])}")


def note_splits(path: Path, names: Iterable[str]) -> None:
    """Print a notice if one metadata file names pictures of several splits, which are then read together."""
    if splits := _mixed_splits(names):
        notice(f"{show(path)}: pictures of {_joined(splits)} are read together, because the metadata names them all")


def _mixed_splits(names: Iterable[str]) -> list[str]:
    """Returns the folders of the splits of one set, if there are several."""
    seen: dict[str, dict[str, str]] = {}  # by parent folder: split -> folder
    for folder in sorted({name.rpartition("/")[0] for name in names}):
        parts = folder.split("/")
        for depth, part in enumerate(parts):
            if which := split_of(part):
                seen.setdefault("/".join(parts[:depth]), {}).setdefault(which, "/".join(parts[: depth + 1]))
    mixed = next((found for found in seen.values() if len(found) > 1), {})
    return [mixed[which] for which in ("train", "val", "test") if which in mixed]


def _joined(folders: Sequence[str]) -> str:
    return " and ".join(f"{show(folder)}/" for folder in folders)


def refuse_mixed_shards(path: Path, shards: Sequence[str]) -> None:
    """UserError for shards (names relative to the set) of several splits."""
    found = {shard[1].lower(): name for name in sorted(shards, reverse=True) if (shard := _SHARD.fullmatch(name))}
    if len(found) > 1:
        raise UserError(f"{show(path)}: {' and '.join(show(name) for name in sorted(found.values()))} are shards of "
                        "several splits of one set: move those of each split into a folder of its own, and give one")
