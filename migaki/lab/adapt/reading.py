"""What was given, in whatever layout: sets of a known layout are imported first, everything else is a folder."""

from __future__ import annotations

from pathlib import Path

from migaki.core.discovery import find_class
from migaki.importers.importer import Importer
from migaki.importers.sniff import recognise, recognise_one
from migaki.lab.chain import Step
from migaki.lab.steps import import_step

_OWN = ("metadata.jsonl", "metadata.csv", "metadata.parquet", "dataset.json")


def brought(path: Path, name: str, out: Path, quiet: bool) -> tuple[Path, list[Step]]:
    """Returns the folder to read in the place of `path`, and the step that makes it (none for a folder of our form).

    `name` says what the set is. Raises UserError for a path that does not exist, or that has several layouts.
    """
    if any((path / own).exists() for own in _OWN) or not recognise(path):
        return path, []
    importer, _ = recognise_one(path)
    config = find_class("importers", importer, Importer).Config()
    place = out / "imported" / name
    return place, [import_step(importer, path, place, config, quiet)]
