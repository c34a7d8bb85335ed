"""Find what exists by looking at the files: a new method is one new file, and no registry is edited."""

from __future__ import annotations

import ast
import difflib
import functools
from pathlib import Path
from typing import Any

from migaki.core.errors import UserError
from migaki.core.outline import class_in, load

_PACKAGE = Path(__file__).resolve().parent.parent


def names_in(package: str, base: str) -> dict[str, str]:
    """Modules of `migaki/<package>` that define a class deriving from `base`, with their first docstring line.

    Reads the source only (no import), so that listing stays fast however heavy the modules are.
    """
    found = {}
    for path in sorted((_PACKAGE / package).glob("[!_]*.py")):
        bases, line = _outline(path)
        if base in bases:
            found[path.stem] = line
    return found


@functools.cache
def _outline(path: Path) -> tuple[frozenset[str], str]:
    """What the classes of a module derive from, and its first docstring line: parsed once in a process."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bases = {ast.unparse(b).rsplit(".", 1)[-1] for node in tree.body if isinstance(node, ast.ClassDef)
             for b in node.bases}
    return frozenset(bases), (ast.get_docstring(tree) or "").split("\n", 1)[0]


def find_class(package: str, name: str, base: type[Any]) -> type[Any]:
    """The class deriving from `base` in `migaki/<package>/<name>.py`; UserError with a suggestion if there is none."""
    found: type[Any] = load(reference(package, name, base.__name__))
    return found


def reference(package: str, name: str, base: str) -> str:
    """The same class as `module:Class`, without importing anything."""
    known = names_in(package, base)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}"
        raise UserError(f"no {base.lower()} is called '{name}': {hint}")
    return class_in(package, name, base)
