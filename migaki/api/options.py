"""Options given as keyword arguments, checked as the command line checks them."""

from __future__ import annotations

import dataclasses
import difflib
import os
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from migaki.commands.recipes import Recipe, from_file
from migaki.core.config import from_dict
from migaki.core.errors import UserError
from migaki.core.outline import load, outline

Part = str | Recipe


def build(call: str, given: Mapping[str, Any], **parts: Part) -> dict[str, Any]:
    """Returns an instance of the dataclass of each part, filled from the keyword arguments `given`.

    A part is named by a reference (`module:Class`) or a `Recipe`, which is one whose defaults a `preset` or the file
    `config` of an earlier run may change. `call` names the call in messages. An option has the name that it has on the
    command line, with underscores; a group of options (`rain.length`) is a dictionary. None leaves a default. Raises
    UserError for unknown options, naming near ones, for missing ones and for values of another type.
    """
    values = {name: value for name, value in given.items() if value is not None}
    bases = _bases(call, values, {name: part for name, part in parts.items() if isinstance(part, Recipe)})
    references = {name: part.reference if isinstance(part, Recipe) else part for name, part in parts.items()}
    places = {name: _fields(reference) for name, reference in references.items()}
    _refuse_unknown(call, values, places)
    found = {}
    for name, reference in references.items():
        cls = load(reference)
        own = {places[name][key]: _plain(cls, places[name][key], value) for key, value in values.items()
               if key in places[name]}
        try:
            parsed = _parsed(cls, own, call)
        except TypeError as error:  # such as a number where a path is wanted
            raise UserError(f"{call}: {error}") from error
        found[name] = _filled(call, cls, parsed, bases.get(name), {field: key for key, field in places[name].items()})
    return found


def _fields(reference: str) -> dict[str, str]:
    """The names by which an option may be given -> its field. A nested dataclass is one option."""
    names: dict[str, str] = {}
    for option in outline(reference).options:
        outer, _, inner = option.name.replace("-", "_").partition(".")
        names[outer] = outer if inner else option.field
        if not inner:
            names[option.field] = option.field
    return names


def _refuse_unknown(call: str, given: Mapping[str, Any], places: Mapping[str, Mapping[str, str]]) -> None:
    known = {name for part in places.values() for name in part}
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=2)
            hint = f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(sorted(known))}"
            raise UserError(f"{call}: there is no option '{name}': {hint}")


def _bases(call: str, values: dict[str, Any], recipes: Mapping[str, Recipe]) -> dict[str, Any]:
    """Take `preset` and `config` out of the values; returns the instances that they give, by part."""
    offer = next(((name, part) for name, part in recipes.items() if part.offers), None)
    if offer is None:
        return {}
    name, recipe = offer
    preset, file = values.pop("preset", None), values.pop("config", None)
    if preset is not None and file is not None:
        raise UserError(f"{call}: preset and config both give the values to begin from: leave one out")
    if file is not None:
        return from_file(Path(file), recipes)
    if preset in (None, "default"):
        return {}
    if str(preset).replace("_", "-") not in recipe.presets():
        raise UserError(f"{call}: no preset is called '{preset}': known are {', '.join(recipe.presets())}")
    return {name: getattr(load(recipe.reference), str(preset).replace("-", "_"))()}


def _parsed(cls: Any, values: dict[str, Any], call: str) -> dict[str, Any]:
    """The values of some fields, checked by their types."""
    required = {field.name for field in dataclasses.fields(cls) if field.default is dataclasses.MISSING
                and field.default_factory is dataclasses.MISSING}
    if required <= values.keys():
        whole = from_dict(cls, values, call)
        return {name: getattr(whole, name) for name in values}
    partial = dataclasses.make_dataclass("Given", [  # the same fields, all of which may be missing
        (field.name, typing.get_type_hints(cls)[field.name], dataclasses.field(default=None))
        for field in dataclasses.fields(cls)], kw_only=True)
    whole = from_dict(partial, values, call)
    return {name: getattr(whole, name) for name in values}


def _filled(call: str, cls: Any, values: dict[str, Any], base: Any, names: Mapping[str, str]) -> Any:
    if base is not None:
        return dataclasses.replace(base, **values)
    missing = [names.get(field.name, field.name) for field in dataclasses.fields(cls)
               if field.name not in values and field.default is dataclasses.MISSING
               and field.default_factory is dataclasses.MISSING]
    if missing:
        raise UserError(f"{call}: missing: {', '.join(f'{name}=' for name in missing)}")
    return cls(**values)


def _plain(cls: Any, field: str, value: Any) -> Any:
    """A value as JSON has it: paths as text, one folder where several may be given as a list of one."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list | tuple):
        return [_plain(None, "", item) for item in value]
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    hint = typing.get_type_hints(cls)[field] if cls is not None else None
    return [value] if typing.get_origin(hint) is tuple and not isinstance(value, list | tuple) else value
