"""Each study's default plan is one that can be run: no step twice, no folder that two steps write."""

from __future__ import annotations

from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from migaki.core.discovery import find_class, names_in
from migaki.lab.chain import _keys
from migaki.lab.study import Study


def defaults(cls: Any, folder: Path) -> Any:
    """The default configuration; what has no default is a folder."""
    given: dict[str, Any] = {}
    for field in fields(cls):
        if field.default is MISSING and field.default_factory is MISSING:
            path = folder / field.name
            path.mkdir(exist_ok=True)
            given[field.name] = (path,) if "tuple" in str(field.type) else path
    return cls(**given)


# These read the folders that they are given before they plan; each has a small run of its own.
READERS = ("attacks", "backbones", "copies", "few_labels", "forgeries", "label_free", "pretrained_task", "pretraining",
           "pupils", "reranking")


@pytest.mark.parametrize("name", [name for name in names_in("studies", "Study") if name not in READERS])
def test_the_default_plan_can_be_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = find_class("studies", name, Study)
    plan = study(defaults(study.Config, tmp_path)).plan(tmp_path / "out", True)
    assert _keys([step for phase in plan.phases for step in phase.steps], tmp_path / "out")
