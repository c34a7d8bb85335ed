"""From dataclasses to options: tyro, with our conventions in one place."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import math
import re
import shlex
import sys
from functools import partial
from typing import Annotated, Any

import tyro

from migaki.core.discovery import names_in
from migaki.core.errors import UserError

_MARKERS = (tyro.conf.OmitSubcommandPrefixes,)
_BARE = tyro.conf.arg(name="")  # the options of a part carry no prefix; those of dataclasses inside it do


def parse(program: str, about: str, words: list[str], **parts: Any) -> Any:
    """Parse `words` into an object with one attribute for each of `parts`.

    A part is a dataclass type, an instance of one (its values are the defaults), or a pair (type, default) for a
    single option (default `...` = required). The options of all parts stand side by side without prefixes.
    """
    fields: list[Any] = []
    for name, part in parts.items():
        if isinstance(part, tuple):
            kind, default = part
            fields.append((name, kind) if default is ... else (name, kind, default))
        elif isinstance(part, type):
            fields.append((name, Annotated[part, _BARE]))
        else:
            kind = type(part)
            # The dataclasses are frozen, so the default may be shared.
            fields.append((name, Annotated[kind, _BARE], dataclasses.field(default_factory=partial(_same, part))))
    options = dataclasses.make_dataclass("Options", fields, kw_only=True)
    options.__doc__ = about
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            found: Any = tyro.cli(options, prog=f"migaki {program}", description=about, args=words, config=_MARKERS)
    except SystemExit as end:
        if not end.code:
            raise
        known = [name for part in parts.values() for name in _options_of(part)] + list(parts)
        raise UserError(_one_line(said.getvalue(), program, words, known)) from None
    _require_finite(program, found)
    return found


_MOST_BY_NAME = {
    **dict.fromkeys(("height", "width", "size", "plain_size", "box", "patch"), 2**13),  # px
    **dict.fromkeys(("count", "test_count", "real_count", "limit", "shard", "stand_in"), 10**8),  # images
    **dict.fromkeys(("batch_size", "refiner_batch", "cnn_batch"), 2**16),  # images at once
    **dict.fromkeys(("channels", "noise_channels", "target_channels", "workers", "threads"), 2**12),
    **dict.fromkeys(("seeds", "folds", "rounds", "variants", "num_tries", "neighbours", "per_class"), 10**4),
    **dict.fromkeys(("octaves", "num_layers", "levels", "patch_layers", "stacks", "depth", "scale", "radius"), 2**8),
    "supersample": 2**5, "history": 10**6, "seed": 2**63 - 1,
}
_MOST, _MOST_FLOAT = 10**9, 1e12  # of numbers with other names: beyond that, memory and arithmetic fail


def _most(name: str) -> int:
    """The largest number, of either sign, that an option takes."""
    return _MOST_BY_NAME.get("seeds" if name.endswith("_seeds") else name, _MOST)


def _require_finite(program: str, options: Any) -> None:
    """UserError for an option that is NaN or infinite (comparisons let NaN pass), or so large that it has no sense."""
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            _require_finite(program, value)
        for number in value if isinstance(value, tuple) else (value,):
            if not isinstance(number, int | float) or isinstance(number, bool):
                continue
            option = f"migaki {program}: --{field.name.replace('_', '-')}"
            if isinstance(number, float) and not math.isfinite(number):
                raise UserError(f"{option} {number}: must be a finite number")
            most = _most(field.name) if isinstance(number, int) else _MOST_FLOAT
            if abs(number) > most:
                shown = str(number) if abs(number) < 10**30 else "a number of more than 30 digits"
                raise UserError(f"{option} {shown}: at most {most:,}")


def _options_of(part: Any) -> list[str]:
    """The names of a part's options."""
    return [] if isinstance(part, tuple) else [field.name for field in dataclasses.fields(part)]


def _one_line(box: str, program: str, words: list[str], known: list[str]) -> str:
    """What is wrong, out of the boxes that tyro draws, and the option that was perhaps meant."""
    text = "\n".join(line.strip("│╭╮╰╯ ") for line in box.splitlines() if not line.startswith(("╭", "╰")))
    parts = [" ".join(part.split()) for part in re.split(r"\n─+\n", text)]
    parts = [part for part in parts if part and not part.startswith(("For full help", "Argument help", "Perhaps"))]
    parts = [_shortened(part.rstrip("."), program) for part in parts]
    names = [f"--{name.replace('_', '-')}" for name in known]
    for word in words:
        name = word.split("=", 1)[0]
        if name.startswith("--") and name not in names and name.replace("--no-", "--", 1) not in names:
            close = difflib.get_close_matches(name, names, n=1)
            parts += [f"did you mean {close[0]} instead of {name}?"] if close else []
    return f"{program}: {'; '.join(parts)}; `migaki {program} --help` lists the options"


def _same(value: Any) -> Any:
    return value


def _shortened(part: str, program: str) -> str:
    part = part.replace(f"Missing from migaki {program}:", "missing:").replace(" (required)", "")
    return part[0].lower() + part[1:]


def take_name(program: str, package: str, base: str, words: list[str], about: str) -> tuple[str, list[str]] | None:
    """The NAME that a command begins with; None after printing help when it is asked for without a name."""
    known = names_in(package, base)
    if not words or words[0] in ("-h", "--help"):
        print(f"usage: migaki {program} NAME [OPTIONS]\n\n{about}\n\nNAME is one of")
        wide = max(map(len, known))
        print("\n".join(f"  {name:<{wide}} {line}" for name, line in known.items()))
        print(f"\n`migaki {program} NAME --help` lists its options with their defaults and units.")
        if not words:
            raise UserError(f"migaki {program}: say which: {', '.join(known)}")
        return None
    return words[0], words[1:]


def preset_of(cls: type[Any]) -> tuple[Any, str]:
    """The option `--preset` of a class, with the names it takes."""
    return Annotated[str, tyro.conf.arg(help=", ".join(_presets(cls)))], "default"


def _presets(cls: type[Any]) -> list[str]:
    known = [name for name, value in vars(cls.Config).items() if isinstance(value, classmethod)]
    return ["default", *(name.replace("_", "-") for name in known)]


def choose_preset(cls: type[Any], words: list[str]) -> Any:
    """The configuration whose values are the defaults: `--preset NAME` names a class method of `cls.Config`."""
    name = "default"
    for place, word in enumerate(words):
        if word.startswith("--preset="):
            name = word.split("=", 1)[1]
        elif word == "--preset" and place + 1 < len(words):
            name = words[place + 1]
    if name == "default":
        return cls.Config()
    if name.replace("_", "-") not in _presets(cls):
        raise UserError(f"--preset {name}: {cls.__name__} has {', '.join(_presets(cls))}")
    return getattr(cls.Config, name.replace("-", "_"))()


def command_line() -> str:
    """How this program was called, for the record."""
    return shlex.join(["migaki", *sys.argv[1:]])
