"""Other tasks than classes: a toy simulator of boxes, as docs/adapt.md has it, and one of numbers."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from migaki.cli import main
from migaki.data.folder import ImageFolder
from migaki.lab.adapt import budget

DOCS = Path(__file__).resolve().parents[2] / "docs" / "adapt.md"


@pytest.fixture
def simulate() -> Callable[..., None]:
    """The simulator of the docs."""
    code = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.S)[0]
    names: dict[str, Any] = {}
    exec(code, names)
    found: Callable[..., None] = names["simulate"]
    return found


def adapted(words: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(budget, "_TIMED", 1)
    monkeypatch.setattr("migaki.lab.adapt.leave.can_export", lambda: False)
    assert main(["adapt", *shlex.split(words), "--out", "out", "--seeds", "2", "--steps", "3"]) == 0
    found: dict[str, Any] = json.loads(Path("out/decision.json").read_text(encoding="utf-8"))
    return found


def test_a_simulator_of_twenty_lines(simulate: Callable[..., None], tmp_path: Path,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    simulate("plain", 50)
    assert main(["export", "plain", "--format", "yolo", "--out", "drawn"]) == 0  # a layout of others comes in ...
    simulate("taken", 24, seed=1)
    simulate("judged", 24, seed=2)
    found = adapted("drawn taken --labelled judged --arms plain matched --worths 10", monkeypatch)
    assert found["task"] == "boxes" and found["measure"] == "ap50" and found["size"] == [48, 48]
    test = ImageFolder("out/test")
    assert test.class_names("classes") == ("ball", "crate") and "boxes" in test.labels
    assert not ImageFolder("out/photos").labels
    exported = Path("out/chosen_set/yolo")  # ... and goes out
    assert sorted(names_in_yaml(exported)) == sorted(names_in_yaml(Path("drawn")))
    assert len(list(exported.rglob("*.txt"))) == len(ImageFolder("out/simulated"))


def names_in_yaml(folder: Path) -> list[str]:
    lines = (folder / "data.yaml").read_text().splitlines()
    return [line.strip() for line in lines if "ball" in line or "crate" in line]


def test_numbers_of_one_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, count, light in (("drawn", 60, 0), ("taken", 20, 60)):
        Path(name).mkdir()
        rows = []
        for index in range(count):
            height = (index * 7) % 12 + 0.5
            picture = np.full((16, 16), 60 + light, np.uint8)
            picture[int(height) :] = 180
            Image.fromarray(picture).save(f"{name}/{index:03d}.png")
            rows.append(json.dumps({"file_name": f"{index:03d}.png", **({"level": height} if not light else {})}))
        Path(name, "metadata.jsonl").write_text("\n".join(rows))
    found = adapted("drawn taken --arms plain augmented", monkeypatch)
    assert found["task"] == "numbers" and found["measure"] == "level_mae" and not found["higher_is_better"]
    assert found["helped"] is None
