"""What options a dataclass has, read from its source: help answers at once, because nothing heavy is imported.

A class is named by a reference, `module:Class` or `module:Class.Inner`. What the command line shows of its fields
stands in two optional class variables, both plain literals:

    GROUPS: ClassVar[dict[str, str]] = {"usual": "steps batch_size", "network": "features blocks"}
    NAMES: ClassVar[dict[str, str]] = {"real": "photos"}

`GROUPS` says in which part of the help a field stands; a field without a default is `needed`, one that is not listed
belongs to the `rest`. `NAMES` gives a field another name on the command line; its own name is accepted as well.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GROUPS = ("needed", "usual", "run", "network", "rest")
_PACKAGE = Path(__file__).resolve().parent.parent
_KINDS = {"int": "INT", "float": "FLOAT", "str": "TEXT", "Path": "PATH", "bool": "FLAG"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """One option: how the command line calls it, what it takes, and what stands beside it in the source."""

    name: str  # with hyphens, without the leading ones; `rain.angle-deg` inside a part
    field: str  # of the dataclass
    kind: str  # such as "INT", "FLOAT FLOAT", "{adam,sgd}"; FLAG takes nothing
    default: str | None  # as the command line wants it; None = required
    about: str = ""
    group: str = "rest"
    positional: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Outline:
    """A dataclass: what it says of itself, its options, and the presets that its class methods give."""

    about: str
    options: tuple[Option, ...]
    presets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Module:
    """A parsed file."""

    name: str
    lines: list[str]
    tree: ast.Module
    names: dict[str, ast.AST] = field(default_factory=dict)


def outline(reference: str) -> Outline:
    """The options of the dataclass that `reference` names, those of its bases first."""
    module, node = _find_class(reference)
    options = tuple(_options(module, node))
    presets = tuple(part.name for part in node.body if isinstance(part, ast.FunctionDef) and
                    any(isinstance(mark, ast.Name) and mark.id == "classmethod" for mark in part.decorator_list))
    return Outline(about=ast.get_docstring(node) or "", options=options, presets=presets)


def class_in(package: str, name: str, base: str) -> str:
    """The reference of the class deriving from `base` in `migaki/<package>/<name>.py`."""
    module = _module(f"migaki.{package}.{name}")
    for node in module.tree.body:
        if isinstance(node, ast.ClassDef) and base in [ast.unparse(b).rsplit(".", 1)[-1] for b in node.bases]:
            return f"{module.name}:{node.name}"
    raise LookupError(f"{module.name} defines no {base}")


def docstring(reference: str) -> str:
    """What a class says of itself."""
    return ast.get_docstring(_find_class(reference)[1]) or ""


def load(reference: str) -> Any:
    """The class itself: this imports its module."""
    module, _, path = reference.partition(":")
    return functools.reduce(getattr, path.split("."), importlib.import_module(module))


@functools.cache
def _module(name: str) -> _Module:
    inside = _PACKAGE.parent.joinpath(*name.split(".")).with_suffix(".py")
    if name.startswith("migaki.") and inside.exists():
        path = inside
    else:
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None, name
        path = Path(spec.origin)
    text = path.read_text(encoding="utf-8")
    module = _Module(name, text.splitlines(), ast.parse(text))
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


def _look_up(module: _Module, node: ast.AST) -> tuple[_Module, ast.AST] | None:
    """What a name or a dotted name stands for, and the module in which it stands; None for what is not ours."""
    if isinstance(node, ast.Name):
        found = module.names.get(node.id)
        if isinstance(found, ast.ImportFrom):
            alias = next(a for a in found.names if (a.asname or a.name) == node.id)
            if not (found.module or "").startswith("migaki"):
                return None
            whole = f"{found.module}.{alias.name}"
            if _PACKAGE.parent.joinpath(*whole.split(".")).with_suffix(".py").exists():
                return _module(whole), _module(whole).tree
            return _look_up(_module(str(found.module)), ast.Name(alias.name))
        if isinstance(found, ast.Name | ast.Attribute):
            return _look_up(module, found) or (module, found)
        return None if found is None or isinstance(found, ast.Import) else (module, found)
    if isinstance(node, ast.Attribute) and (above := _look_up(module, node.value)):
        inner, holder = above
        if isinstance(holder, ast.Module):
            return _look_up(inner, ast.Name(node.attr))
        if isinstance(holder, ast.ClassDef):
            return _member(inner, holder, node.attr)
    return None


def _member(module: _Module, holder: ast.ClassDef, name: str) -> tuple[_Module, ast.AST] | None:
    """A class inside a class, or what a name inside it stands for, its bases included."""
    for part in holder.body:
        if isinstance(part, ast.ClassDef) and part.name == name:
            return module, part
        if isinstance(part, ast.Assign) and isinstance(part.targets[0], ast.Name) and part.targets[0].id == name:
            return _look_up(module, part.value)
    for base in holder.bases:
        above = _look_up(module, base)
        if above and isinstance(above[1], ast.ClassDef) and (found := _member(above[0], above[1], name)):
            return found
    return None


def _find_class(reference: str) -> tuple[_Module, ast.ClassDef]:
    name, _, path = reference.partition(":")
    found = _look_up(_module(name), ast.parse(path, mode="eval").body)
    if found is None or not isinstance(found[1], ast.ClassDef):
        raise LookupError(f"{reference}: no such class in the source")
    return found[0], found[1]


def _options(module: _Module, node: ast.ClassDef) -> Iterator[Option]:
    groups, names = _variable(module, node, "GROUPS"), _variable(module, node, "NAMES")
    placed = {word: group for group, words in groups.items() for word in words.split()}
    unknown = set(groups) - set(GROUPS)
    assert not unknown, f"{module.name}: {node.name}: no group is called {', '.join(unknown)}"
    for owner, line in _fields(module, node):
        assert isinstance(line.target, ast.Name)
        name = line.target.id
        found = _look_up(owner, line.annotation)
        if found and isinstance(found[1], ast.ClassDef):
            yield from _inner(found[0], found[1], name.replace("_", "-"), _changed(line.value))
            continue
        default = None if line.value is None else _value(owner, line.value)
        yield Option(name=names.get(name, name).replace("_", "-"), field=name, kind=_kind(owner, line.annotation),
                     default=default, about=_comment(owner, line, node),
                     group=placed.get(name, "needed" if default is None else "rest"))


def _inner(module: _Module, node: ast.ClassDef, prefix: str, changed: dict[str, ast.AST]) -> Iterator[Option]:
    """The options of a dataclass inside another, called `prefix.name`, with the values that the outer one sets."""
    for option in _options(module, node):
        given = changed.get(option.field)
        yield Option(name=f"{prefix}.{option.name}", field=option.field, kind=option.kind, about=option.about,
                     default=option.default if given is None else _value(module, given), group="rest")


def _changed(value: ast.AST | None) -> dict[str, ast.AST]:
    """The keywords of `field(default_factory=lambda: Part.Config(key=value))`."""
    for keyword in value.keywords if isinstance(value, ast.Call) else ():
        if keyword.arg == "default_factory" and isinstance(keyword.value, ast.Lambda):
            assert isinstance(keyword.value.body, ast.Call)
            return {str(part.arg): part.value for part in keyword.value.body.keywords}
    return {}


def _fields(module: _Module, node: ast.ClassDef) -> Iterator[tuple[_Module, ast.AnnAssign]]:
    for base in node.bases:
        above = _look_up(module, base)
        if above and isinstance(above[1], ast.ClassDef):
            yield from _fields(above[0], above[1])
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and not ast.unparse(line.annotation).startswith("ClassVar"):
            yield module, line


def _variable(module: _Module, node: ast.ClassDef, name: str) -> dict[str, str]:
    """A class variable that is a table of words; entries of a class and its bases under one key are joined."""
    found: dict[str, str] = {}
    for base in node.bases:
        above = _look_up(module, base)
        if above and isinstance(above[1], ast.ClassDef):
            found = _variable(above[0], above[1], name)
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.target.id == name:
            assert line.value is not None
            for key, words in ast.literal_eval(line.value).items():
                found[key] = f"{found[key]} {words}" if key in found else words
    return found


def _kind(module: _Module, node: ast.AST) -> str:
    if isinstance(node, ast.BinOp):  # a union: None is told by the default
        sides = [side for side in (node.left, node.right) if not isinstance(side, ast.Constant)]
        return "|".join(_kind(module, side) for side in sides)
    if isinstance(node, ast.Subscript):
        inside = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if ast.unparse(node.value).endswith("Literal"):
            return "{" + ",".join(str(ast.literal_eval(part)) for part in inside) + "}"
        kinds = [_kind(module, part) for part in inside if not (isinstance(part, ast.Constant))]
        many = len(kinds) < len(inside) or ast.unparse(node.value) == "list"
        return f"[{kinds[0]} ...]" if many else " ".join(kinds)
    if isinstance(node, ast.Name) and node.id in _KINDS:
        return _KINDS[node.id]
    found = _look_up(module, node)
    assert found is not None, f"{module.name}: {ast.unparse(node)}: no kind of option that is known"
    return _kind(*found)


def _value(module: _Module, node: ast.AST) -> str:
    """A default as the command line wants it."""
    if isinstance(node, ast.Constant):
        return spelt(node.value)
    if isinstance(node, ast.Tuple):
        return " ".join(_value(module, part) for part in node.elts)
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "Path" and node.args:
        return _value(module, node.args[0])
    if (found := _look_up(module, node)) is not None:
        return _value(*found)
    return ast.unparse(node)


def spelt(value: Any) -> str:
    """A value as the command line wants it; "" for one that is not given."""
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " ".join(map(spelt, value))
    return f"{value:g}" if isinstance(value, float) and (value == 0 or 1e-4 <= abs(value) < 1e6) else str(value)


def _comment(module: _Module, line: ast.AnnAssign, owner: ast.ClassDef) -> str:
    """The comment behind a field, or the block right above it (not a heading, which has a blank line above), or the
    string below it.
    """
    last, column = (line.end_lineno or line.lineno) - 1, line.end_col_offset or 0
    behind = module.lines[last].encode()[column:].decode().strip()
    if behind.startswith("#"):
        return behind.lstrip("# ")
    above: list[str] = []
    for text in reversed(module.lines[: line.lineno - 1]):
        if not text.strip().startswith("#"):
            if not text.strip():
                above = []
            break
        above.insert(0, text.strip().lstrip("# "))
    if above:
        return " ".join(above)
    place = owner.body.index(line) + 1 if line in owner.body else len(owner.body)
    below = owner.body[place] if place < len(owner.body) else None
    if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
        return " ".join(below.value.value.split())
    return ""
