"""The glossary: every key that a system, a change, a simulator or an importer declares, and those of `core.batch`.

A class declares its keys as an attribute, `keys = (Key(...), ...)`, with literal values. They are read from the source,
as names are (`core.discovery`): a folder's columns mean the same whether or not the method's module is imported.
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path

from migaki.core.batch import KEYS, Key, Kind
from migaki.core.discovery import shelf_files

_SHELVES = ("systems", "changes", "simulate", "importers")


@functools.cache
def glossary() -> dict[str, Key]:
    """Every key by its name. Raises ValueError where two declarations of one name differ."""
    found = dict(KEYS)
    for shelf in _SHELVES:
        for path in shelf_files(shelf):
            for key in _declared(path):
                if found.setdefault(key.name, key) != key:
                    raise ValueError(f"{path}: declares the key '{key.name}' otherwise than another part does")
    return found


def keys_of(*kinds: Kind) -> tuple[str, ...]:
    """The names of all keys of these kinds, in the glossary's order."""
    return tuple(name for name, key in glossary().items() if key.kind in kinds)


def _declared(path: Path) -> list[Key]:
    text = path.read_text(encoding="utf-8")
    if "Key(" not in text:
        return []
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)
             and isinstance(node.func, ast.Name) and node.func.id == "Key"]
    calls.sort(key=lambda node: (node.lineno, node.col_offset))
    return [Key(**{str(word.arg): ast.literal_eval(word.value) for word in call.keywords}) for call in calls]
