"""Runs whose files are damaged, hostile, or of another kind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_options import CPU, TINY


def halve(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def uses_of(run: Path, road: Path, out: Path) -> list[list[str | Path]]:
    return [["apply", run, "--input", road / "eyes", "--out", out, *CPU],
            ["evaluate", run, "--data", road / "eyes", *CPU],
            ["export", run, "--out", out.with_suffix(".onnx")]]


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"system": 3}', '{"system": "../core/fit"}',
                                  '{"system": "gaze"}',
                                  '{"system": "gaze", "config": []}', '{"system": "gaze", "config": {"chanels": 1}}',
                                  '{"system": "gaze", "config": {"channels": "one"}}'])
def test_damaged_config(text: str, road: Path, tmp_path: Path, copied: Callable[[str], Path],
                        refused: Callable[..., str]) -> None:
    run = copied("gaze")
    (run / "config.json").write_text(text)
    for words in uses_of(run, road, tmp_path / "out"):
        refused(*words)
    refused("train", "gaze", "--data", road / "refined", "--photos", road / "photos", "--out", run, *TINY["gaze"])
    assert not (tmp_path / "out").exists() and (run / "config.json").read_text() == text


@pytest.mark.parametrize("spoil", [halve, Path.unlink, lambda path: path.write_bytes(b""),
                                   lambda path: path.write_bytes(b"rubbish" * 999)])
def test_damaged_model(spoil: Callable[[Path], Any], road: Path, tmp_path: Path, copied: Callable[[str], Path],
                       refused: Callable[..., str]) -> None:
    run = copied("gaze")
    spoil(run / "model.safetensors")
    for words in uses_of(run, road, tmp_path / "out"):
        assert "model.safetensors" in refused(*words)


def test_model_of_another_run(road: Path, tmp_path: Path, copied: Callable[[str], Path],
                              refused: Callable[..., str]) -> None:
    run = copied("gaze")
    shutil.copy(road / "classifier" / "model.safetensors", run)
    assert "belongs to another model" in refused(*uses_of(run, road, tmp_path / "out")[0])


@pytest.mark.parametrize("spoil", [halve, lambda path: path.write_bytes(b""),
                                   lambda path: path.write_bytes(b"rubbish" * 999)])
def test_damaged_checkpoint(spoil: Callable[[Path], Any], road: Path, copied: Callable[[str], Path],
                            refused: Callable[..., str]) -> None:
    run = copied("classifier")
    spoil(run / "checkpoint")
    words = ["train", "classifier", "--data", road / "classes", "--out", run, *TINY["classifier"]]
    assert "checkpoint" in refused(*words)


def test_a_checkpoint_runs_no_code(road: Path, tmp_path: Path, copied: Callable[[str], Path],
                                   refused: Callable[..., str]) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "owned",))

    run = copied("classifier")
    (run / "checkpoint").write_bytes(pickle.dumps({"step": Evil()}))
    refused("train", "classifier", "--data", road / "classes", "--out", run, *TINY["classifier"])
    assert not (tmp_path / "owned").exists()


def test_wrong_kinds_of_runs(road: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "no config.json" in refused("apply", road / "eyes", "--input", road / "eyes", "--out", tmp_path / "out")
    assert "evaluate the task model" in refused("evaluate", road / "refiner", "--data", road / "eyes")
    assert "--variants" in refused("apply", road / "gaze", "--input", road / "eyes", "--out", tmp_path / "out",
                                   "--variants", "3")
    assert "has no label 'no_column'" in refused("evaluate", road / "gaze", "--data", road / "eyes",
                                                 "--exclude", "no_column")
