"""ATTRIBUTION.md: who made each picture, under which licence, and where it was found."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

_MARKS = re.compile(r"([\\`*_{}\[\]<>()#+!|~-])")


def attribution(word: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the file's text: a line for each picture in the order of the rows.

    Titles and names are strangers' text: their marks of Markdown and HTML are escaped, and only http(s) pages are
    linked.
    """
    unknown = sum(not row.get("licence") for row in rows)
    lines = [f"# Pictures of \"{_plain(word)}\"", "",
             f"{len(rows)} pictures. Keep this file beside them: most free licences ask for the author and the "
             "licence.", ""]
    if unknown:
        lines += [f"Of {unknown} of them the licence is not known: do not publish these without asking.", ""]
    return "\n".join([*lines, *map(_line, rows)]) + "\n"


def _line(row: Mapping[str, Any]) -> str:
    title = _plain(row.get("title")) or "untitled"
    author = _plain(row.get("author")) or "unknown author"
    licence = _plain(row.get("licence")) or "licence unknown"
    page = next((str(row[name]) for name in ("page", "url") if str(row.get(name, "")).startswith(("http://", "https://"))),
                "")
    where = f", <{_address(page)}>" if page else ""
    return f"- `{row['file_name']}`: {title}, by {author}, {licence}{where}"


def _plain(text: Any) -> str:
    return _MARKS.sub(r"\\\1", " ".join(str(text or "").split()))


def _address(url: str) -> str:
    """Returns a URL that can stand between < and >."""
    return quote(url, safe="%/:=&?~#+!$,;'@()*[]", errors="replace")
