"""Help, lists, misspelt words, presets, and the program as a process of its own."""

from __future__ import annotations

import json
import re
import shlex
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
    assert found == {*COMMANDS, "frame"}  # which is an earlier name


def test_help_at_the_top(call: Call) -> None:
    for words in ([], ["--help"], ["-h"], ["help"]):
        code, said, complaint = call(*words)
        assert code == 0 and not complaint and all(command in said for command in COMMANDS)
    assert call("--version")[1].startswith("migaki ")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(command: str, call: Call) -> None:
    code, said, complaint = call(command, "--help")
    assert code == 0 and not complaint and "usage: migaki" in said and len(said) > 60


@pytest.mark.parametrize(("command", "shelf", "base"), [("apply", "changes", "Change"), ("train", "systems", "System"),
                                                        ("evaluate", "judges", "Judge")])
def test_options_of_a_method_are_not_those_of_its_command(command: str, shelf: str, base: str, call: Call) -> None:
    """Two of one name could not be told apart: the parser would end with a traceback."""
    for name in names_in(shelf, base):
        code, _, complaint = call(command, name, "--no-such-option")
        assert code == 2 and "--no-such-option" in complaint, name


def names_of(command: str, call: Call) -> list[str]:
    """What may stand behind a command; [""] where nothing has to."""
    words = call(command, "--help-names")[1].split()
    return [""] if any(word.startswith("--") for word in words) or not words else words


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in ("list", "completion")])
def test_every_option_stands_once_in_the_whole_help_and_the_rare_ones_there_alone(command: str, call: Call) -> None:
    for name in names_of(command, call):
        words = [command, name] if name else [command]
        known = [word for word in call(*words, "--help-names")[1].split() if not word.startswith("--help")]
        code, short, complaint = call(*words, "--help")
        every = call(*words, "--help-all")[1]
        assert code == 0 and not complaint and ("--out" in short or command == "serve") and "--help-all" not in every
        assert short.startswith(f"usage: migaki {' '.join(words)}") and known
        for text in (short, every):
            assert max(map(len, text.splitlines())) <= 100
        titles = [line for line in every.splitlines() if line and not line.startswith(" ")]
        assert "needed" in titles or command == "demo"
        for option in known:
            heads = re.findall(rf"^  (?:--[\w.-]+, )?{option}(?![\w.-])", every, re.M)
            assert len(heads) == 1, f"{words}: {option} stands {len(heads)} times"
        hidden = [option for option in known if not re.search(rf"^  (?:--[\w.-]+, )?{option}(?![\w.-])", short, re.M)]
        flags = sum(bool(re.search(r"(^|\.)no-", option.removeprefix("--"))) for option in hidden)
        told = re.search(r"^(\d+) more options?: --help-all$", short, re.M)
        assert (int(told[1]) if told else 0) == len(hidden) - flags
        assert not {"network", "ablations and paper", "further"} & set(short.splitlines())


