"""Signals, full disks, deleted inputs, two writers of one folder: one clear line, and the same call continues. And
SIGKILL at random moments: what is left after another call has the same bits (in full: `harness.py --kills 25`)."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from harness import Stage, Victim, difference, stages, torture, tree

from migaki.core.files import exclusive

STAGES = stages(1)
LONG = {
    "simulate-digits": Stage(words=("simulate", "digits", "--count", "3000", "--out", "OUT")),
    "train-simgan": Stage(words=tuple("400" if word == "12" else word for word in STAGES["train-simgan"].words)),
    "train-gaze": Stage(words=tuple("400" if word == "12" else word for word in STAGES["train-gaze"].words)),
    "apply": Stage(words=tuple("VAST" if word == "MANY" else word for word in STAGES["apply"].words)),
}
"""Stages that are still at work when they are to be stopped."""


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, prepared: dict[str, str]) -> dict[str, str]:
    vast = tmp_path_factory.mktemp("vast")
    for copy in range(12):
        for path in Path(prepared["MANY"]).glob("*.png"):
            shutil.copy(path, vast / f"{copy}_{path.name}")
    return prepared | {"VAST": str(vast)}


def words(stage: Stage, places: dict[str, str], out: Path) -> list[str]:
    return [{**places, "OUT": str(out)}.get(word, word) for word in stage.words]


def wait_for_work(out: Path, victim: Victim) -> None:
    """Until the first images or steps are on disk."""
    deadline = time.monotonic() + 60
    while victim.process.is_alive() and time.monotonic() < deadline:
        journal, log = out / ".journal", out / "metrics.jsonl"
        if any(path.exists() and path.stat().st_size > 300 for path in (journal, log)):
            return
        time.sleep(0.01)
    raise AssertionError(f"ended before it was stopped: {victim.finish()}")


def one_line(said: str) -> str:
    """The one line of complaint; what a progress bar said does not count."""
    lines = [line for line in said.splitlines() if line.startswith("migaki: ")]
    assert len(lines) == 1 and "Traceback" not in said and "Error" not in said, said
    return lines[0]


# ------------------------------------------------------------------------------------------------ signals

KILLS = 2


# What trainings leave behind is also seen in tests/systems/test_system_contract.py.
@pytest.mark.parametrize("name", ["simulate-digits", "apply", *(
    pytest.param(name, marks=pytest.mark.long) for name in ("train-simgan", "train-gaze", "study"))])
def test_killed_and_gone_on(name: str, prepared: dict[str, str], tmp_path: Path) -> None:
    result = torture(stages(1)[name], prepared, tmp_path, KILLS, seed=len(name))
    assert result.kills == KILLS and not result.problems, result.problems


SENT = {"INT": (signal.SIGINT,), "TERM": (signal.SIGTERM,), "INT twice": (signal.SIGINT, signal.SIGINT)}


# All four answer in one place; a second signal may fall anywhere.
@pytest.mark.parametrize(("name", "numbers"), [
    pytest.param(name, numbers, id=f"{name}-{sent}", marks=[] if len(numbers) > 1 or (name, sent) in (
        ("simulate-digits", "TERM"), ("train-gaze", "INT")) else pytest.mark.long)
    for name in LONG for sent, numbers in SENT.items()])
def test_signals(name: str, numbers: tuple[int, ...], places: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    victim = Victim(words(LONG[name], places, out))
    wait_for_work(out, victim)
    victim.send(numbers[0])
    for number in numbers[1:]:
        time.sleep(0.02)
        with suppress(ProcessLookupError):  # it may have ended by then
            victim.send(number)
    code, said = victim.finish()
    assert code == 130, said
    assert "run the same command again to go on" in one_line(said)
    assert not list(out.rglob("*.partial")) and not (out / ".lock").exists()
    assert not (out / "dataset.json").exists() and not (out / "model.safetensors").exists()
    assert (out / ".journal").exists() or (out / "config.json").exists()


def test_a_stopped_stage_goes_on_to_the_same_bits(places: dict[str, str], tmp_path: Path) -> None:
    stage = Stage(words=tuple("900" if word == "400" else word for word in STAGES["simulate-digits"].words))
    out = tmp_path / "out"
    victim = Victim(words(stage, places, out))
    wait_for_work(out, victim)
    victim.send(signal.SIGTERM)
    assert victim.finish()[0] in (0, 130)
    assert Victim(words(stage, places, out)).finish()[0] == 0
    found = tree(out)
    shutil.rmtree(out)
    assert Victim(words(stage, places, out)).finish()[0] == 0
    assert difference(found, tree(out)) == ""


# ------------------------------------------------------------------------------------------------ disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 300 kB; skipped where none may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("name", ["simulate-digits", "train-gaze", "apply", *(
    pytest.param(name, marks=pytest.mark.long) for name in ("train-simgan", "study"))])
def test_a_full_disk(name: str, places: dict[str, str], small_disk: Path) -> None:
    """The disk fills up; once there is room the same command continues, and the output shows no trace of it."""
    filler, out = small_disk / "filler", small_disk / "out"
    room = {"train-simgan": 40, "train-gaze": 60, "study": 50}.get(name, 100)  # kB: less than is needed
    filler.write_bytes(bytes((300 - room) * 1000))
    code, said = Victim(words(STAGES[name], places, out)).finish()
    assert code == 2 and "disk is full" in one_line(said), said
    assert not [path for path in out.rglob("*.partial")]
    subprocess.run(["mount", "-o", "remount,size=30m", str(small_disk)], check=True)
    code, said = Victim(words(STAGES[name], places, out)).finish()
    assert code == 0, said
    found = tree(out)
    shutil.rmtree(out)
    assert Victim(words(STAGES[name], places, out)).finish()[0] == 0
    assert difference(found, tree(out)) == ""


@pytest.mark.parametrize("name", ["simulate-digits", "train-gaze"])
def test_a_read_only_disk(name: str, places: dict[str, str], small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    code, said = Victim(words(STAGES[name], places, small_disk / "out")).finish()
    assert code == 2 and "read-only" in one_line(said)


def limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


@pytest.mark.parametrize("name", ["simulate-digits", "apply", pytest.param("train-simgan", marks=pytest.mark.long)])
def test_files_that_may_not_grow(name: str, places: dict[str, str], tmp_path: Path) -> None:
    """A limit as clusters set them, and a disk that fails in the middle of a file."""
    out = tmp_path / "out"
    code, said = Victim(words(STAGES[name], places, out), partial(limit_files)).finish()
    assert code == 2 and "grows larger than the limit" in one_line(said)
    assert not [path for path in out.rglob("*.partial")]
    assert Victim(words(STAGES[name], places, out)).finish()[0] == 0


# ------------------------------------------------------------------------------------------------ inputs that go


def test_an_input_that_vanishes(places: dict[str, str], tmp_path: Path) -> None:
    shutil.copytree(places["VAST"], tmp_path / "vast")
    mine, out = places | {"VAST": str(tmp_path / "vast")}, tmp_path / "out"
    victim = Victim(words(LONG["apply"], mine, out))
    wait_for_work(out, victim)
    (tmp_path / "vast").rename(tmp_path / "gone")
    code, said = victim.finish()
    assert code == 2 and "no such file" in one_line(said) and "vast" in said
    assert not (out / "dataset.json").exists()
    (tmp_path / "gone").rename(tmp_path / "vast")
    assert Victim(words(LONG["apply"], mine, out)).finish()[0] == 0


# ------------------------------------------------------------------------------------------------ two writers


def second_writers() -> dict[str, tuple[str, ...]]:
    everything = {name: STAGES[name].words for name in
                  ("simulate-digits", "simulate-rain", "import", "train-simgan", "train-gaze", "apply", "study")}
    return everything | {"evaluate": ("evaluate", "GAZE", "--data", "EYES", "--out", "OUT", "--device", "cpu")}


@pytest.fixture(scope="module")
def with_gaze(places: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    run = tmp_path_factory.mktemp("run") / "gaze"
    code, said = Victim(words(STAGES["train-gaze"], places, run)).finish()
    assert code == 0, said
    return places | {"GAZE": str(run)}


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.long) if name in ("import", "train-simgan", "simulate-digits") else name
    for name in second_writers()])
def test_the_second_of_two_writers_is_refused(name: str, with_gaze: dict[str, str], tmp_path: Path) -> None:
    """This process holds the folder as a stage does; the kernel's lock does not ask which of them it is."""
    out = tmp_path / "out"
    held = out / "target" if name == "simulate-rain" else out
    with exclusive(held):
        (held / "mine").write_text("")
        before = tree(out)
        code, said = Victim(words(Stage(words=second_writers()[name]), with_gaze, out)).finish()
        assert code == 2 and "another process is writing there" in one_line(said), said
        assert tree(out) == before
    assert os.listdir(held) == ["mine"]
