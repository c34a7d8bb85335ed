"""Find what exists by looking at the files: a new method is one new file, and no registry is edited.

The search includes the user's own files: `MIGAKI_PATH` names folders with the same subfolders ("shelves") as the
package (`systems/`, `changes/`, `judges/`, `simulate/`, `importers/`, `studies/`). Their code is run, so name only
folders that you trust.
"""

from __future__ import annotations

import ast
import difflib
import functools
import importlib
import os
from pathlib import Path
from typing import Any

from migaki.core.errors import UserError
from migaki.core.outline import class_in, load

_PACKAGE = Path(__file__).resolve().parent.parent


def shelf_files(package: str) -> list[Path]:
    """Returns the modules of `migaki/<package>` and of the subfolders of that name in the folders of `MIGAKI_PATH`."""
    folders = [_PACKAGE / package, *_own_folders(package)]
    return [path for folder in folders for path in sorted(folder.glob("[!_]*.py"))]


def _own_folders(package: str) -> list[Path]:
    named = os.environ.get("MIGAKI_PATH", "").split(os.pathsep)
    return [Path(folder).resolve() / package for folder in named if folder and (Path(folder) / package).is_dir()]


def names_in(package: str, base: str) -> dict[str, str]:
    """Returns the modules of a shelf that define a subclass of `base`, with their first docstring line.

    Reads the source without importing it, so that listing stays fast for modules that import large libraries.
    """
    found: dict[str, str] = {}
    for path in shelf_files(package):
        bases, line = _outline(path)
        if base in bases:
            found.setdefault(path.stem, line)
    return found


@functools.cache
def _outline(path: Path) -> tuple[frozenset[str], str]:
    """Returns the base classes in a module and its first docstring line. Each file is parsed once per process."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bases = {ast.unparse(b).rsplit(".", 1)[-1] for node in tree.body if isinstance(node, ast.ClassDef)
             for b in node.bases}
    return frozenset(bases), (ast.get_docstring(tree) or "").split("\n", 1)[0]


def find_class(package: str, name: str, base: type[Any]) -> type[Any]:
    """Returns the subclass of `base` in module `name` of a shelf; UserError with a suggestion if there is none."""
    found: type[Any] = load(reference(package, name, base.__name__))
    return found


def reference(package: str, name: str, base: str) -> str:
    """Returns the name of the same class as `module:Class`, without importing anything."""
    known = names_in(package, base)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}"
        raise UserError(f"no {base.lower()} is called '{name}': {hint}")
    extend_shelves()
    return class_in(package, name, base)


def extend_shelves() -> None:
    """Make modules in the folders of `MIGAKI_PATH` importable as `migaki.<shelf>.<module>` in this process.

    A worker calls this before it unpickles its task, because the class of the task may be defined there.
    """
    for package in _SHELVES if os.environ.get("MIGAKI_PATH") else ():
        module = importlib.import_module(f"migaki.{package}")
        module.__path__ += [str(folder) for folder in _own_folders(package) if str(folder) not in module.__path__]


_SHELVES = ("systems", "changes", "judges", "simulate", "importers", "studies")
