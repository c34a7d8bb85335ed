"""Hostile files in the place of a lock, a checkpoint or a log; and files that must exist after a finished run."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from refusals import message

from migaki.core import checkpoint, files
from migaki.core.checkpoint import load_checkpoint
from migaki.core.files import FolderLock, atomic_write, make_inner_folder, read_json, write_alone, write_json
from migaki.core.fit import Run, fit
from migaki.core.log import Log, read_rows
from migaki.core.progress import Bar
from migaki.core.trained import load_system
from migaki.systems.gaze import Gaze

CONFIG = Gaze.Config(channels=1, height=24, width=24, features=2, steps=4, batch_size=2)
RUN = Run(device="cpu", precision="fp32", log_every=1, checkpoint_every=2, sample_every=0)


class Source:
    def batch(self, step: int) -> dict[str, torch.Tensor]:
        draw = torch.Generator().manual_seed(step)
        return {"image": torch.rand(2, 1, 24, 24, generator=draw), "gaze": torch.rand(2, 2, generator=draw)}


def train(out: Path, run: Run = RUN, held: dict[str, list[str]] | None = None) -> Gaze:
    torch.manual_seed(0)
    found = fit(Gaze(CONFIG), Source(), run, out, contents=held, quiet=True)
    assert isinstance(found, Gaze)
    return found


# ------------------------------------------------------------------------------------------------ locks and files


@pytest.mark.parametrize("prepare", [
    lambda path: path.symlink_to(path.with_name("victim")), lambda path: os.mkfifo(path), lambda path: path.mkdir(),
    lambda path: path.symlink_to("/dev/zero"),
], ids=["link", "pipe", "folder", "device"])
def test_what_stands_in_the_place_of_a_lock(tmp_path: Path, prepare: Callable[[Path], object]) -> None:
    (tmp_path / "victim").write_text("keep")
    prepare(tmp_path / ".lock")
    assert ".lock" in message(lambda: FolderLock(tmp_path)) and (tmp_path / "victim").read_text() == "keep"


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_disk_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    text = message(lambda: FolderLock(tmp_path / "out"))
    assert "no file locks" in text and "--out on a local disk" in text and "another process" not in text
    assert not (tmp_path / "out").exists()


def test_a_temporary_file_is_never_a_link_that_stood_there(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("keep")
    (tmp_path / f".a.{os.getpid()}.partial").symlink_to(tmp_path / "victim")
    with atomic_write(tmp_path / "a", permissions=0o600) as file:
        file.write(b"new")
    assert (tmp_path / "victim").read_text() == "keep" and (tmp_path / "a").read_bytes() == b"new"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    (tmp_path / "inner").symlink_to(tmp_path)
    assert "is a link" in message(lambda: make_inner_folder(tmp_path / "inner"))


def test_what_a_killed_process_left_of_a_single_file_goes(tmp_path: Path) -> None:
    for number in (2**22 + 1, os.getppid()):  # one that cannot be, one that is
        (tmp_path / f".a.{number}.partial").write_text("")
    write_alone(tmp_path / "a", b"new")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".a.{os.getppid()}.partial", "a"]


def test_names_that_are_no_utf8_stand_in_json(tmp_path: Path) -> None:
    value = {"path": os.fsdecode(b"place/\xff"), "text": "\ud800 \\ ä"}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value and "ä" in (tmp_path / "a.json").read_text()
    os.mkfifo(tmp_path / "pipe.json")
    assert "pipe" in message(lambda: read_json(tmp_path / "pipe.json"))
    (tmp_path / "large.json").write_bytes(b"[")
    os.truncate(tmp_path / "large.json", 2**40)
    assert "larger than" in message(lambda: read_json(tmp_path / "large.json"))


# ------------------------------------------------------------------------------------------------ runs


@pytest.mark.parametrize("what", [KeyboardInterrupt(), OSError(errno.ENOSPC, "disk is full")], ids=["signal", "disk"])
@pytest.mark.parametrize("number", [0, 1, 5, -2, -1])
def test_what_stops_the_writing_of_a_checkpoint_is_what_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                                   what: BaseException, number: int) -> None:
    # PyTorch closes its archive on the way out, fails at that, and says only this.
    class Broken(io.BytesIO):
        calls, last = 0, -1

        def write(self, data: Any) -> int:
            self.calls += 1
            if self.calls > self.last >= 0:
                raise what
            return super().write(data)

    made: list[Broken] = []

    @contextmanager
    def written(_: Path) -> Iterator[Broken]:
        made.append(Broken())
        made[-1].last = -1 if len(made) == 1 else range(made[0].calls)[number]
        yield made[-1]

    monkeypatch.setattr(checkpoint, "atomic_write", written)
    checkpoint.save_checkpoint(tmp_path / "checkpoint", Gaze(CONFIG), 1)  # counts the writes
    with pytest.raises(type(what)):
        checkpoint.save_checkpoint(tmp_path / "checkpoint", Gaze(CONFIG), 1)


def test_a_finished_model_stays_without_its_checkpoint(tmp_path: Path) -> None:
    out, held = tmp_path / "run", {"data": ["0"]}
    train(out, held=held)
    model = (out / "model.safetensors").read_bytes()
    (out / "checkpoint").unlink()
    times = (out / "model.safetensors").stat().st_mtime_ns
    again = train(out, held=held)
    assert (out / "model.safetensors").stat().st_mtime_ns == times and not (out / "checkpoint").exists()
    whole = load_system(out).state_dict()
    assert all(torch.equal(value, whole[name]) for name, value in again.state_dict().items() if name in whole)
    assert "the content of" in message(lambda: train(out, held={"data": ["1"]}))
    (out / "model.safetensors").write_bytes(model[:-7])
    assert "train again" in message(lambda: train(out, held=held))  # nothing gives it again


def test_a_damaged_model_is_written_again_from_the_checkpoint(tmp_path: Path) -> None:
    train(tmp_path)
    model = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(model[:-7])
    train(tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == model


def test_everything_is_on_the_disk_before_a_run_calls_itself_finished(tmp_path: Path,
                                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    replace, settle, names = os.replace, files.settle, files.settle_names
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append(Path(b).name), replace(a, b))[1])
    monkeypatch.setattr("migaki.core.fit.settle", lambda folder: (order.append("settled"), settle(folder))[1])
    monkeypatch.setattr("migaki.core.fit.settle_names", lambda folder: (order.append("names"), names(folder))[1])
    train(tmp_path)
    assert order[-4:] == ["README.md", "settled", "model.safetensors", "names"]


def first(state: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(iter(state["optimizers"].values()))
    return found


@pytest.mark.parametrize("spoil", [
    lambda state: next(iter(first(state)["state"].values())).update(exp_avg=torch.zeros(3)),
    lambda state: next(iter(first(state)["state"].values())).pop("exp_avg"),
    lambda state: next(iter(first(state)["state"].values()))["exp_avg"].fill_(float("nan")),
    lambda state: next(iter(first(state)["state"].values())).update(step=torch.tensor(-3.0)),
    lambda state: first(state)["param_groups"][0].update(lr="x"),
    lambda state: first(state)["param_groups"][0].update(lr=float("inf")),
    lambda state: first(state)["param_groups"][0].pop("betas"),
    lambda state: first(state).update(param_groups=3),
    lambda state: state.update(optimizers=[]),
    lambda state: next(v for v in state["system"].values() if v.is_floating_point()).view(-1)[0].fill_(float("nan")),
    lambda state: state.update(step=-5), lambda state: state.update(step=0), lambda state: state.update(step=5),
    lambda state: state.update(step=10**9), lambda state: state.update(step=1.0), lambda state: state.update(step=True),
    lambda state: state.update(others=3), lambda state: state.pop("step"), lambda state: state.clear(),
])
def test_a_checkpoint_whose_parts_do_not_fit(tmp_path: Path, spoil: Callable[[dict[str, Any]], object]) -> None:
    train(tmp_path)
    state = torch.load(tmp_path / "checkpoint", weights_only=True)
    spoil(state)
    torch.save(state, tmp_path / "checkpoint")
    assert "start over with" in message(lambda: load_checkpoint(tmp_path / "checkpoint", Gaze(CONFIG)))


@pytest.mark.parametrize("text", [b"3\n", b'{"x": 1}\n', b"\xff\xfe\n", b"[" * 10**5, b'{"step": "a"}\n', b"",
                                  b'{"step": 1, "watch": 3}\n', b'{"step": 1, "x": {}}\n', b'{"step": 10000000000}\n'])
def test_a_log_that_is_none_of_ours_is_gone_on_behind(tmp_path: Path, text: bytes) -> None:
    train(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "metrics.jsonl").write_bytes(text)
    train(tmp_path)
    assert load_system(tmp_path) and read_rows(tmp_path / "metrics.jsonl") == []


def test_a_term_that_is_no_number_is_null_in_the_log(tmp_path: Path) -> None:
    log = Log(tmp_path, 0)
    log.add({"loss": torch.tensor(math.nan), "rank": torch.tensor(2.0)})
    log.write(1, Gaze(CONFIG), Bar(1, "", quiet=True))
    log.close()
    line = (tmp_path / "metrics.jsonl").read_text()
    assert line == '{"step": 1, "loss": null, "rank": 2.0}\n'
    assert math.isnan(read_rows(tmp_path / "metrics.jsonl")[0]["loss"])
    assert Log(tmp_path, 1).is_whole and (tmp_path / "metrics.jsonl").read_text() == line


@pytest.mark.parametrize("change", [{"config": 3}, {"contents": 3}, {"data": {"estimator": 3}}, {"run": None},
                                    {"config": {"learning_rate": float("nan")}}, {"config": {"dropout": 10**400}},
                                    {"system": "../gaze"}, {"system": 3}])
def test_a_configuration_of_another_type(tmp_path: Path, change: dict[str, Any]) -> None:
    train(tmp_path, held={"data": ["0"]})
    record = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(record | change))
    assert message(lambda: train(tmp_path, held={"data": ["0"]}))
    if "contents" not in change and "run" not in change:
        assert message(lambda: load_system(tmp_path))


@pytest.mark.parametrize("name", ["samples", "timing.jsonl", "config.json"])
def test_no_link_leads_a_run_out_of_its_folder(tmp_path: Path, name: str) -> None:
    out, run = tmp_path / "run", Run(device="cpu", precision="fp32", log_every=1, checkpoint_every=1, sample_every=1)
    (tmp_path / "outside").mkdir()
    (tmp_path / "victim").write_text("{}")
    out.mkdir()
    (out / name).symlink_to(tmp_path / ("outside" if name == "samples" else "victim"))
    assert message(lambda: train(out, run))
    assert not list((tmp_path / "outside").iterdir()) and (tmp_path / "victim").read_text() == "{}"
