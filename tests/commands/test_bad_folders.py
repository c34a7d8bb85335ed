"""Faulty folders and labels: every mistake is reported in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from spoilt import (
    a_file,
    climbing_out,
    empty,
    missing,
    with_a_truncated_jpeg,
    with_an_empty_file,
    with_broken_metadata,
    with_text_for_an_image,
    without_a_named_file,
)
from tiny_options import CPU, TINY, rows_of
from toy_folders import write_folder

Call = Callable[..., tuple[int, str, str]]


USES: dict[str, list[str]] = {
    "simgan, synthetic": ["train", "simgan", "--synthetic", "BAD", "--real", "photos", *TINY["simgan"]],
    "simgan, real": ["train", "simgan", "--synthetic", "eyes", "--real", "BAD", *TINY["simgan"]],
    "gaze": ["train", "gaze", "--data", "BAD", *TINY["gaze"]],
    "gaze, photos": ["train", "gaze", "--data", "eyes", "--photos", "BAD", *TINY["gaze"]],
    "classifier": ["train", "classifier", "--data", "BAD", *TINY["classifier"]],
    "apply": ["apply", "refiner", "--input", "BAD", *CPU],
    "evaluate": ["evaluate", "gaze", "--data", "BAD", *CPU],
}
every_use = pytest.mark.parametrize("use", USES)


def words_for(use: str, bad: Path, road: Path, out: Path) -> list[str]:
    places = {"BAD": str(bad), **{name: str(road / name) for name in ("photos", "eyes", "refiner", "gaze")}}
    command, *rest = USES[use]
    keep = rest[:1] if command == "train" else []
    return [command, *keep, *[places.get(word, word) for word in rest[len(keep):]], "--out", str(out)]


@every_use
@pytest.mark.parametrize("spoil", [
    with_text_for_an_image, with_a_truncated_jpeg, with_an_empty_file, without_a_named_file, climbing_out,
    with_broken_metadata, empty, missing, a_file,
])
def test_bad_folders(use: str, spoil: Callable[[Path], None], road: Path, tmp_path: Path,
                     refused: Callable[..., str]) -> None:
    bad = write_folder(tmp_path / "bad", 4, (24, 40))
    spoil(bad)
    line = refused(*words_for(use, bad, road, tmp_path / "out"))
    assert "bad" in line
    left = [p.name for p in (tmp_path / "out").rglob("*")] if (tmp_path / "out").exists() else []
    assert not [name for name in left if name.endswith(".partial") or name in ("config.json", "dataset.json",
                                                                              "metadata.jsonl", "evaluation.json")]


@pytest.mark.parametrize(("use", "change", "expected"), [
    ("gaze", {"gaze_pitch": float("nan")}, "not finite"), ("gaze", {"gaze_pitch": None}, "not finite"),
    ("gaze", {"gaze_yaw": "left"}, "gaze"), ("gaze", {"gaze_pitch": float("inf")}, "not finite"),
    ("evaluate", {"gaze_pitch": float("nan")}, "not finite"), ("evaluate", {"gaze_yaw": "left"}, "gaze"),
    ("classifier", {"label": float("nan")}, "label"), ("classifier", {"label": None}, "label"),
    ("classifier", {"label": "cat"}, "label"), ("classifier", {"label": -1}, "label"),
    ("classifier", {"label": 0.5}, "label"), ("classifier", {"label": [1, 2]}, "label"),
])
def test_bad_labels(use: str, change: dict[str, Any], expected: str, road: Path, tmp_path: Path,
                    refused: Callable[..., str]) -> None:
    bad = write_folder(tmp_path / "bad", 4, (24, 40))
    rows = rows_of(bad)
    rows[2] |= change
    (bad / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert expected in refused(*words_for(use, bad, road, tmp_path / "out"))
    assert not (tmp_path / "out" / "config.json").exists()


@pytest.mark.parametrize(("use", "change"), [
    ("classifier", {"label": [1, 2]}), ("classifier", {"label": 0.5}), ("classifier", {"label": -1}),
    ("classifier", {"label": True}), ("gaze", {"gaze_pitch": 20.0}),
])
def test_labels_that_are_wrong_everywhere(use: str, change: dict[str, Any], road: Path, tmp_path: Path,
                                          call: Call) -> None:
    bad = write_folder(tmp_path / "bad", 4, (24, 40))
    (bad / "metadata.jsonl").write_text("".join(json.dumps(row | change) + "\n" for row in rows_of(bad)))
    code, _, complaint = call(*words_for(use, bad, road, tmp_path / "out"))
    assert code == 2 or change == {"label": True}, complaint
    assert "Traceback" not in complaint


@pytest.mark.parametrize("use", ["gaze", "evaluate", "classifier"])
def test_missing_labels(use: str, road: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    bad = write_folder(tmp_path / "bad", 4, (24, 40), labels=())
    assert "has no label" in refused(*words_for(use, bad, road, tmp_path / "out"))


@every_use
@pytest.mark.parametrize("size", [(1, 1), (24, 20_000), (3000, 4)])
def test_extreme_sizes_among_others(use: str, size: tuple[int, int], road: Path, tmp_path: Path, call: Call) -> None:
    """Where a size was decided, everything is brought to it; where this folder decides, it must be of one size."""
    bad = write_folder(tmp_path / "bad", 3, (24, 40))
    Image.fromarray(np.full(size, 100, np.uint8)).save(bad / "001.png")
    code, _, complaint = call(*words_for(use, bad, road, tmp_path / "out"))
    decides = use in ("simgan, synthetic", "gaze", "classifier")
    assert code == (2 if decides else 0), complaint
    if decides:
        assert complaint.count("\n") == 1 and "differ in size" in complaint


@pytest.mark.parametrize("use", ["simgan, synthetic", "gaze", "classifier"])
def test_nothing_but_pixels(use: str, road: Path, tmp_path: Path, call: Call) -> None:
    bad = write_folder(tmp_path / "bad", 3, (1, 1))
    code, _, complaint = call(*words_for(use, bad, road, tmp_path / "out"))
    assert code == 2 and complaint.count("\n") == 1 and "too small" in complaint, complaint


@every_use
def test_mixed_channels(use: str, road: Path, tmp_path: Path, call: Call) -> None:
    bad = write_folder(tmp_path / "bad", 3, (24, 40))
    Image.fromarray(np.full((24, 40, 3), 100, np.uint8)).save(bad / "001.png")
    code, _, complaint = call(*words_for(use, bad, road, tmp_path / "out"))
    decides = use in ("simgan, synthetic", "gaze", "classifier")
    assert code == (2 if decides else 0), complaint
    assert not decides or ("channels" in complaint and complaint.count("\n") == 1)
