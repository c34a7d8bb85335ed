"""Help, lists, misspelt words, presets, and the program as a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_options import TINY

from migaki.cli import COMMANDS
from migaki.core.discovery import names_in

PACKAGE = Path(__file__).resolve().parents[2] / "migaki"

Call = Callable[..., tuple[int, str, str]]


def test_list_names_all_there_is(call: Call) -> None:
    code, said, _ = call("list")
    assert code == 0
    for package, base in (("simulate", "Simulator"), ("systems", "System"), ("simulate", "Damage")):
        for name in names_in(package, base):
            assert name in said


def test_every_command_has_its_module() -> None:
    found = {path.stem.removesuffix("_command") for path in (PACKAGE / "commands").glob("*_command.py")}
    assert found == set(COMMANDS)


def test_help_at_the_top(call: Call) -> None:
    for words in ([], ["--help"], ["-h"], ["help"]):
        code, said, complaint = call(*words)
        assert code == 0 and not complaint and all(command in said for command in COMMANDS)
    assert call("--version")[1].startswith("migaki ")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(command: str, call: Call) -> None:
    code, said, complaint = call(command, "--help")
    assert code == 0 and not complaint and "usage: migaki" in said and len(said) > 60


@pytest.mark.parametrize(("command", "name"), [
    *(("train", name) for name in names_in("systems", "System")),
    *(("simulate", name) for name in names_in("simulate", "Simulator")),
    *(("import", name) for name in names_in("importers", "Importer")),
])
def test_help_of_every_name(command: str, name: str, call: Call) -> None:
    code, said, complaint = call(command, name, "--help")
    assert code == 0 and not complaint and f"usage: migaki {command} {name}" in said and "--out" in said


def test_misspelt_words_get_a_suggestion(refused: Callable[..., str], call: Call) -> None:
    assert "did you mean 'train'" in refused("trian")
    assert "did you mean 'simgan'" in refused("train", "simgam")
    assert "did you mean 'eyes'" in refused("simulate", "eye")
    assert "known are" in refused("train", "quux")
    for command in ("train", "simulate", "import"):
        assert "say which" in refused(command)
    code, _, complaint = call("train", "gaze", "--data", "x", "--out", "y", "--stepz", "3")
    assert code == 2 and "Traceback" not in complaint and "--steps" in complaint
    code, _, complaint = call("train", "gaze", "--data", "x", "--out", "y", "--steps", "many")
    assert code == 2 and "Traceback" not in complaint


def test_presets(refused: Callable[..., str], call: Call, road: Path, tmp_path: Path) -> None:
    assert "default, paper" in refused("train", "simgan", "--synthetic", "x", "--real", "y", "--out", "z",
                                       "--preset", "papper")
    assert call("train", "simgan", "--preset", "paper", "--synthetic", road / "eyes", "--real", road / "photos",
                "--out", tmp_path / "run", *TINY["simgan"])[0] == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert config["num_refiner_steps"] == 50 and config["features"] == 4


def test_as_a_program(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "migaki"]
    done = subprocess.run([*program, "train", "gaze", "--data", str(tmp_path), "--out", str(tmp_path / "run")],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stderr.startswith("migaki: ") and done.stderr.count("\n") == 1
    assert done.stdout == ""
    listed = subprocess.run([*program, "list"], capture_output=True, text=True, timeout=120)
    assert listed.returncode == 0 and "simgan" in listed.stdout


def test_listing_needs_no_torch() -> None:
    """`migaki --help` and `migaki list` answer at once."""
    program = ("import sys; from migaki.cli import main; main(['--help']); main(['list']);"
               "print('torch' in sys.modules, file=sys.stderr)")
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert done.stderr == "False\n" and "simgan" in done.stdout


def test_a_reader_that_goes_away_is_no_error() -> None:
    done = subprocess.run(f"{sys.executable} -m migaki list | true", shell=True, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
