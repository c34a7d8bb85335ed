"""Checks the values of metadata rows from any source for what a label may be.

A value is null, a truth value, a whole number of 64 bits, a finite number, text, or a list or object of these. NaN
stands for a missing number and becomes null, as in our own files. Infinite numbers, longer whole numbers, lone
surrogates and deep nesting are refused, because our arrays and files cannot hold them.
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
from migaki.data.sets.labels import IMAGE_KEYS, PLANE_KEYS, VECTOR_KEYS, is_file_column

Row = dict[str, Any]

MAX_DEPTH = 32
"""Maximal depth of nested lists."""

_MAX_WHOLE = 2**63
_MAX_NAME = 4096  # characters of a path
_BRACKETS = bytes(code for code in range(256) if code not in b"[]{}")
_CLASSES = bytes.maketrans(b"123456789ED", b"000000000ed")  # digits become 0, so that plain searches find them
_LONG_NUMBER = b"0" * 19
_CONSTANTS = {"NaN": None, "Infinity": math.inf, "-Infinity": -math.inf}

decode_json = json.JSONDecoder(parse_constant=_CONSTANTS.__getitem__).decode
"""Decode JSON text, with NaN as None."""


def check_line(where: str, line: bytes, row: Row) -> None:
    """UserError, beginning with `where`, if a row from a line of JSON holds an invalid label.

    A few searches accept most lines, which costs a tenth of parsing them.
    """
    check_columns(where, row)
    if _may_be_odd(line):
        check_row(where, row)


def check_row(where: str, row: Row) -> None:
    """UserError, beginning with `where`, if a row holds an invalid label."""
    check_columns(where, row)
    for name, value in row.items():
        if reason := _reason(value, 1) or _reason(name, 1):
            raise UserError(f"{where}: '{show(name)}' {reason}")


def check_value(where: str, value: Any) -> None:
    """UserError, beginning with `where`, if a value is not a valid label."""
    if reason := _reason(value, 1):
        raise UserError(f"{where} {reason}")


def check_columns(where: str, names: Iterable[str]) -> None:
    """UserError if a label has the name of a picture: in a batch that name stands for the picture itself."""
    if taken := _taken(tuple(names)):
        other = "" if taken == "image" else f", or name a file of pictures in '{taken}_file_name'"
        raise UserError(f"{where}: a column is called '{taken}', like a picture: give it another name{other}")


@functools.lru_cache(maxsize=256)  # the rows of a set have few different sets of columns
def _taken(names: tuple[str, ...]) -> str:
    return next((name for name in names if name in (*IMAGE_KEYS, *PLANE_KEYS, *VECTOR_KEYS)), "")


def check_inner(where: str, name: Any) -> str:
    """Check the name of a picture inside a shard, relative to the set; UserError if no folder could contain it."""
    if not isinstance(name, str) or not name or "\0" in name or len(name) > _MAX_NAME:
        raise UserError(f"{where}: {show(repr(name)[:80])} is no file name: give each picture a name")
    normal = posixpath.normpath(name)
    if normal == "." or normal == ".." or normal.startswith(("/", "../")):
        raise UserError(f"{where}: '{show(name)}' leads out of the set: name its pictures relative to it, without '..'")
    if not _is_whole(normal):
        raise UserError(f"{where}: '{show(name)}' holds half of a letter: write the name in UTF-8")
    return normal


def check_inner_files(where: str, row: Row) -> None:
    """Call `check_inner` for all names of pictures in a row of a shard."""
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
    """Whether brackets may be nested deeper than `MAX_DEPTH`: each pass removes one or two levels."""
    for _ in range(MAX_DEPTH // 2):
        shorter = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if len(shorter) == len(brackets):
            break
        brackets = shorter
    return bool(brackets)


def _reason(value: Any, depth: int) -> str:
    """Returns why a value is invalid and what to do; empty for a valid one."""
    if isinstance(value, list | dict):
        if depth > MAX_DEPTH:
            return f"is nested deeper than {MAX_DEPTH} lists: keep labels only"
        inner: Iterable[Any] = [*value, *value.values()] if isinstance(value, dict) else value
        if isinstance(value, list) and bool in (kinds := set(map(type, value))) and kinds & {int, float}:
            return "holds truth values among numbers: write numbers only"
        return next((reason for item in inner if (reason := _reason(item, depth + 1))), "")
    if isinstance(value, float):
        return "" if math.isfinite(value) else "is not finite: write null for a missing number"
    if isinstance(value, str):
        return "" if value.isascii() or _is_whole(value) else "holds half of a letter: write it in UTF-8"
    if isinstance(value, int) and not -_MAX_WHOLE <= value < _MAX_WHOLE:
        return "is a whole number of more than 64 bits: write it as text"
    return ""


def _is_whole(text: str) -> bool:
    """Whether text can be written as UTF-8; Python represents invalid bytes of names as surrogates."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True
