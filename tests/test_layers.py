"""Imports point one way, function-level imports included; so the module graph of the package has no cycle."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "migaki"

LEVELS: tuple[set[str], ...] = (
    {"cli", "__main__"}, {"api"}, {"commands"}, {"web", "studies"}, {"lab"}, {"stages"}, {"judges"}, {"report"},
    {"systems", "changes", "importers"}, {"simulate", "data", "metrics", "losses", "nets"}, {"ops", "core"},
)
"""From the roof to the ground. Nobody imports upwards, and neighbours on a level do not know each other."""

LEVEL = {part: number for number, parts in enumerate(LEVELS) for part in parts}
FILES = sorted(PACKAGE.rglob("*.py"))


def part_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def module_name(path: Path) -> str:
    return ".".join(("migaki", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def is_module(name: str) -> bool:
    path = PACKAGE.parent.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def imported(path: Path) -> set[str]:
    """Our own modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if is_module(name) else str(node.module) for name in below}
    return {name for name in found if name.split(".")[0] == "migaki"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_below(path: Path) -> None:
    here = part_of(module_name(path))
    for name in imported(path):
        there = part_of(name)
        allowed = not there or here == there or (here in LEVEL and LEVEL[there] > LEVEL[here])
        # `python -m migaki` is the command line under another name.
        assert allowed or (here, there) == ("__main__", "cli"), f"{module_name(path)} must not import {name}"


def test_every_part_has_its_level() -> None:
    parts = {part_of(module_name(path)) for path in FILES} - {""}
    assert parts <= set(LEVEL), f"give {parts - set(LEVEL)} a level here and in docs/design.md"


def test_no_cycle_inside_a_part() -> None:
    graph = {module_name(path): imported(path) for path in FILES}
    done: set[str] = set()

    def visit(name: str, road: tuple[str, ...]) -> None:
        assert name not in road, " -> ".join((*road[road.index(name):], name))
        if name not in done:
            for below in sorted(graph.get(name, ())):
                visit(below, (*road, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_packages_hold_no_logic() -> None:
    """But for the package itself, which finds its calls when they are first asked for, and imports nothing of ours."""
    assert not imported(PACKAGE / "__init__.py")
    for path in PACKAGE.rglob("__init__.py"):
        if path.parent == PACKAGE:
            continue
        body = ast.parse(path.read_text(encoding="utf-8")).body
        rest = [node for node in body if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))]
        assert not rest, path
