"""Names of files that we make: whatever a picture is called, what is made of it can be stored and written down.

A name that is made of another is valid UTF-8 (metadata is), of at most 255 bytes (file systems allow no more), and not
hidden. A part of a path that is all this stays as it is. In any other, odd bytes become %XX, the end is cut off
where it is too long, and eight digits of a hash keep two such names apart. The ending plays no part in that: what is
made of a picture in another format keeps the rest of its name.
"""

from __future__ import annotations

import hashlib
import posixpath

MAX_BYTES = 255
"""The longest name of a file, in bytes, on all common file systems."""

_LONGEST_ENDING = 10  # bytes; more behind a dot is no ending


def fit_name(name: str) -> str:
    """A relative path `a/b/c.png` whose parts can all be stored; fitting it once more changes nothing."""
    return "/".join(_fit_part(part) for part in name.split("/"))


def stem_of(name: str) -> str:
    """A picture's name without its ending: what an image that is made of it keeps."""
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
    """The part with bytes that are no UTF-8, backslashes and a dot in front as %XX."""
    text = "".join(_percent(letter) if letter == "\\" or "\ud800" <= letter <= "\udfff" else letter for letter in part)
    return "%2E" + text[1:] if text.startswith(".") and text not in (".", "..") else text


def _percent(letter: str) -> str:
    code = ord(letter)
    return f"%{code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else code:02X}"
