"""The commands of the README on tiny data: the output of each, and that none is done twice."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_options import CPU, TINY, rows_of

HAVE_ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime", "onnxscript"))

Call = Callable[..., tuple[int, str, str]]


def test_simulated_eyes_have_gaze(road: Path) -> None:
    rows = rows_of(road / "eyes")
    assert len(rows) == 6 and {"gaze_pitch", "gaze_yaw", "pupil_x"} <= set(rows[0])
    assert (road / "eyes" / "dataset.json").exists()
    assert Image.open(road / "eyes" / rows[0]["file_name"]).size == (40, 24)


def test_a_run_leaves_its_files(road: Path) -> None:
    for run in ("refiner", "gaze", "classifier"):
        for name in ("config.json", "metrics.jsonl", "model.safetensors", "checkpoint", "README.md"):
            assert (road / run / name).stat().st_size > 0, name
        steps = [json.loads(line)["step"] for line in (road / run / "metrics.jsonl").read_text().splitlines()]
        assert steps == [1, 2, 3]
    assert {p.name for p in (road / "refiner" / "samples").iterdir()} == {"000000.png", "000002.png", "000003.png"}
    assert not [p for p in road.rglob("*") if p.suffix == ".partial" or p.name == ".lock"]


def test_apply_keeps_names_and_labels(road: Path) -> None:
    before, after = rows_of(road / "eyes"), rows_of(road / "refined")
    assert [{k: v for k, v in row.items() if not k.endswith("file_name")} for row in before] == [
        {k: v for k, v in row.items() if not k.endswith("file_name")} for row in after]
    assert [Path(row["file_name"]).stem for row in before] == [Path(row["file_name"]).stem for row in after]


def test_evaluate_writes_figures(road: Path) -> None:
    figures = json.loads((road / "gaze" / "evaluation" / "evaluation.json").read_text())["figures"]
    assert any(isinstance(value, float) and 0 < value < 180 for value in figures.values())


def test_everything_again_changes_nothing(road: Path, call: Call) -> None:
    files = [p for p in road.rglob("*") if p.is_file()]
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files if path.name != "metrics.jsonl"}
    train = ["train", "simgan", "--synthetic", road / "eyes", "--real", road / "photos", "--out", road / "refiner"]
    assert call(*train, *TINY["simgan"])[0] == 0
    assert call("apply", road / "refiner", "--input", road / "eyes", "--out", road / "refined", *CPU)[0] == 0
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before


def test_a_run_of_other_options_is_refused(road: Path, refused: Callable[..., str]) -> None:
    train = ["train", "simgan", "--synthetic", road / "eyes", "--real", road / "photos", "--out", road / "refiner"]
    assert "steps: 3 there, 4 asked for" in refused(*train, *TINY["simgan"], "--steps", "4")
    assert "data.real" in refused(*train, *TINY["simgan"], "--real", road / "eyes")


def test_begin_again(road: Path, copied: Callable[[str], Path], call: Call) -> None:
    out = copied("classifier")
    words = ["train", "classifier", "--data", road / "classes", "--out", out, *TINY["classifier"], "--steps", "2"]
    assert call(*words, "--no-resume")[0] == 0
    assert json.loads((out / "config.json").read_text())["config"]["steps"] == 2
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 2


@pytest.mark.skipif(not HAVE_ONNX, reason="needs the extra migaki[export]")
@pytest.mark.usefixtures("one_operator_table")
@pytest.mark.parametrize("run", ["refiner", pytest.param("gaze", marks=pytest.mark.long)])
def test_export_is_checked_with_onnxruntime(run: str, road: Path, tmp_path: Path, call: Call) -> None:
    import onnxruntime

    code, said, complaint = call("export", road / run, "--out", tmp_path / "model.onnx")
    assert code == 0 and "differ by at most" in said, complaint
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    for batch in (1, 5):
        draw = np.random.default_rng(0)
        fed = {one.name: draw.random((batch, *one.shape[1:]), np.float32) for one in session.get_inputs()}
        assert fed["image"].shape == (batch, 1, 24, 40)
        made = session.run(None, fed)
        assert len(made[0]) == batch and np.isfinite(made[0]).all()
