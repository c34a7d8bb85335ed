"""The command line in this process, and the commands of the README on tiny data, run once."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_options import CPU, TINY
from toy_folders import write_folder

from migaki.cli import main
from migaki.systems import gaze

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command line in this process: exit code, what it said, what it complained of."""

    def run(*words: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as stop:  # the option parser's own way out of --help
            code = int(stop.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def refused(call: Call) -> Callable[..., str]:
    """Run a command that must fail: code 2, one line, no traceback. Returns the line."""

    def run(*words: str | Path) -> str:
        code, _, complaint = call(*words)
        assert code == 2, complaint
        *progress, line = complaint.splitlines()
        assert line.startswith("migaki: ") and complaint.endswith("\n"), complaint
        shown = r"(watch: |hands: |steps run |train \w+: |[\w ]+: \d+(/| of )\d+|\d+/\d+ )"
        assert all(re.match(shown, other) for other in progress), complaint
        return line

    return run


@pytest.fixture(autouse=True)
def _few_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch norm's statistics from 64 photographs and not from 4096, for all models alike."""
    monkeypatch.setattr(gaze, "_ADAPT_IMAGES", 64)


@pytest.fixture(scope="session")
def road(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """simulate -> train simgan -> apply -> train gaze -> evaluate, on built-in eyes and discs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaze, "_ADAPT_IMAGES", 64)
        return walked(tmp_path_factory.mktemp("road"))


def walked(root: Path) -> Path:
    write_folder(root / "photos", 7, (30, 44), real=True, labels=())
    write_folder(root / "classes", 6, (24, 40))
    for words in (
        ["simulate", "eyes", "--out", "eyes", "--count", "6", "--width", "40", "--height", "24", "--supersample", "1"],
        ["train", "simgan", "--synthetic", "eyes", "--real", "photos", "--out", "refiner", *TINY["simgan"]],
        ["apply", "refiner", "--input", "eyes", "--out", "refined", *CPU],
        ["train", "gaze", "--data", "refined", "--photos", "photos", "--out", "gaze", *TINY["gaze"]],
        ["evaluate", "gaze", "--data", "eyes", *CPU],
        ["train", "classifier", "--data", "classes", "--out", "classifier", *TINY["classifier"]],
    ):
        paths = {"eyes", "photos", "refiner", "refined", "gaze", "classes", "classifier"}
        keep = 2 if words[0] in ("simulate", "train") else 1
        places = [word if n < keep or word not in paths else str(root / word) for n, word in enumerate(words)]
        assert main(places) == 0, words
    return root


@pytest.fixture
def copied(road: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a part of these results, to be damaged."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(road / name, tmp_path / f"copy_{name}"))

    return copy
