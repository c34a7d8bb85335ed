"""Advice: whatever a message tells the user to type can be typed, and does no harm."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import migaki
from migaki.cli import COMMANDS

PACKAGE = Path(migaki.__file__).parent
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}
ELSEWHERE = {"--head", "--from"}  # of `ray start`; the field `source` of `apply material`


def text_of(node: ast.AST) -> str:
    """The text that stands in a call, with X for what is filled in, and one space for each line's end."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return text_of(node.value) if isinstance(node.value, ast.IfExp) else "X"
    return " ".join(text_of(part) for part in ast.iter_child_nodes(node))


def messages() -> list[tuple[str, str]]:
    """Where each error and notice of ours is made, and its text."""
    found = []
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in (
                    "UserError", "NothingLeft", "notice"):
                found.append((f"{path.relative_to(PACKAGE)}:{node.lineno}", text_of(node)))
    return found


def options() -> set[str]:
    """All fields of dataclasses, and what commands take besides."""
    names = {item.target.id for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
             for item in node.body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)}
    names |= {word.arg for path, tree in TREES.items() if path.parent.name == "commands" for node in ast.walk(tree)
              if isinstance(node, ast.Call) for word in node.keywords if word.arg}
    return {"--" + name.replace("_", "-") for name in names | {"help", "help-all", "version", "preset", "config"}}


MESSAGES, KNOWN = messages(), options() | ELSEWHERE


@pytest.mark.parametrize(("place", "text"), MESSAGES, ids=[place for place, _ in MESSAGES])
def test_what_a_message_names_exists(place: str, text: str) -> None:
    for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", text):
        assert option in KNOWN or option.replace("--no-", "--", 1) in KNOWN, f"{option}: {text}"
    for command in re.findall(r"`migaki ([a-z]+)", text):
        assert command in COMMANDS, text
    assert not re.search(r"\b(?!X)[a-z_]+=[(\w]", text), f"an argument of Python: {text}"
    assert not re.search(r"delete (the|or replace the) (file|render|image)\b|restore or delete", text), text


def test_the_messages_are_found() -> None:
    assert len(MESSAGES) > 200
