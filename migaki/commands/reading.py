"""Parses the words of a command line with tyro, and turns its error messages into one line."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import re
from collections.abc import Sequence
from typing import Any

import tyro

from migaki.core.errors import UserError
from migaki.core.outline import Option

_MARKERS = (tyro.conf.OmitSubcommandPrefixes,)


def read(program: str, about: str, words: list[str], fields: Sequence[tuple[Any, ...]],
         options: Sequence[Option]) -> Any:
    """Returns an object with the given `fields`, parsed from the words; a one-line UserError if they do not fit."""
    cls = dataclasses.make_dataclass("Options", fields, kw_only=True)
    cls.__doc__ = about
    renamed = {option.name: option.field.replace("_", "-") for option in options
               if not option.positional and "." not in option.name and option.name != option.field.replace("_", "-")}
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(cls, prog=f"migaki {program}", description=about, add_help=False,
                            args=_by_field(words, renamed), config=_MARKERS)
    except SystemExit:
        raise UserError(_one_line(said.getvalue(), program, words, options, renamed)) from None


def _by_field(words: list[str], renamed: dict[str, str]) -> list[str]:
    """Returns the words with each option renamed to its field, the only name that tyro knows."""
    found = []
    for word in words:
        name, equals, value = word.partition("=")
        key = name.removeprefix("--")
        found.append(f"--{renamed[key]}{equals}{value}" if name.startswith("--") and key in renamed else word)
    return found


def _one_line(box: str, program: str, words: list[str], options: Sequence[Option], renamed: dict[str, str]) -> str:
    """Extract the error from tyro's boxed message, and suggest the option that was perhaps meant."""
    text = "\n".join(line.strip("│╭╮╰╯ ") for line in box.splitlines() if not line.startswith(("╭", "╰")))
    parts = [" ".join(part.split()) for part in re.split(r"\n─+\n", text)]
    parts = [part for part in parts if part and not part.startswith(("For full help", "Argument help", "Perhaps"))]
    parts = [_shortened(part.rstrip("."), program) for part in parts]
    for name, field in renamed.items():  # tyro's message uses field names
        parts = [re.sub(rf"--{field}(?![\w-])", f"--{name}", part) for part in parts]
    names = [f"--{option.name}" for option in options if not option.positional]
    known = {*names, *(f"--{field}" for field in renamed.values())}
    for word in words:
        name = word.split("=", 1)[0]
        if name.startswith("--") and name not in known and name.replace("--no-", "--", 1) not in known:
            close = difflib.get_close_matches(name, names, n=1)
            parts += [f"did you mean {close[0]} instead of {name}?"] if close else []
    return f"{program}: {'; '.join(parts)}; `migaki {program} --help` lists the options"


def _shortened(part: str, program: str) -> str:
    part = part.replace(f"Missing from migaki {program}:", "missing:").replace(" (required)", "")
    return part[0].lower() + part[1:]
