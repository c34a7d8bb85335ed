"""Configurations: frozen dataclasses that round-trip through JSON, with helpful error messages."""

from __future__ import annotations

import dataclasses
import difflib
import sys
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from migaki.core.errors import UserError

T = TypeVar("T")


def to_dict(config: Any) -> dict[str, Any]:
    """Convert a dataclass to plain JSON values (paths to strings, tuples to lists)."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_dict(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def from_dict(cls: type[T], values: dict[str, Any], where: str = "configuration") -> T:
    """Build the dataclass `cls` from JSON values; UserError with a suggestion for an unknown or ill-typed field."""
    if not isinstance(values, dict):
        raise UserError(f"{where}: expected an object with the fields of {cls.__qualname__}")
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for name in values:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(names)}"
            raise UserError(f"{where}: unknown field '{name}': {hint}")
    return cls(**{name: _parse(hints[name], value, f"{where}: field '{name}'") for name, value in values.items()})


def _parse(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _parse_union(args, value, where)
    if origin is typing.Literal:
        if value in args:
            return value
        raise UserError(f"{where}: {value!r} is not one of {', '.join(map(repr, args))}")
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise UserError(f"{where}: expected a list, got {value!r}")
        kinds = [args[0]] * len(value) if len(args) == 2 and args[1] is Ellipsis else list(args)
        if len(kinds) != len(value):
            raise UserError(f"{where}: expected {len(kinds)} values, got {len(value)}")
        return tuple(_parse(kind, item, where) for kind, item in zip(kinds, value, strict=True))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_dict(hint, value, where)
    if hint is Path:
        return Path(value)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not abs(value) <= sys.float_info.max:  # NaN, infinity, or a whole number beyond what a float holds
            raise UserError(f"{where}: expected a finite number")
        return float(value)
    if hint in (int, float, str, bool) and type(value) is not hint:
        raise UserError(f"{where}: expected {hint.__name__}, got {value!r}")
    return value


def _parse_union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    problem = UserError(f"{where}: no value given")
    for kind in kinds:
        if kind is type(None):
            continue
        try:
            return _parse(kind, value, where)
        except UserError as error:
            problem = error
    raise problem
