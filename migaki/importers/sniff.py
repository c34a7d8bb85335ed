"""Sniffing: which importers know the layout of a folder or file. Each says so itself (`Importer.recognises`)."""

from __future__ import annotations

import os
from pathlib import Path

from migaki.core.discovery import find_class, names_in
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.files.journal import JOURNAL
from migaki.importers.importer import Importer

_METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet", JOURNAL)


def recognise(path: Path | str) -> list[tuple[str, str]]:
    """Ask all importers, in the order of their names, whether they know the layout of `path`.

    Returns (name of the importer, what it found and why) of each that does: none, one or several. UserError if there
    is nothing at `path`.
    """
    path = Path(path)
    if not os.path.exists(path):
        raise UserError(f"{show(path)}: there is no such file or folder: check the spelling")
    found = []
    for name in sorted(names_in("importers", Importer.__name__)):
        kind: type[Importer] = find_class("importers", name, Importer)
        if reason := kind.recognises(path):
            found.append((name, reason))
    return found


def recognise_one(path: Path | str) -> tuple[str, str]:
    """The only importer that knows the layout of `path`, and why; UserError with the choices otherwise."""
    path = Path(path)
    found = recognise(path)
    if len(found) == 1:
        return found[0]
    if found:
        choices = "; ".join(f"`migaki import {name} {show(path)}` ({reason})" for name, reason in found)
        raise UserError(f"{show(path)}: has several layouts, say which is meant: {choices}")
    if any((path / name).exists() for name in _METADATA):
        raise UserError(f"{show(path)}: is a folder of migaki's own form already: give it to train, apply or evaluate "
                        "as it is")
    known = ", ".join(sorted(names_in("importers", Importer.__name__)))
    raise UserError(f"{show(path)}: no known layout was recognised: name the importer (migaki import NAME PATH; NAME "
                    f"is one of {known}), or give a folder of pictures as it is")
