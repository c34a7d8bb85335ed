"""Names of output files, which can be stored and written down for any name of an input picture.

A derived name is valid UTF-8 (metadata is), at most 255 bytes long (the limit of file systems), and not hidden. A
part of a path with these properties is not changed. In other parts, bytes that are not UTF-8 become %XX, the end is
cut off if the part is too long, and eight digits of a hash keep two such names distinct. The ending has no influence:
the output in another format keeps the rest of the name.
"""

from __future__ import annotations

import hashlib
import posixpath

MAX_BYTES = 255
"""The longest file name, in bytes, that all common file systems accept."""

_LONGEST_ENDING = 10  # bytes; a longer part after a dot is not an ending


def fit_name(name: str) -> str:
    """Convert a relative path `a/b/c.png` so that all parts can be stored; a converted path does not change again."""
    return "/".join(_fit_part(part) for part in name.split("/"))


def stem_of(name: str) -> str:
    """Returns a picture's name without its ending, which output images keep."""
    stem, ending = posixpath.splitext(name)
    return stem + "." if ending == "." else stem  # a dot at the end is part of the name


def _fit_part(part: str) -> str:
    plain = _escaped(part)
    if plain == part and len(part.encode()) <= MAX_BYTES:
        return part
    stem, ending = posixpath.splitext(part)
    if not ending.isascii() or "\\" in ending or len(ending) > _LONGEST_ENDING:
        stem, ending = part, ""
    mark = "-" + hashlib.sha256(stem.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    room = MAX_BYTES - len(mark) - len(ending)
    return _escaped(stem).encode()[:room].decode(errors="ignore") + mark + ending


def _escaped(part: str) -> str:
    """Returns the part with %XX for bytes that are not UTF-8, for backslashes and for a dot in front."""
    text = "".join(_percent(letter) if letter == "\\" or "\ud800" <= letter <= "\udfff" else letter for letter in part)
    return "%2E" + text[1:] if text.startswith(".") and text not in (".", "..") else text


def _percent(letter: str) -> str:
    code = ord(letter)
    return f"%{code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else code:02X}"
