"""Places that cannot be written to, disks that refuse, numbers that cannot be."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_options import CPU, TINY

Call = Callable[..., tuple[int, str, str]]


OUTS: dict[str, list[str]] = {
    "simulate": ["simulate", "digits", "--count", "3"],
    "train": ["train", "simgan", "--synthetic", "eyes", "--real", "photos", *TINY["simgan"]],
    "apply": ["apply", "refiner", "--input", "eyes", *CPU],
    "evaluate": ["evaluate", "gaze", "--data", "eyes", *CPU],
}
every_out = pytest.mark.parametrize("name", OUTS)


def words_to(name: str, road: Path, out: Path) -> list[str]:
    command, *rest = OUTS[name]
    keep = rest[:1] if command in ("train", "simulate") else []
    paths = {part: str(road / part) for part in ("photos", "eyes", "refiner", "gaze")}
    return [command, *keep, *[paths.get(word, word) for word in rest[len(keep):]], "--out", str(out)]


@every_out
def test_out_is_a_file(name: str, road: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "out").write_text("mine")
    assert "out: " in refused(*words_to(name, road, tmp_path / "out"))
    assert "out" in refused(*words_to(name, road, tmp_path / "out" / "below"))
    assert (tmp_path / "out").read_text() == "mine"


@every_out
def test_out_holds_something_else(name: str, road: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    assert "holds other files" in refused(*words_to(name, road, tmp_path / "out"))
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_the_folder_of_pairs_a_study_and_a_demo_hold_something_else(road: Path, tmp_path: Path,
                                                                    refused: Callable[..., str]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    for words in (["simulate", "noise", "--input", road / "photos"], ["demo", "eyes"], ["demo"],
                  ["study", "gaze", "--preset", "quick"]):
        line = refused(*words, "--out", tmp_path / "out")
        assert "holds other files" in line, line
        assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_figures_of_two_judges_lie_in_one_folder(road: Path, tmp_path: Path, call: Call) -> None:
    looks = ["looks", "--synthetic", road / "eyes", "--photos", road / "photos"]
    for words in (["gaze", "--data", road / "eyes", *CPU], looks,
                  ["gaze", "--data", road / "eyes", *CPU]):
        code, _, complaint = call("evaluate", *[road / "gaze" if word == "gaze" else word for word in words],
                                  "--out", tmp_path / "out")
        assert code == 0, complaint


def test_a_refused_damage_leaves_no_folder(tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", np.full((3, 8, 8), np.nan, np.float32))
    assert "a.npy" in refused("simulate", "sensor", "--input", tmp_path / "in", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@every_out
@pytest.mark.parametrize(("number", "advice"), [(errno.ENOSPC, "disk is full"), (errno.EACCES, "permission"),
                                                (errno.EROFS, "read-only")])
def test_a_disk_that_refuses(name: str, number: int, advice: str, road: Path, tmp_path: Path,
                             refused: Callable[..., str], call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is half written, and once there is room the same command continues to the end."""
    replace = os.replace
    written: list[str] = []

    def full(source: Any, target: Any, **more: Any) -> None:
        written.append(str(target))
        if len(written) > 1 or name == "evaluate":
            raise OSError(number, os.strerror(number), str(target))
        replace(source, target, **more)

    monkeypatch.setattr(os, "replace", full)
    assert advice in refused(*words_to(name, road, tmp_path / "out"))
    assert not list((tmp_path / "out").rglob("*.partial"))
    monkeypatch.setattr(os, "replace", replace)
    code, _, complaint = call(*words_to(name, road, tmp_path / "out"))
    assert code == 0, complaint


def test_a_full_disk_while_logging(road: Path, tmp_path: Path, refused: Callable[..., str],
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    """metrics.jsonl is appended to, not replaced."""
    def full(number: int) -> None:
        if os.readlink(f"/proc/self/fd/{number}").endswith("metrics.jsonl"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert "disk is full" in refused(*words_to("train", road, tmp_path / "out"))


def test_export_where_it_cannot(road: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "is a folder" in refused("export", road / "gaze", "--out", tmp_path)
    assert "no such folder" in refused("export", road / "gaze", "--out", tmp_path / "no" / "model.onnx")
    assert "no such folder" in refused("export", tmp_path / "no", "--out", tmp_path / "model.onnx")


@pytest.mark.parametrize("words", [
    ["--steps", "0"], ["--batch-size", "0"], ["--batch-size", "-3"], ["--log-every", "0"], ["--checkpoint-every", "0"],
    ["--sample-every", "-1"], ["--features", "0"], ["--height", "-5"],
])
@pytest.mark.parametrize("name", ["gaze", "classifier", "simgan"])
def test_numbers_that_cannot_be(name: str, words: list[str], road: Path, tmp_path: Path,
                                refused: Callable[..., str]) -> None:
    data = ["--data", road / "refined"] if name == "gaze" else ["--data", road / "classes"]
    if name == "simgan":
        data = ["--synthetic", road / "eyes", "--real", road / "photos"]
    refused("train", name, *data, "--out", tmp_path / "out", *TINY[name], *words)
    assert not (tmp_path / "out" / "config.json").exists()


def test_numbers_that_cannot_be_elsewhere(road: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    out = tmp_path / "out"
    refused("simulate", "digits", "--out", out, "--count", "0")
    refused("apply", road / "refiner", "--input", road / "eyes", "--out", out, "--batch-size", "0")
    refused("apply", road / "refiner", "--input", road / "eyes", "--out", out, "--variants", "0")
    refused("evaluate", road / "gaze", "--data", road / "eyes", "--batch-size", "0")
    assert not out.exists()
    assert "no further words" in refused("list", "simulators")
