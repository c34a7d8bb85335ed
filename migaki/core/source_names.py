"""Resolves names in the package's source files without importing them."""

from __future__ import annotations

import ast
import functools
import importlib.util
from dataclasses import dataclass, field
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Module:
    """A parsed file: its lines, and the names defined or imported at its top level."""

    name: str
    lines: list[str]
    tree: ast.Module
    names: dict[str, ast.AST] = field(default_factory=dict)


@functools.cache
def parsed(name: str) -> Module:
    """Returns the module of this dotted name."""
    inside = _PACKAGE.parent.joinpath(*name.split(".")).with_suffix(".py")
    if name.startswith("migaki.") and inside.exists():
        path = inside
    else:
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None, name
        path = Path(spec.origin)
    text = path.read_text(encoding="utf-8")
    module = Module(name, text.splitlines(), ast.parse(text))
    for node in module.tree.body:
        if isinstance(node, ast.ClassDef):
            module.names[node.name] = node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            module.names[node.targets[0].id] = node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            module.names[node.target.id] = node.value
        elif isinstance(node, ast.ImportFrom | ast.Import):
            module.names.update({alias.asname or alias.name.split(".")[0]: node for alias in node.names})
    return module


def look_up(module: Module, node: ast.AST) -> tuple[Module, ast.AST] | None:
    """Returns what a name or dotted name refers to, with its module; None for names from outside the package."""
    if isinstance(node, ast.Name):
        found = module.names.get(node.id)
        if isinstance(found, ast.ImportFrom):
            alias = next(a for a in found.names if (a.asname or a.name) == node.id)
            if not (found.module or "").startswith("migaki"):
                return None
            whole = f"{found.module}.{alias.name}"
            if _PACKAGE.parent.joinpath(*whole.split(".")).with_suffix(".py").exists():
                return parsed(whole), parsed(whole).tree
            return look_up(parsed(str(found.module)), ast.Name(alias.name))
        if isinstance(found, ast.Name | ast.Attribute):
            return look_up(module, found) or (module, found)
        return None if found is None or isinstance(found, ast.Import) else (module, found)
    if isinstance(node, ast.Attribute) and (above := look_up(module, node.value)):
        inner, holder = above
        if isinstance(holder, ast.Module):
            return look_up(inner, ast.Name(node.attr))
        if isinstance(holder, ast.ClassDef):
            return _member(inner, holder, node.attr)
    return None


def _member(module: Module, holder: ast.ClassDef, name: str) -> tuple[Module, ast.AST] | None:
    """Returns a class nested in a class, or what a name inside it refers to; bases are searched too."""
    for part in holder.body:
        if isinstance(part, ast.ClassDef) and part.name == name:
            return module, part
        if isinstance(part, ast.Assign) and isinstance(part.targets[0], ast.Name) and part.targets[0].id == name:
            return look_up(module, part.value)
    return next((found for above in bases_of(module, holder) if (found := _member(*above, name))), None)


def find_class(reference: str) -> tuple[Module, ast.ClassDef]:
    """Returns the class that `module:Class` or `module:Class.Inner` names."""
    name, _, path = reference.partition(":")
    found = look_up(parsed(name), ast.parse(path, mode="eval").body)
    if found is None or not isinstance(found[1], ast.ClassDef):
        raise LookupError(f"{reference}: no such class in the source")
    return found[0], found[1]


def bases_of(module: Module, node: ast.ClassDef) -> list[tuple[Module, ast.ClassDef]]:
    """Returns the bases of a class that are defined in the package."""
    found = [look_up(module, base) for base in node.bases]
    return [(inner, base) for inner, base in filter(None, found) if isinstance(base, ast.ClassDef)]
