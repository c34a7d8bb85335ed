"""Configurations that begin from something else than the defaults: a preset of the class, or the file of a run."""

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
    """A dataclass whose defaults `--preset NAME` (a class method of it) or `--config FILE` may change.

    `section` names the part of a run's config.json that holds such a dataclass; "" where no file can give it.
    """

    reference: str
    section: str = ""
    system: str = ""  # of which a run must be, for its file to be taken
    offers: bool = False  # whether this part's presets are those that `--preset` names

    def presets(self) -> list[str]:
        """The names that `--preset` takes."""
        return ["default", *(name.replace("_", "-") for name in outline(self.reference).presets)]

    def own_options(self) -> list[Option]:
        """`--preset` and `--config`, told once a command."""
        if not self.offers:
            return []
        found = [Option(name="preset", field="preset", kind="{" + ",".join(self.presets()) + "}", default="default",
                        about="the values to begin from", group="usual")] if self.presets()[1:] else []
        if self.section:
            found.append(Option(name="config", field="config", kind="FILE", default="", group="usual",
                                about="the config.json of a run: its values are the defaults"))
        return found


def chosen(program: str, parts: Mapping[str, Any], words: list[str]) -> tuple[dict[str, Any], list[str]]:
    """What `--preset` and `--config` make of the recipes among `parts`, by name, and the words without the two."""
    recipes = {name: part for name, part in parts.items() if isinstance(part, Recipe)}
    offer = next((part for part in recipes.values() if part.offers), None)
    if offer is None:
        return {}, words
    preset, words = _taken("preset", words)
    file, words = _taken("config", words) if offer.section else (None, words)
    if preset is not None and file is not None:
        raise UserError("--preset and --config both give the values to begin from: leave one out")
    if file is not None:
        return _from_file(Path(file), recipes), words
    if preset is None or preset == "default":
        return {}, words
    if preset.replace("_", "-") not in offer.presets():
        raise UserError(f"--preset {preset}: {program} has {', '.join(offer.presets())}")
    name = next(name for name, part in recipes.items() if part is offer)
    return {name: getattr(load(offer.reference), preset.replace("-", "_"))()}, words


def _taken(name: str, words: list[str]) -> tuple[str | None, list[str]]:
    """The value of the option `--name`, the last one given, and the words without it."""
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


def _from_file(path: Path, recipes: Mapping[str, Recipe]) -> dict[str, Any]:
    """The parts as the run recorded them; a part that the file lacks keeps its defaults."""
    if path.is_dir():
        path = path / "config.json"
    if not path.is_file():
        raise UserError(f"--config {path}: no such file; give the config.json of a run")
    record = read_json(path)
    if not isinstance(record, dict) or not isinstance(record.get("config"), dict):
        raise UserError(f"--config {path}: not the config.json of a run")
    found = {}
    for recipe in recipes.values():
        if recipe.system and record.get("system") not in (recipe.system, None):
            raise UserError(f"--config {path}: written by `migaki train {record['system']}`, not by "
                            f"`migaki train {recipe.system}`")
    for name, recipe in recipes.items():
        values = record.get(recipe.section)
        if values:
            found[name] = from_dict(load(recipe.reference), values, str(path))
    return found
