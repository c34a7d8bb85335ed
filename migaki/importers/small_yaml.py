"""The part of YAML in which people write the `data.yaml` of a YOLO set: text, numbers, lists and tables of one level.

YAML of strangers can do far more (anchors, tags, references); whatever goes beyond this part is refused. Entries that
are not asked for are skipped whatever they hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

Value = str | int | float | None | list[Any] | dict[str, Any]

_TOP = re.compile(r"(?:'([^']*)'|\"([^\"]*)\"|([^\s#'\"\-?][^:#'\"]*?))\s*:(?:\s+|$)(.*)")
_WORD = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^,:\[\]{}]+|.)""")
_REFUSED = ("&", "*", "!", "|", ">", "%", "@", "`")


def read_yaml(text: str, wanted: Collection[str]) -> dict[str, Value]:
    """The values of the entries `wanted` on the first level; ValueError, with the line, for what is no such YAML."""
    blocks: dict[str, tuple[int, list[str]]] = {}
    key = ""
    for number, line in enumerate(text.splitlines(), 1):
        bare = _without_comment(line)
        if not bare.strip() or bare.rstrip() in ("---", "..."):
            continue
        top = _TOP.fullmatch(bare.rstrip()) if bare[0] not in " \t-]}" else None
        if top is not None:
            key = next(part for part in top.groups()[:3] if part is not None).strip()
            if key in blocks and key in wanted:
                raise ValueError(f"line {number}: '{key}' stands there twice")
            blocks[key] = (number, [top[4]] if top[4] else [])
        elif bare[0] in " \t-]}" and key:
            blocks[key][1].append(bare)
        else:
            raise ValueError(f"line {number}: is no 'name: value'")
    return {name: _block(number, lines) for name, (number, lines) in blocks.items() if name in wanted}


def _without_comment(line: str) -> str:
    quote = ""
    for place, letter in enumerate(line):
        if quote:
            quote = "" if letter == quote and line[place - 1] != "\\" else quote
        elif letter in "'\"":
            quote = letter if not line[:place].strip() or line[place - 1] in " \t,[{:-" else ""
        elif letter == "#" and (not place or line[place - 1] in " \t"):
            return line[:place]
    return line


def _block(number: int, lines: list[str]) -> Value:
    """The value that stands in the lines below a name (or behind it)."""
    try:
        if not lines:
            return None
        first = lines[0].strip()
        if first[0] in "[{":
            return _flow(" ".join(line.strip() for line in lines))
        if first.startswith("- ") or first == "-":
            items = [line.strip() for line in lines]
            if not all(item.startswith("- ") for item in items):
                raise ValueError("a list of something else than text and numbers")
            return [_scalar(item[2:]) for item in items]
        if len(lines) == 1 and not lines[0].startswith((" ", "\t")):
            return _scalar(first)
        table: dict[str, Any] = {}
        for line in lines:
            name, colon, value = line.strip().partition(":")
            if not colon or not line.startswith((" ", "\t")) or str(_scalar(name)) in table:
                raise ValueError("a table of something else than one name and one value a line")
            table[str(_scalar(name))] = _flow(value.strip()) if value.strip()[:1] in ("[", "{") else _scalar(value)
        return table
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from error


def _flow(text: str) -> list[Any] | dict[str, Any]:
    """[a, b] or {0: a, 1: b}, without anything nested."""
    words = [word for word in _WORD.findall(text.strip()) if word.strip()]
    closing = {"[": "]", "{": "}"}[words[0]]
    if len(words) < 2 or words[-1] != closing or any(word in "[]{}" for word in words[1:-1]):
        raise ValueError(f"'{text[:40]}' is no list or table of one level")
    parts: list[list[str]] = [[]]
    for word in words[1:-1]:
        if word == ",":
            parts.append([])
        else:
            parts[-1].append(word)
    if not parts[-1]:
        parts.pop()  # a comma before the end
    if closing == "]":
        return [_scalar("".join(part)) for part in parts]
    table: dict[str, Any] = {}
    for part in parts:
        if len(part) < 3 or part[1] != ":" or str(_scalar(part[0])) in table:
            raise ValueError(f"'{text[:40]}' is no table")
        table[str(_scalar(part[0]))] = _scalar("".join(part[2:]))
    return table


def _scalar(text: str) -> str | int | float | None:
    text = text.strip()
    if not text or text in ("~", "null"):
        return None
    if text[0] == '"':
        value = json.loads(text)
        if not isinstance(value, str):
            raise ValueError(f"{text[:40]} is no text")
        return value
    if text[0] == "'":
        if len(text) < 2 or text[-1] != "'":
            raise ValueError(f"{text[:40]} is no text")
        return text[1:-1].replace("''", "'")
    if text.startswith(_REFUSED):
        raise ValueError(f"'{text[:40]}' is more of YAML than is read")
    if re.fullmatch(r"[+-]?\d{1,15}", text):
        return int(text)
    if re.fullmatch(r"[+-]?(\d+\.\d*|\.\d+)(e[+-]?\d{1,2})?", text, re.IGNORECASE):
        return float(text)
    return text
