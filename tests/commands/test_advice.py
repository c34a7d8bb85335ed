"""Advice: whatever a message tells the user to type can be typed, and does no harm."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import migaki
from migaki.cli import COMMANDS

PACKAGE = Path(migaki.__file__).parent
ELSEWHERE = {"--head", "--from"}  # of `ray start`; the field `source` of `apply material`


@pytest.fixture(scope="module")
def trees() -> dict[Path, ast.Module]:
    """Every file of the package. Not while tests are collected, which every worker does."""
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


def text_of(node: ast.AST) -> str:
    """The text that stands in a call, with X for what is filled in, and one space for each line's end."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return text_of(node.value) if isinstance(node.value, ast.IfExp) else "X"
    return " ".join(text_of(part) for part in ast.iter_child_nodes(node))


def messages(trees: dict[Path, ast.Module]) -> list[tuple[str, str]]:
    """Where each error and notice of ours is made, and its text."""
    found = []
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in (
                    "UserError", "NothingLeft", "notice"):
                found.append((f"{path.relative_to(PACKAGE)}:{node.lineno}", text_of(node)))
    return found


def options(trees: dict[Path, ast.Module]) -> set[str]:
    """All fields of dataclasses, and what commands take besides."""
    names = {item.target.id for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
             for item in node.body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)}
    names |= {word.arg for path, tree in trees.items() if path.parent.name == "commands" for node in ast.walk(tree)
              if isinstance(node, ast.Call) for word in node.keywords if word.arg}
    return {"--" + name.replace("_", "-") for name in names | {"help", "help-all", "version", "preset", "config"}}


def wrong(text: str, known: set[str]) -> list[str]:
    """What a message tells the user to type and cannot be typed, or does harm."""
    found = [option for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", text)
             if option not in known and option.replace("--no-", "--", 1) not in known]
    found += [command for command in re.findall(r"`migaki ([a-z]+)", text) if command not in COMMANDS]
    if re.search(r"\b(?!X)[a-z_]+=[(\w]", text):
        found.append("an argument of Python")
    if re.search(r"delete (the|or replace the) (file|render|image)\b|restore or delete", text):
        found.append("advice to delete")
    return found


def test_what_a_message_names_exists(trees: dict[Path, ast.Module]) -> None:
    every, known = messages(trees), options(trees) | ELSEWHERE
    assert len(every) > 1000
    assert [(place, fault, text) for place, text in every for fault in wrong(text, known)] == []


@pytest.mark.parametrize("text", ["give --nothing", "run `migaki fly`", "give count=3", "delete the file"])
def test_a_message_that_misleads_is_found(text: str) -> None:
    assert wrong(text, {"--count"}) and not wrong("run `migaki train` with another --count", {"--count"})
