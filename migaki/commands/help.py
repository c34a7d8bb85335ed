"""The help text of a command: its options in titled groups, those for first-time users first."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterable, Sequence

from migaki.core.outline import GROUPS, Option

_WIDEST = 100
_COLUMN = 28  # the column at which the descriptions begin
_SHORT = ("needed", "usual", "run")
_STUDIED = ("train", "study")  # the rarely needed options of these commands are the paper's ablations


def render(program: str, about: str, options: Sequence[Option], every: bool) -> str:
    """Returns the text of `--help`; with `every`, the text of `--help-all`."""
    width = columns()
    parts = [_usage(program, options, width), _flowed(about, width)]
    left_out = 0
    for group in GROUPS:
        members = [option for option in options if option.group == group]
        if not every and group not in _SHORT:
            left_out += len(members)
            continue
        for title, section in _sections(_title(program, group), members):
            parts.append("\n".join([title, *(line for option in section for line in _lines(option, width))]))
    if left_out:
        parts.append(f"{left_out} more option{'s' if left_out > 1 else ''}: --help-all")
    return "\n\n".join(part for part in parts if part) + "\n"


def _usage(program: str, options: Sequence[Option], width: int) -> str:
    needed = [option.name if option.positional else f"--{option.name} {option.kind}" for option in options
              if option.positional or option.default is None]
    words = [word.replace(" ", "\0") for word in (*needed, "[OPTIONS]")]  # an option and its value stay on one line
    line = " ".join([f"usage: migaki {program}", *words])
    return textwrap.fill(line, width, subsequent_indent="         ", break_on_hyphens=False).replace("\0", " ")


def names(options: Iterable[Option]) -> list[str]:
    """Returns every spelling of every option, for shell completion."""
    found = []
    for option in options:
        if not option.positional:
            found.append(f"--{option.name}")
            if option.kind == "FLAG":
                found.append(negated(option.name))
    return [*found, "--help", "--help-all"]


def negated(name: str) -> str:
    """Returns the option that switches a flag off; for a nested option `no-` follows the prefix, as in `rain.no-x`."""
    part, _, last = name.rpartition(".")
    return f"--{part}.no-{last}" if part else f"--no-{last}"


def columns() -> int:
    """Returns the width of the text in columns."""
    return max(60, min(shutil.get_terminal_size((_WIDEST, 24)).columns, _WIDEST))


def table(rows: dict[str, str], width: int | None = None) -> str:
    """Returns a two-column list of names and descriptions; long descriptions wrap within their column."""
    wide = max(map(len, rows), default=0)
    lines = [textwrap.wrap(line, (width or columns()) - wide - 3) or [""] for line in rows.values()]
    return "\n".join(f"  {name if number == 0 else '':<{wide}} {line}".rstrip()
                     for name, part in zip(rows, lines, strict=True) for number, line in enumerate(part))


def _title(program: str, group: str) -> str:
    if group == "rest":
        return "ablations and paper" if program.split()[0] in _STUDIED else "further"
    return group


def _sections(title: str, options: Sequence[Option]) -> list[tuple[str, list[Option]]]:
    """Split a group's options into titled sections: nested ones, such as `rain.length`, get a section per prefix."""
    found: dict[str, list[Option]] = {}
    for option in options:
        part = option.name.rpartition(".")[0]
        found.setdefault(f"{title}: {part}" if part else title, []).append(option)
    return list(found.items())


def _lines(option: Option, width: int) -> list[str]:
    if option.positional:
        head = option.name
    elif option.kind == "FLAG":
        head = f"--{option.name}, {negated(option.name)}"
    else:
        head = f"--{option.name} {option.kind}"
    text = option.about + _default(option)
    body = textwrap.wrap(text.strip(), width - _COLUMN, break_on_hyphens=False)
    heads = textwrap.wrap(head, width - 2, subsequent_indent="    ", break_on_hyphens=False)
    if len(heads) == 1 and len(head) + 4 <= _COLUMN and body:
        return [f"  {head:<{_COLUMN - 2}}{body[0]}", *(f"{'':<{_COLUMN}}{line}" for line in body[1:])]
    return [*(f"  {line}" for line in heads), *(f"{'':<{_COLUMN}}{line}" for line in body)]


def _default(option: Option) -> str:
    """Returns the default value to print after the description, in brackets; "" if there is none to show."""
    if option.default is None or option.default == "" or option.group == "needed":
        return ""
    return f" [{option.default}]"


def _flowed(text: str, width: int) -> str:
    """Fill paragraphs to the width; each list item starts a new line, and indented lines are kept as they are."""
    blocks = []
    for block in re.split(r"\n\s*\n", text.strip()):
        items = re.split(r"\n(?=- )", block)
        for item in items:
            if any(line.startswith("    ") for line in item.splitlines()):
                blocks.append("\n".join(part for line in item.splitlines() for part in
                                        textwrap.wrap(line, width, subsequent_indent="      ") or [""]))
            else:
                blocks.append(textwrap.fill(" ".join(item.split()), width, break_on_hyphens=False,
                                            subsequent_indent="  " if item.startswith("- ") else ""))
    return "\n\n".join(blocks).replace("\n\n- ", "\n- ")
