"""Turns dataclasses into command-line options: tyro parses the words, and migaki prints the help itself."""

from __future__ import annotations

import dataclasses
import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from migaki.commands import help as pages
from migaki.commands.recipes import Recipe, chosen
from migaki.core.discovery import names_in
from migaki.core.errors import UserError
from migaki.core.outline import Option, load, outline, spelt

_METAVARS = {int: "INT", float: "FLOAT", str: "TEXT", Path: "PATH", bool: "FLAG"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Single:
    """An option of a command that belongs to no dataclass."""

    kind: Any  # a type
    about: str
    default: Any = ...  # ... = required
    group: str = ""  # group in the help; by default `needed` for a required option, else `usual`
    operand: str = ""  # name of a positional argument, such as RUN; "" for a named option


OUT = Single(kind=Path, about="the folder to write; an unfinished one is continued")

PARALLEL = Single(kind=str, default="auto", group="run", about="steps that run side by side, one thread each; auto: as "
                  "many as cores are idle. The results are the same bits")


def parse(program: str, about: str, words: list[str], *, also: Sequence[Option] = (),
          **parts: str | Single | Recipe) -> Any:
    """Parse `words` into an object with one attribute for each of `parts`.

    A part is one of three: a reference to a dataclass (`module:Class`); a `Recipe`, which is such a reference whose
    defaults a preset or a file may change; or a `Single` option. The options of all parts carry no prefix. `--help`
    reads the source files and does not import the referenced modules. `also` are options that the caller has taken from
    the words and that the help lists. Raises UserError for words that cannot be parsed.
    """
    recipes, words = chosen(program, parts, words)
    listed = {name: _listed(name, part, recipes.get(name)) for name, part in parts.items()}
    options = [option for part in listed.values() for option in part]
    _answer_help(program, about, words, [*options, *also, *(line for part in parts.values() if isinstance(part, Recipe)
                                                     for line in part.own_options())])
    from migaki.commands import reading  # imports tyro, which the help does not need

    fields = [_field(name, part, recipes.get(name)) for name, part in parts.items()]
    found = reading.read(program, about, words, fields, options)
    _require_finite(found)
    return found


def _answer_help(program: str, about: str, words: list[str], options: list[Option]) -> None:
    """If the words ask for `--help`, `--help-all` or `--help-names`, print the answer and exit."""
    asked = {"-h", "--help", "--help-all", "--help-names"}.intersection(words)
    if not asked:
        return
    if "--help-names" in asked:  # for completion
        print("\n".join(pages.names(options)))
    else:
        print(pages.render(program, about, options, every="--help-all" in asked), end="")
    raise SystemExit(0)


def _listed(name: str, part: str | Single | Recipe, values: Any) -> list[Option]:
    """Returns the options of a part; `values` (of a preset or a file, if one was given) supplies the defaults."""
    if isinstance(part, Single):
        default = None if part.default is ... else spelt(part.default)
        return [Option(name=part.operand or name.replace("_", "-"), field=name, kind=_metavar(part.kind),
                       default=default, about=part.about, positional=bool(part.operand),
                       group=part.group or ("needed" if default is None else "usual"))]
    found = outline(part.reference if isinstance(part, Recipe) else part).options
    if values is None:
        return list(found)
    return [dataclasses.replace(option, default=_value_in(values, option)) for option in found]


def _value_in(values: Any, option: Option) -> str:
    """Returns the value of an option in an instance, which may be nested."""
    for part in option.name.replace("-", "_").split(".")[:-1]:
        values = getattr(values, part)
    return spelt(getattr(values, option.field))


def _metavar(kind: Any) -> str:
    if kind in _METAVARS:
        return _METAVARS[kind]
    arguments = getattr(kind, "__args__", ())
    if arguments and all(isinstance(argument, str) for argument in arguments):
        return "{" + ",".join(arguments) + "}"
    inside = [_metavar(argument) for argument in arguments if argument is not type(None)]
    return " ".join(inside)


def _field(name: str, part: str | Single | Recipe, values: Any) -> tuple[Any, ...]:
    """Returns one field of the dataclass that tyro fills."""
    from typing import Annotated

    import tyro

    bare = tyro.conf.arg(name="")  # a part's own options have no prefix; those of nested dataclasses do
    if isinstance(part, Single):
        kind = Annotated[part.kind, tyro.conf.Positional, tyro.conf.arg(metavar=part.operand)] if part.operand else \
            part.kind
        return (name, kind) if part.default is ... else (name, kind, part.default)
    if values is None:
        return (name, Annotated[load(part.reference if isinstance(part, Recipe) else part), bare])
    # The dataclasses are frozen, so the default may be shared.
    return (name, Annotated[type(values), bare], dataclasses.field(default_factory=partial(_same, values)))


def _same(value: Any) -> Any:
    return value


_MOST_BY_NAME = {
    **dict.fromkeys(("height", "width", "size", "plain_size", "box", "patch"), 2**13),  # px
    **dict.fromkeys(("count", "test_count", "real_count", "limit", "shard", "stand_in"), 10**8),  # images
    **dict.fromkeys(("batch_size", "refiner_batch", "cnn_batch"), 2**16),  # images at once
    **dict.fromkeys(("channels", "noise_channels", "target_channels", "workers", "threads"), 2**12),
    **dict.fromkeys(("seeds", "folds", "rounds", "variants", "num_tries", "neighbours", "per_class"), 10**4),
    **dict.fromkeys(("octaves", "num_layers", "levels", "patch_layers", "stacks", "depth", "scale", "radius"), 2**8),
    "supersample": 2**5, "history": 10**6, "seed": 2**63 - 1,
}
_MOST, _MOST_FLOAT = 10**9, 1e12  # limits for all other numbers: beyond them memory and arithmetic fail


def _most(name: str) -> int:
    """Returns the largest absolute value that an option accepts."""
    return _MOST_BY_NAME.get("seeds" if name.endswith("_seeds") else name, _MOST)


def _require_finite(options: Any, path: tuple[str, ...] = ()) -> None:
    """Raises UserError for an option that is NaN (which passes comparisons), infinite or absurdly large."""
    names = getattr(type(options), "NAMES", {})
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        place = (*path, names.get(field.name, field.name))
        if dataclasses.is_dataclass(value):
            _require_finite(value, place)
        for number in value if isinstance(value, tuple) else (value,):
            if not isinstance(number, int | float) or isinstance(number, bool):
                continue
            option = "--" + ".".join(place[1:] or place).replace("_", "-")  # the options of a part carry no prefix
            if isinstance(number, float) and not math.isfinite(number):
                raise UserError(f"{option} {number}: must be a finite number")
            most = _most(field.name) if isinstance(number, int) else _MOST_FLOAT
            if abs(number) > most:
                shown = str(number) if abs(number) < 10**30 else "a number of more than 30 digits"
                raise UserError(f"{option} {shown}: at most {most:,}")


def take_name(program: str, package: str, base: str, words: list[str], about: str) -> tuple[str, list[str]] | None:
    """Returns the NAME at the start of `words` and the rest; None after printing the help of a call without NAME."""
    known = names_in(package, base)
    if words[:1] == ["--help-names"]:
        print("\n".join(known))
        return None
    if not words or words[0] in ("-h", "--help", "--help-all"):
        print(f"usage: migaki {program} NAME [OPTIONS]\n\n{about}\n\nNAME is one of")
        print(pages.table(known))
        print(f"\n`migaki {program} NAME --help` lists its options with their defaults and units.")
        if not words:
            raise UserError(f"migaki {program}: choose one: {', '.join(known)}")
        return None
    return words[0], words[1:]


def command_line() -> str:
    """Returns the command line with which this program was started; output folders record it."""
    return shlex.join(["migaki", *sys.argv[1:]])
