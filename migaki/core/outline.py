"""Read the options of a dataclass from its source, so that `--help` is fast: no large library is imported.

A class is named by a reference, `module:Class` or `module:Class.Inner`. Two optional class variables, both plain
literals, control how the command line shows the fields:

    GROUPS: ClassVar[dict[str, str]] = {"usual": "steps batch_size", "network": "features blocks"}
    NAMES: ClassVar[dict[str, str]] = {"real": "photos"}

`GROUPS` assigns fields to sections of the help. A field without a default is in `needed`; a field that is not listed
is in `rest`. `NAMES` gives a field another name on the command line; its own name is accepted as well.
"""

from __future__ import annotations

import ast
import functools
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from migaki.core.source_names import Module, bases_of, find_class, look_up, parsed

GROUPS = ("needed", "usual", "run", "network", "rest")
_KINDS = {"int": "INT", "float": "FLOAT", "str": "TEXT", "Path": "PATH", "bool": "FLAG"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """One option: its name on the command line, the values it takes, and its comment in the source."""

    name: str  # with hyphens, without the leading ones; `rain.angle-deg` inside a part
    field: str  # of the dataclass
    kind: str  # such as "INT", "FLOAT FLOAT", "{adam,sgd}"; FLAG takes nothing
    default: str | None  # as written on the command line; None = required
    about: str = ""
    group: str = "rest"
    positional: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Outline:
    """A dataclass: its docstring, its options, and the presets that its class methods return."""

    about: str
    options: tuple[Option, ...]
    presets: tuple[str, ...] = ()


def outline(reference: str) -> Outline:
    """Returns the options of the dataclass that `reference` names, those of its base classes first."""
    module, node = find_class(reference)
    options = tuple(_options(module, node))
    presets = tuple(part.name for part in node.body if isinstance(part, ast.FunctionDef) and
                    any(isinstance(mark, ast.Name) and mark.id == "classmethod" for mark in part.decorator_list))
    return Outline(about=ast.get_docstring(node) or "", options=options, presets=presets)


def class_in(package: str, name: str, base: str) -> str:
    """Returns the reference of the subclass of `base` in `migaki/<package>/<name>.py`."""
    module = parsed(f"migaki.{package}.{name}")
    for node in module.tree.body:
        if isinstance(node, ast.ClassDef) and base in [ast.unparse(b).rsplit(".", 1)[-1] for b in node.bases]:
            return f"{module.name}:{node.name}"
    raise LookupError(f"{module.name} defines no {base}")


def docstring(reference: str) -> str:
    """Returns the docstring of a class."""
    return ast.get_docstring(find_class(reference)[1]) or ""


def literal(reference: str, name: str, default: Any) -> Any:
    """Returns the value that the class itself gives to `name`, read from its source as the options are."""
    for line in find_class(reference)[1].body:
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == name:
            return ast.literal_eval(line.value)
    return default


def load(reference: str) -> Any:
    """Import the module of a class and return the class."""
    module, _, path = reference.partition(":")
    return functools.reduce(getattr, path.split("."), importlib.import_module(module))


def _options(module: Module, node: ast.ClassDef) -> Iterator[Option]:
    groups, names = _variable(module, node, "GROUPS"), _variable(module, node, "NAMES")
    placed = {word: group for group, words in groups.items() for word in words.split()}
    unknown = set(groups) - set(GROUPS)
    assert not unknown, f"{module.name}: {node.name}: no group is called {', '.join(unknown)}"
    for owner, line in _fields(module, node):
        assert isinstance(line.target, ast.Name)
        name = line.target.id
        found = look_up(owner, line.annotation)
        if found and isinstance(found[1], ast.ClassDef):
            yield from _inner(found[0], found[1], name.replace("_", "-"), _changed(line.value))
            continue
        default = None if line.value is None else _value(owner, line.value)
        yield Option(name=names.get(name, name).replace("_", "-"), field=name, kind=_kind(owner, line.annotation),
                     default=default, about=_comment(owner, line, node),
                     group=placed.get(name, "needed" if default is None else "rest"))


def _inner(module: Module, node: ast.ClassDef, prefix: str, changed: dict[str, ast.AST]) -> Iterator[Option]:
    """Yields the options of a nested dataclass as `prefix.name`, with the defaults that the outer dataclass sets."""
    for option in _options(module, node):
        given = changed.get(option.field)
        yield Option(name=f"{prefix}.{option.name}", field=option.field, kind=option.kind, about=option.about,
                     default=option.default if given is None else _value(module, given), group="rest")


def _changed(value: ast.AST | None) -> dict[str, ast.AST]:
    """Returns the keyword arguments in `field(default_factory=lambda: Part.Config(key=value))`."""
    for keyword in value.keywords if isinstance(value, ast.Call) else ():
        if keyword.arg == "default_factory" and isinstance(keyword.value, ast.Lambda):
            assert isinstance(keyword.value.body, ast.Call)
            return {str(part.arg): part.value for part in keyword.value.body.keywords}
    return {}


def _fields(module: Module, node: ast.ClassDef) -> Iterator[tuple[Module, ast.AnnAssign]]:
    yield from _by_name(module, node).values()


def _by_name(module: Module, node: ast.ClassDef) -> dict[str, tuple[Module, ast.AnnAssign]]:
    """Returns where each field is said last; one that a class says anew keeps its base's place, as in dataclasses."""
    found: dict[str, tuple[Module, ast.AnnAssign]] = {}
    for above in bases_of(module, node):
        found |= _by_name(*above)
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and not ast.unparse(line.annotation).startswith("ClassVar"):
            found[ast.unparse(line.target)] = module, line
    return found


def _variable(module: Module, node: ast.ClassDef, name: str) -> dict[str, str]:
    """Returns a class variable of type dict[str, str]; entries of a class and its bases under one key are joined."""
    found: dict[str, str] = {}
    for above in bases_of(module, node):
        found = _variable(*above, name)
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.target.id == name:
            assert line.value is not None
            for key, words in ast.literal_eval(line.value).items():
                found[key] = f"{found[key]} {words}" if key in found else words
    return found


def _kind(module: Module, node: ast.AST) -> str:
    if isinstance(node, ast.BinOp):  # a union with None: the default shows that None is allowed
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
    found = look_up(module, node)
    assert found is not None, f"{module.name}: {ast.unparse(node)}: no kind of option that is known"
    return _kind(*found)


def _value(module: Module, node: ast.AST) -> str:
    """Returns a default as it is written on the command line."""
    if isinstance(node, ast.Tuple):
        return " ".join(_value(module, part) for part in node.elts)
    if isinstance(node, ast.Constant | ast.UnaryOp):
        return spelt(ast.literal_eval(node))
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "Path" and node.args:
        return _value(module, node.args[0])
    if (found := look_up(module, node)) is not None:
        return _value(*found)
    return ast.unparse(node)


def spelt(value: Any) -> str:
    """Returns a value as it is written on the command line; "" for None."""
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " ".join(map(spelt, value))
    return f"{value:g}" if isinstance(value, float) and (value == 0 or 1e-4 <= abs(value) < 1e6) else str(value)


def _comment(module: Module, line: ast.AnnAssign, owner: ast.ClassDef) -> str:
    """Returns the comment of a field: at the end of its line, in the block directly above it, or as a string below it.

    A comment block with a blank line above it is a heading and does not count.
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
