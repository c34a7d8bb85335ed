"""XML of strangers: read as a tree without entities, of bounded size and depth."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn
from xml.etree import ElementTree
from xml.parsers import expat

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.importers.annotations import read_bytes

_MAX_DEPTH = 32


def read_xml(path: Path, limit: int) -> ElementTree.Element:
    """The root of an XML file of at most `limit` bytes.

    UserError for a file that is damaged or nested deeply, and for one with a DOCTYPE: its entities could reach other
    files, or unfold to any size.
    """
    data = read_bytes(path, limit)
    try:
        _check(data)
        return ElementTree.fromstring(data)
    except (expat.ExpatError, ElementTree.ParseError, ValueError, LookupError) as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"{show(path)}: not XML that is read ({show(reason)}): write it again, or move it away"
                        ) from error


def _check(data: bytes) -> None:
    """ValueError for a DOCTYPE or deep nesting; expat's error for what is no XML. No entity is expanded here."""
    parser = expat.ParserCreate()
    depth = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _MAX_DEPTH:
            raise ValueError(f"nested deeper than {_MAX_DEPTH}")

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1

    def refuse(*declaration: object) -> NoReturn:
        raise ValueError("it has a DOCTYPE")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(data, True)
