"""The judge of captures: figures, the plan of the cameras, the table; a set without cameras is refused."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from migaki.core.errors import UserError
from migaki.data.writers.writer import FolderWriter
from migaki.importers.importer import decimals
from migaki.judges.captures import Captures
from migaki.ops.camera import ring
from migaki.ops.camera_poses import to_axes
from migaki.stages.evaluate import judge_into, run_judge


def capture(out: Path, axes: str = "opencv", count: int = 6) -> Path:
    draw = np.random.default_rng(0)
    scene = {"bounds": [[-1, -1, -1], [1, 1, 1]], "near": 2, "far": 6, "background": None}
    with FolderWriter(out, {"scene": scene}, count) as writer:
        for number, pose in enumerate(to_axes(ring(count, 4.0, 25.0).numpy(), axes)):
            image = np.zeros((3, 20, 24), np.uint8) if number == 2 else draw.integers(0, 256, (3, 20, 24), np.uint8)
            writer.write(number, f"{number}", image, {
                "camera_to_world": decimals(pose), "intrinsics": [30.0, 30.0, 12.0, 10.0],
                "split": "train" if number else "test"})
    return out


def test_figures_plan_and_table(tmp_path: Path) -> None:
    out, found = judge_into(Captures(Captures.Config(data=capture(tmp_path / "set"))), (), tmp_path / "out", quiet=True)
    assert found.figures["pictures"] == 6 and found.figures["look_away"] == 0 and found.figures["aim_deg"] < 0.1
    assert any("nearly black" in note and "(2.png)" in note for note in found.notes)
    plan = Image.open(io.BytesIO(found.sections[0].picture or b""))
    colours = {colour for _, colour in plan.convert("RGB").getcolors(1 << 16) or []}
    assert {(205, 45, 45), (24, 140, 90), (38, 98, 175)} <= colours, "odd, testing and training cameras"
    rows = list(csv.DictReader((out / "captures.csv").read_text().splitlines()))
    assert [row["split"] for row in rows] == ["test", *["train"] * 5] and float(rows[2]["black"]) == 1


def test_a_wrong_convention_is_said(tmp_path: Path) -> None:
    found = run_judge(Captures(Captures.Config(data=capture(tmp_path / "set", "opengl"))), quiet=True)
    assert found.figures["look_away"] == 6
    assert any("flip axes y and z" in note for note in found.notes)


def test_a_set_without_cameras(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="has no column 'camera_to_world'"):
        run_judge(Captures(Captures.Config(data=tmp_path)), quiet=True)
