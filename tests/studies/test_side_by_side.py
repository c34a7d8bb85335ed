"""Steps side by side: the same bits, an order that folders allow, clear errors, nothing left at work."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch

from migaki.core.errors import NothingLeft, UserError
from migaki.core.files import make_folder, write_text
from migaki.lab import side_by_side
from migaki.lab.chain import Phase, Step, run_chain
from migaki.lab.side_by_side import choose_parallel
from migaki.lab.step import dependencies

WAIT = 30.0  # s until a test that hangs is given up


def step(out: Path, name: str, work: Callable[[Path], object], needs: Sequence[str] = (), alone: bool = False) -> Step:
    """A step that makes OUT/NAME by `work`, which gets that folder."""

    def done(_: str) -> None:
        work(make_folder(out / name))
        write_text(out / name / "proof", name)

    return Step(about=f"make {name}", work=done, proof=out / name / "proof", alone=alone,
                needs=tuple(out / need for need in needs))


def chain(out: Path, *steps: Step, parallel: int = 2, left_out: dict[Path, str] | None = None) -> None:
    run_chain([Phase(title="walk", steps=steps)], out, last="rest", quiet=True, left_out=left_out, parallel=parallel,
              threads=1)


def until(condition: Callable[[], bool]) -> None:
    """Wait, but not for ever."""
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def has_ended(place: Path) -> bool:
    """Whether the process of this folder of /proc has ended."""
    return not place.exists() or "\nState:\tZ" in (place / "status").read_text()


def test_the_same_bits_as_one_after_the_other(tmp_path: Path) -> None:
    def compute(folder: Path) -> None:
        torch.manual_seed(len(folder.name))
        weights = torch.randn(40, 40)
        picture = torch.rand(4, 1, 32, 32)
        kernel = weights[:1, :9].reshape(1, 1, 3, 3).clone().requires_grad_()
        torch.nn.functional.conv2d(picture, kernel).square().sum().backward()  # type: ignore[no-untyped-call]
        assert kernel.grad is not None
        weights = torch.cat([weights, weights @ weights.T, kernel.grad.flatten()[0] * weights])
        (folder / "weights").write_bytes(weights.numpy().tobytes())

    torch.set_num_threads(2)  # threads that this process has used must not hold up its children
    torch.nn.functional.conv2d(torch.rand(8, 8, 64, 64), torch.rand(8, 8, 3, 3)).sum()
    torch.rand(700, 700) @ torch.rand(700, 700)
    found = []
    for parallel in (1, 3):
        out = tmp_path / str(parallel)
        chain(out, *(step(out, "a" * count, compute) for count in range(1, 5)), parallel=parallel)
        found.append({path.relative_to(out): path.read_bytes() for path in sorted(out.rglob("weights"))})
    assert found[0] == found[1] and len(set(found[0].values())) == 4


def test_independent_steps_meet_and_dependent_ones_wait(tmp_path: Path) -> None:
    """Each of the first two waits for the other one, which only works side by side."""

    def meet(other: str) -> Callable[[Path], object]:
        def work(folder: Path) -> None:
            write_text(folder / "here", "")
            until((tmp_path / other / "here").exists)

        return work

    def read(folder: Path) -> None:
        assert (tmp_path / "one" / "proof").exists() and (tmp_path / "other" / "proof").exists()

    chain(tmp_path, step(tmp_path, "one", meet("other")), step(tmp_path, "other", meet("one")),
          step(tmp_path, "reads", read, needs=("one", "other")))
    assert (tmp_path / "reads" / "proof").exists()


def test_dependencies_follow_from_folders(tmp_path: Path) -> None:
    def named(words: tuple[str, ...], folder: str) -> Step:
        return Step(words=words, work=lambda _: None, proof=tmp_path / folder / "proof")

    data, run = str(tmp_path / "data"), str(tmp_path / "run")
    steps = [named(("simulate", "digits", "--out", data), "data"), named(("simulate", "digits"), "data_2"),
             named(("train", "classifier", "--data", data, "--out", run), "run"),
             named(("evaluate", run, "--data", data), "run/evaluation"),
             named(("export", f"{tmp_path}/data_2/part"), "exported"), named(("read", run), "read")]
    assert dependencies(steps) == [set(), set(), {0}, {0, 2}, {1}, {2, 3}]


def test_a_step_that_is_alone_runs_beside_no_other(tmp_path: Path) -> None:
    at_work = tmp_path / "at_work"
    at_work.mkdir()

    def work(folder: Path) -> None:
        (at_work / folder.name).touch()
        time.sleep(0.05)
        write_text(folder / "beside", " ".join(path.name for path in at_work.iterdir()))
        (at_work / folder.name).unlink()

    out = tmp_path / "out"
    chain(out, step(out, "a", work), step(out, "timed", work, alone=True), step(out, "b", work), parallel=3)
    assert (out / "timed" / "beside").read_text() == "timed"


def test_an_error_of_one_step_stops_the_others(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def refuse(folder: Path) -> None:
        until((tmp_path / "long" / "begun").exists)
        raise UserError("photos: there is no picture: give others")

    def long(folder: Path) -> None:
        try:
            write_text(folder / "begun", "")
            time.sleep(WAIT)
        except KeyboardInterrupt:
            write_text(folder / "kept", "what was done")
            raise

    began = time.monotonic()
    with pytest.raises(UserError, match="photos: there is no picture"):
        chain(tmp_path, step(tmp_path, "long", long), step(tmp_path, "bad", refuse), step(tmp_path, "next", refuse))
    assert time.monotonic() - began < WAIT / 2 and (tmp_path / "long" / "kept").exists()
    assert not (tmp_path / "next" / "proof").exists() and not (tmp_path / "long" / "proof").exists()
    assert "a step has failed: stopping 1 other step" in capfd.readouterr().err


def test_an_unforeseen_error_shows_where_it_happened(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def work(folder: Path) -> None:
        print("half way")
        raise ValueError("no such number")

    with pytest.raises(RuntimeError, match="ValueError: no such number"):
        chain(tmp_path, step(tmp_path, "bad", work))
    said = capfd.readouterr().err
    assert "bad | half way" in said and "bad | Traceback" in said


def test_a_killed_step_is_one_line_and_goes_on(tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        if not (folder / "tried").exists():
            (folder / "tried").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(UserError, match=r"^bad: its process was killed \(SIGKILL\).*--parallel 1"):
        chain(tmp_path, step(tmp_path, "bad", work))
    chain(tmp_path, step(tmp_path, "bad", work))
    assert (tmp_path / "bad" / "proof").exists()


def test_what_nothing_is_left_of_is_left_out(tmp_path: Path) -> None:
    def nothing(folder: Path) -> None:
        raise NothingLeft("kept: every image was left out")

    left_out: dict[Path, str] = {}
    chain(tmp_path, step(tmp_path, "kept", nothing), step(tmp_path, "model", lambda _: None, needs=("kept",)),
          step(tmp_path, "other", lambda _: None), left_out=left_out)
    assert set(left_out) == {tmp_path / "kept", tmp_path / "model"} and (tmp_path / "other" / "proof").exists()


def test_a_request_to_stop_reaches_every_step_once(tmp_path: Path) -> None:
    def long(folder: Path) -> None:
        try:
            write_text(folder / "begun", "")
            time.sleep(WAIT)
        except KeyboardInterrupt:
            time.sleep(0.1)  # a second request would end this
            write_text(folder / "kept", "")
            raise

    def ask() -> None:
        until(lambda: all((tmp_path / name / "begun").exists() for name in "ab"))
        os.kill(os.getpid(), signal.SIGINT)

    # What a shell starts in the background ignores SIGINT; these tests may be.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=ask)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            chain(tmp_path, step(tmp_path, "a", long), step(tmp_path, "b", long))
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)
    assert (tmp_path / "a" / "kept").exists() and (tmp_path / "b" / "kept").exists()


def test_steps_do_not_outlive_a_killed_chain(tmp_path: Path) -> None:
    def long(folder: Path) -> None:
        write_text(folder / "pid", str(os.getpid()))
        time.sleep(WAIT)

    def whole() -> None:
        chain(tmp_path, step(tmp_path, "a", long), step(tmp_path, "b", long))

    parent = get_context("fork").Process(target=whole)
    parent.start()
    until(lambda: all((tmp_path / name / "pid").exists() for name in "ab"))
    parent.kill()
    parent.join()
    for name in "ab":
        place = Path("/proc") / (tmp_path / name / "pid").read_text()
        until(partial(has_ended, place))
        assert not (tmp_path / name / "proof").exists()


def test_how_many_steps_run_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(side_by_side, "usable_cores", lambda: 8.0)
    monkeypatch.setattr(side_by_side, "free_cores", lambda: 5.6)
    monkeypatch.setattr(side_by_side, "free_memory", lambda: 64 * 2**30)
    assert choose_parallel("auto") == (6, "8 cores, 5.6 of them idle, 64.0 GiB free")
    monkeypatch.setattr(side_by_side, "free_memory", lambda: 4 * 2**30)
    assert choose_parallel("auto")[0] == 2 and choose_parallel("7")[0] == 7
    monkeypatch.setattr(side_by_side, "free_memory", lambda: 0)
    assert choose_parallel("auto")[0] == 1
    for wrong in ("0", "-1", "many", "1.5", "999"):
        with pytest.raises(UserError, match=f"--parallel {wrong}: give a number of steps from 1 to 256, or auto"):
            choose_parallel(wrong)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_parallel("auto") == (1, "steps that use a GPU run one after the other")
    with pytest.raises(UserError, match="--parallel 2: steps that use a GPU"):
        choose_parallel("2")
