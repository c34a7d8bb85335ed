"""Configurations whose defaults come from a preset of the class or from the config.json of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migaki.core.config import from_dict
from migaki.core.errors import UserError
from migaki.core.files import read_json
from migaki.core.outline import Option, load, outline


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A dataclass whose defaults may be changed by `--preset NAME` (a class method of it) or `--config FILE`.

    `section` names the part of a run's config.json that holds this dataclass; "" if no file can hold it. The record of
    a set is dataset.json (`file`); its key `made_by` names what made the set.
    """

    reference: str
    section: str = ""
    system: str = ""  # `--config` accepts only runs of this system
    file: str = "config.json"
    made_by: str = "system"
    offers: bool = False  # whether `--preset` selects among this part's presets

    @property
    def whose(self) -> str:
        """Returns what writes such a file."""
        return "a run" if self.made_by == "system" else "a set"

    def presets(self) -> list[str]:
        """Returns the names that `--preset` accepts."""
        return ["default", *(name.replace("_", "-") for name in outline(self.reference).presets)]

    def own_options(self) -> list[Option]:
        """Returns the options `--preset` and `--config`, which the help of a command lists once."""
        if not self.offers:
            return []
        found = [Option(name="preset", field="preset", kind="{" + ",".join(self.presets()) + "}", default="default",
                        about="the values to begin from", group="usual")] if self.presets()[1:] else []
        if self.section:
            found.append(Option(name="config", field="config", kind="FILE", default="", group="usual",
                                about=f"the {self.file} of {self.whose}: its values are the defaults"))
        return found


def chosen(program: str, parts: Mapping[str, Any], words: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Apply `--preset` and `--config` to the recipes in `parts`; returns their values by name and the other words."""
    recipes = {name: part for name, part in parts.items() if isinstance(part, Recipe)}
    offer = next((part for part in recipes.values() if part.offers), None)
    if offer is None:
        return {}, words
    preset, words = taken("preset", words)
    file, words = taken("config", words) if offer.section else (None, words)
    if preset is not None and file is not None:
        raise UserError("--preset and --config both give the values to begin from: leave one out")
    if file is not None:
        return from_file(Path(file), recipes), words
    if preset is None or preset == "default":
        return {}, words
    if preset.replace("_", "-") not in offer.presets():
        raise UserError(f"--preset {preset}: {program} has {', '.join(offer.presets())}")
    name = next(name for name, part in recipes.items() if part is offer)
    return {name: getattr(load(offer.reference), preset.replace("-", "_"))()}, words


def taken(name: str, words: list[str]) -> tuple[str | None, list[str]]:
    """Returns the last value given for the option `--name` (None without one), and the words without the option."""
    value, left = None, []
    rest = iter(words)
    for word in rest:
        if word.startswith(f"--{name}="):
            value = word.split("=", 1)[1]
        elif word == f"--{name}":
            value = next(rest, "")
            if not value or value.startswith("-"):
                raise UserError(f"--{name}: give a value behind it")
        else:
            left.append(word)
    return value, left


def from_file(path: Path, recipes: Mapping[str, Recipe]) -> dict[str, Any]:
    """Read the parts from the record of a run or a set; a part missing from the file keeps its defaults.

    `path` is the file or its folder. Raises UserError for a file of another kind or of another method.
    """
    offer = next(recipe for recipe in recipes.values() if recipe.offers)
    if path.is_dir():
        path = path / offer.file
    if not path.is_file():
        raise UserError(f"--config {path}: no such file; give the {offer.file} of {offer.whose}")
    record = read_json(path)
    if not isinstance(record, dict) or not isinstance(record.get("config"), dict):
        raise UserError(f"--config {path}: not the {offer.file} of {offer.whose}")
    found = {}
    verb = "train" if offer.made_by == "system" else "simulate"
    for recipe in recipes.values():
        if recipe.system and record.get(recipe.made_by) not in (recipe.system, None):
            raise UserError(f"--config {path}: written by `migaki {verb} {record[recipe.made_by]}`, not by "
                            f"`migaki {verb} {recipe.system}`")
    for name, recipe in recipes.items():
        values = record.get(recipe.section)
        if values:
            found[name] = from_dict(load(recipe.reference), values, str(path))
    return found
