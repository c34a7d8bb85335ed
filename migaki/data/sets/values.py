"""Values of metadata rows: what a label may be, whoever has written it.

A value is null, a truth value, a whole number of 64 bits, a finite number, text, or a list or object of these. NaN
stands for a number that is missing and becomes null, as we write it ourselves. Infinite numbers, longer whole numbers,
halves of letters (lone surrogates) and deep nesting are refused: no array and no file of ours can hold them.
"""

from __future__ import annotations

import functools
import json
import math
import posixpath
from collections.abc import Iterable
from typing import Any

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.sets.labels import IMAGE_KEYS, PLANE_KEYS, is_file_column

Row = dict[str, Any]

MAX_DEPTH = 32
"""Lists within lists, at most."""

_MAX_WHOLE = 2**63
_MAX_NAME = 4096  # letters of a path
_BRACKETS = bytes(code for code in range(256) if code not in b"[]{}")
_CLASSES = bytes.maketrans(b"123456789ED", b"000000000ed")  # digits become 0, so that plain searches find them
_LONG_NUMBER = b"0" * 19
_CONSTANTS = {"NaN": None, "Infinity": math.inf, "-Infinity": -math.inf}

decode_json = json.JSONDecoder(parse_constant=_CONSTANTS.__getitem__).decode
"""Text to values, NaN as None."""


def check_line(where: str, line: bytes, row: Row) -> None:
    """UserError, beginning with `where`, if the row that was read from a line of JSON holds what no label can be.

    Most lines are found to be harmless by a few searches, which cost a tenth of reading them.
    """
    check_columns(where, row)
    if _may_be_odd(line):
        check_row(where, row)


def check_row(where: str, row: Row) -> None:
    """UserError, beginning with `where`, if a row holds what no label can be."""
    check_columns(where, row)
    for name, value in row.items():
        if reason := _reason(value, 1) or _reason(name, 1):
            raise UserError(f"{where}: '{show(name)}' {reason}")


def check_value(where: str, value: Any) -> None:
    """UserError, beginning with `where`, if a value is none that a label can be."""
    if reason := _reason(value, 1):
        raise UserError(f"{where} {reason}")


def check_columns(where: str, names: Iterable[str]) -> None:
    """UserError if a label is called like a picture: the picture itself stands under that name in a batch."""
    if taken := _taken(tuple(names)):
        other = "" if taken == "image" else f", or name a file of pictures in '{taken}_file_name'"
        raise UserError(f"{where}: a column is called '{taken}', as a picture is: give it another name{other}")


@functools.lru_cache(maxsize=256)  # the rows of a set have few different sets of columns
def _taken(names: tuple[str, ...]) -> str:
    return next((name for name in names if name in IMAGE_KEYS or name in PLANE_KEYS), "")


def check_inner(where: str, name: Any) -> str:
    """The name of a picture inside a shard, relative to the set; UserError for one that could not stand in a folder."""
    if not isinstance(name, str) or not name or "\0" in name or len(name) > _MAX_NAME:
        raise UserError(f"{where}: {show(repr(name)[:80])} is no file name: give each picture a name")
    normal = posixpath.normpath(name)
    if normal == "." or normal == ".." or normal.startswith(("/", "../")):
        raise UserError(f"{where}: '{show(name)}' leads out of the set: name its pictures relative to it, without '..'")
    if not _is_whole(normal):
        raise UserError(f"{where}: '{show(name)}' holds half of a letter: write the name in UTF-8")
    return normal


def check_inner_files(where: str, row: Row) -> None:
    """`check_inner` for all names of pictures in a row of a shard."""
    for column, name in row.items():
        if is_file_column(column) and (name is not None or column == "file_name"):
            check_inner(where, name)


def _may_be_odd(line: bytes) -> bool:
    if line.count(b"[") + line.count(b"{") > MAX_DEPTH and _is_deep(line.translate(None, _BRACKETS)):
        return True
    classes = line.translate(_CLASSES)
    return (b"e000" in classes or b"e+000" in classes or _LONG_NUMBER in classes or b"\\ud" in classes
            or b"Infinity" in line or b"true" in line or b"false" in line)


def _is_deep(brackets: bytes) -> bool:
    """Whether brackets may stand deeper in each other than `MAX_DEPTH`: a turn takes one or two levels away."""
    for _ in range(MAX_DEPTH // 2):
        shorter = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if len(shorter) == len(brackets):
            break
        brackets = shorter
    return bool(brackets)


def _reason(value: Any, depth: int) -> str:
    """Why a value is none of ours, and what to do; empty for one that is."""
    if isinstance(value, list | dict):
        if depth > MAX_DEPTH:
            return f"is nested deeper than {MAX_DEPTH} lists: keep labels only"
        inner: Iterable[Any] = [*value, *value.values()] if isinstance(value, dict) else value
        if isinstance(value, list) and bool in (kinds := set(map(type, value))) and kinds & {int, float}:
            return "holds truth values among numbers: write numbers only"
        return next((reason for item in inner if (reason := _reason(item, depth + 1))), "")
    if isinstance(value, float):
        return "" if math.isfinite(value) else "is not finite: write null where a number is missing"
    if isinstance(value, str):
        return "" if value.isascii() or _is_whole(value) else "holds half of a letter: write it in UTF-8"
    if isinstance(value, int) and not -_MAX_WHOLE <= value < _MAX_WHOLE:
        return "is a whole number of more than 64 bits: write it as text"
    return ""


def _is_whole(text: str) -> bool:
    """Whether text can be written as UTF-8; bytes of names that are none stand in Python's text as surrogates."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True