def test_help_imports_nothing_heavy() -> None:
    """So that it answers at once: every command, every name."""
    program = """if True:
        import io, sys, contextlib
        from migaki.cli import COMMANDS, main
        def said(*words):
            with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
                main(words)
            return out.getvalue()
        for command in COMMANDS:
            said(command, "--help")
            names = said(command, "--help-names").split()
            for name in names if names and not names[0].startswith("--") else []:
                assert "usage" in said(command, name, "--help")
                said(command, name, "--help-all")
        print(sorted({"torch", "numpy", "tyro", "scipy", "PIL", "numba"} & set(sys.modules)))"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=120)
    assert done.stdout == "[]\n"


def test_help_under_a_preset_tells_its_values(call: Call) -> None:
    assert "[1500]" in call("train", "simgan", "--help")[1]
    assert "[1500]" not in call("train", "simgan", "--preset", "paper", "--help")[1]


def test_misspelt_words_get_a_suggestion(refused: Callable[..., str], call: Call) -> None:
    assert "did you mean 'train'" in refused("trian")
    assert "did you mean 'simgan'" in refused("train", "simgam")
    assert "did you mean 'eyes'" in refused("simulate", "eye")
    assert "known are" in refused("train", "quux")
    for command in ("train", "simulate", "import"):
        assert "choose one" in refused(command)
    code, _, complaint = call("train", "gaze", "--data", "x", "--out", "y", "--stepz", "3")
    assert code == 2 and "Traceback" not in complaint and "--steps" in complaint
    code, _, complaint = call("train", "gaze", "--data", "x", "--out", "y", "--steps", "many")
    assert code == 2 and "Traceback" not in complaint


def test_presets(refused: Callable[..., str], call: Call, road: Path, tmp_path: Path) -> None:
    assert "default, pixels, paper" in refused("train", "simgan", "--synthetic", "x", "--real", "y", "--out", "z",
                                       "--preset", "papper")
    assert call("train", "simgan", "--preset", "paper", "--synthetic", road / "eyes", "--real", road / "photos",
                "--out", tmp_path / "run", *TINY["simgan"])[0] == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert config["num_refiner_steps"] == 50 and config["features"] == 4


def test_one_name_for_photographs_and_the_old_ones_are_taken(call: Call, road: Path, tmp_path: Path) -> None:
    words = ["train", "simgan", "--synthetic", road / "eyes", *TINY["simgan"]]
    for name in ("--photos", "--real"):
        assert call(*words, name, road / "photos", "--out", tmp_path / name)[0] == 0
    assert call(*words, f"--photos={road / 'photos'}", "--out", tmp_path / "equals")[0] == 0
    records = [(tmp_path / name / "config.json").read_text() for name in ("--photos", "--real", "equals")]
    assert len(set(records)) == 1
    assert json.loads(records[0])["data"]["real"] == str(road / "photos")  # as earlier versions wrote it
    assert call(*words, "--real", road / "photos", "--out", tmp_path / "--photos")[0] == 0  # the same run: it is whole


def test_what_is_missing_is_called_by_its_option(refused: Callable[..., str]) -> None:
    for line, option in (("train simgan --synthetic a --out b", "--photos"), ("turing --fake a --out b", "--photos")):
        told = refused(*line.split())
        assert f"missing: {option}" in told and "--real" not in told
    told = refused("train", "simgan", "--synthetic", "a", "--phots", "b", "--out", "c")
    assert "did you mean --photos instead of --phots" in told


def test_photos_of_the_demo_may_be_a_number_as_before(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "nowhere" in refused("demo", "eyes", "--photos", tmp_path / "nowhere", "--out", tmp_path / "out")
    told = refused("demo", "eyes", "--photos", "63", "--seeds", "0", "--out", tmp_path / "out")
    assert "--seeds" in told


def test_a_run_is_repeated_from_its_file(call: Call, refused: Callable[..., str], road: Path, tmp_path: Path) -> None:
    file = road / "refiner" / "config.json"
    again = ["train", "simgan", "--config", file, "--device", "cpu", "--out"]
    assert call(*again, tmp_path / "same")[0] == 0
    assert (tmp_path / "same" / "config.json").read_bytes() == file.read_bytes()
    assert (tmp_path / "same" / "model.safetensors").read_bytes() == (road / "refiner/model.safetensors").read_bytes()
    assert call(*again, tmp_path / "longer", "--steps", "4", f"--photos={road / 'eyes'}")[0] == 0
    record, before = (json.loads(path.read_text()) for path in (tmp_path / "longer" / "config.json", file))
    assert record["config"] == {**before["config"], "steps": 4}
    assert record["data"] == {**before["data"], "real": str(road / "eyes")}
    assert "not by `migaki train gaze`" in refused("train", "gaze", "--config", file, "--out", tmp_path / "x")
    assert "leave one out" in refused(*again, tmp_path / "x", "--preset", "paper")
    (tmp_path / "other.json").write_text('{"steps": 3}')
    assert "not the config.json" in refused("train", "gaze", "--config", tmp_path / "other.json", "--out", "x")
    assert "no such file" in refused("train", "gaze", "--config", tmp_path / "none.json", "--out", tmp_path / "x")
    assert "give a value" in refused("train", "gaze", "--out", tmp_path / "x", "--config")


def test_a_set_is_repeated_from_its_file(call: Call, refused: Callable[..., str], road: Path, tmp_path: Path) -> None:
    file = road / "eyes" / "dataset.json"
    for given in (file, road / "eyes"):
        assert call("simulate", "eyes", "--config", given, "--count", "6", "--out", tmp_path / given.name)[0] == 0
        for path in (road / "eyes").glob("*.png"):
            assert (tmp_path / given.name / path.name).read_bytes() == path.read_bytes()
    assert call("simulate", "eyes", "--config", file, "--count", "2", "--width", "30", "--out", tmp_path / "w")[0] == 0
    assert json.loads((tmp_path / "w" / "dataset.json").read_text())["config"]["width"] == 30
    assert "not by `migaki simulate digits`" in refused("simulate", "digits", "--config", file, "--out", tmp_path / "x")
    assert "no such file" in refused("simulate", "eyes", "--config", tmp_path, "--out", tmp_path / "x")


COMPLETIONS = [
    ("migaki ", "simulate"), ("migaki tr", "train"), ("migaki train ", "simgan"), ("migaki train sim", "simgan"),
    ("migaki train simgan --ph", "--photos"), ("migaki train simgan --synthetic x --lambda", "--lambda-reg"),
    ("migaki apply run --in", "--input"), ("migaki completion ", "zsh"), ("migaki import usps p --sp", "--split"),
]


def test_a_shell_completes_commands_names_and_options(call: Call) -> None:
    code, script, complaint = call("completion", "bash")
    assert code == 0 and not complaint
    for line, word in COMPLETIONS:
        words = [*line.split(), *([""] if line.endswith(" ") else [])]
        asked = (f"{script}\nCOMP_WORDS=({' '.join(map(shlex.quote, words))})\nCOMP_CWORD={len(words) - 1}\n"
                 "_migaki\nprintf '%s\\n' \"${COMPREPLY[@]}\"")
        done = subprocess.run(["bash", "-c", asked], check=True, capture_output=True, text=True)
        assert word in done.stdout.split() and not done.stderr, line
    assert "bashcompinit" in call("completion", "zsh")[1]
    assert "give one of bash, zsh" in call("completion", "fish")[2]


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
