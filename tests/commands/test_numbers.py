"""Numbers without sense on the command line: one line, whatever the command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from refusals import message

from migaki.cli import main
from migaki.core.discovery import find_class
from migaki.core.system import System
from migaki.stages.train import check_numbers

HUGE = 10**30


@pytest.mark.parametrize("words", [
    ["simulate", "digits", "--count", HUGE], ["simulate", "digits", "--count", 10**9],
    ["simulate", "digits", "--seed", HUGE],
    ["simulate", "digits", "--workers", HUGE], ["simulate", "digits", "--workers", 10**5],
    ["simulate", "digits", "--format", "parquet", "--shard", HUGE], ["simulate", "digits", "--size", 10**6],
    ["simulate", "eyes", "--height", 10**6], ["simulate", "eyes", "--supersample", 10**6],
    ["simulate", "eyes", "--eye-yaw-limit", 1e300], ["simulate", "hands", "--centre-jitter-mm", -1],
    ["simulate", "clouds", "--input", "SET", "--persistence", 10**9],
    ["simulate", "rain", "--input", "SET", "--seed", HUGE],
    ["simulate", "clouds", "--input", "SET", "--shadow-blur", -1],
    ["train", "classifier", "--data", "SET", "--features", 10**7],
    ["train", "classifier", "--data", "SET", "--steps", HUGE],
    ["train", "classifier", "--data", "SET", "--batch-size", 10**9],
    ["train", "classifier", "--data", "SET", "--dropout", 2],
    ["train", "classifier", "--data", "SET", "--label-smoothing", 2],
    ["train", "gaze", "--data", "SET", "--seed", -HUGE],
    ["train", "classifier", "--data", "SET", "--learning-rate", 1e300],
    ["frame", "--input", "SET", "--size", HUGE],
    ["apply", "SET", "--input", "SET", "--batch-size", HUGE], ["apply", "SET", "--input", "SET", "--variants", 10**9],
    ["evaluate", "SET", "--data", "SET", "--batch-size", HUGE], ["import", "photos", "SET", "--limit", HUGE],
    ["study", "gaze", "--photos", "SET", "--labelled", "SET", "--seeds", HUGE],
    ["study", "digits", "--seeds", HUGE], ["turing", "--real", "SET", "--fake", "SET", "--per-class", HUGE],
    ["turing", "--real", "SET", "--fake", "SET", "--port", HUGE],
], ids=lambda words: " ".join(map(str, words)))
def test_one_line(words: list[object], image_folder: Callable[..., Path], tmp_path: Path,
                  capfd: pytest.CaptureFixture[str]) -> None:
    data = str(image_folder("set", 4))
    line = [data if word == "SET" else str(word) for word in words]
    assert main([*line, "--out", str(tmp_path / "out")]) == 2
    said = capfd.readouterr().err
    assert said.startswith("migaki: ") and said.count("\n") == 1 and len(said) < 400
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


@pytest.mark.parametrize(("name", "options"), [
    ("simgan", {"first_kernel": 0}), ("cut", {"discriminator_features": 0}), ("cut", {"projection": 0}),
    ("camera_refiner", {"directions": 0}), ("copy_detector", {"size": 0}), ("copy_detector", {"mixing": 3.0}),
    ("simclr", {"inside": 0}), ("sdmp", {"projected": 0}), ("pretext", {"projected": 0})])
def test_networks_of_nothing(name: str, options: dict[str, Any]) -> None:
    """Refused before anything is built, with the option's name: some of them trained to the end."""
    cls: Any = find_class("systems", name, System)
    config = replace(cls.tiny()[0], **options)

    def checked() -> None:
        check_numbers(config)
        cls(config)

    assert f"--{next(iter(options)).replace('_', '-')} {next(iter(options.values())):g}" in message(checked)
