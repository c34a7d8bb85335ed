"""State files as fuzz targets: what migaki left in a folder, damaged or made by a stranger, met by the same command.

As in `targets.py` a case is bytes, of which the first says which file the rest takes the place of, and in which form:
the file itself, a link to one outside, a folder, a pipe. Whoever opens the folder goes on cleanly or refuses in one
line; a file outside is never read or changed.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from migaki.core.checkpoint import load_checkpoint, save_checkpoint
from migaki.core.config import to_dict
from migaki.core.errors import UserError
from migaki.core.fit import Run, fit
from migaki.core.log import read_rows
from migaki.core.trained import load_system
from migaki.data.folder import ImageFolder
from migaki.data.writers.formats import open_writer
from migaki.data.writers.record import plan
from migaki.lab.chain import Phase, Step, run_chain
from migaki.report.evaluation import read_figures
from migaki.systems.gaze import Gaze
from migaki.web.sittings import Sittings
from migaki.web.stimuli import Form, Stimulus, StimulusSet

SET = ("dataset.json", ".journal", "metadata.jsonl", ".lock")
SHARDS = ("dataset.json", ".journal", "index.jsonl", ".000000.index")
RUN = ("config.json", "checkpoint", "metrics.jsonl", "model.safetensors", ".lock")
STUDY = ("steps.json", "evaluation.json")

_MEMORY = Path("/dev/shm")
_FORMS = 8  # of ten cases seven are files; a link, a folder and a pipe are the others
_OUTSIDE = b"a file outside"
_CONFIG = Gaze.Config(channels=1, height=24, width=24, features=2, steps=2, batch_size=2)


class _NoSource:
    """A continued run asks for batches of zeros."""

    def batch(self, step: int) -> Any:
        """A batch."""
        import torch

        return {"image": torch.zeros(2, 1, 24, 24), "gaze": torch.zeros(2, 2)}


def _scratch() -> Path:
    folder = Path(tempfile.mkdtemp(dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


_made: dict[tuple[int, str], Path] = {}


def _whole(kind: str) -> Path:
    """The folder of a kind as migaki leaves it, of this process; made once."""
    key = (os.getpid(), kind)
    if key not in _made:
        _made[key] = _scratch() / "whole"
        _MAKE[kind](_made[key])
    return _made[key]


def _case(kind: str, names: tuple[str, ...], data: bytes, use: Callable[[Path], object]) -> str:
    """Put a file of the case into a copy of the whole folder and use that; the refusal, "" if it was taken."""
    if not data:
        return ""
    folder = _whole(kind).with_name("case")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(_whole(kind), folder)
    place = folder / names[data[0] % len(names)]
    _put(place, data[0] // len(names) % _FORMS, data[1:])
    try:
        use(folder)
    except UserError as error:
        assert "\n" not in str(error) and 0 < len(str(error)) < 2000, str(error)[:3000]
        return str(error)
    finally:
        outside = folder.with_name("outside")
        assert not outside.exists() or outside.read_bytes() == _OUTSIDE, "a file outside was changed"
    return ""


def _put(place: Path, form: int, data: bytes) -> None:
    if place.is_file():
        place.unlink()
    if form == 1:
        place.parent.with_name("outside").write_bytes(_OUTSIDE)
        place.symlink_to(place.parent.with_name("outside"))
    elif form == 2:
        place.mkdir()
    elif form == 3:
        os.mkfifo(place)
    else:
        place.write_bytes(data)


# ------------------------------------------------------------------------------------------------ sets


def _write(out: Path, form: str, total: int, stop: int) -> None:
    """Go on with a set of `total` images up to image `stop`."""
    with open_writer(form, out, {"command": "c", "seed": 0}, total, shard=2) as writer:  # type: ignore[arg-type]
        for index in writer.missing(range(stop)):
            writer.write_plan(index, plan(f"{index}", np.full((1, 4, 4), index, np.uint8), {"x": index}, "png"))


def _look(folder: Path) -> None:
    images = ImageFolder(folder)
    images.read([0, len(images) - 1])


def image_set(data: bytes) -> str:
    """A finished and an unfinished folder of images are continued and read."""

    def use(folder: Path) -> None:
        _write(folder, "folder", 4, 4)
        _look(folder)

    return _case("set" if data[:1] < b"\x80" else "begun set", SET, data, use)


def shards(data: bytes) -> str:
    """The same of shards."""

    def use(folder: Path) -> None:
        _write(folder, "webdataset", 4, 4)
        _look(folder)

    return _case("sharded" if data[:1] < b"\x80" else "begun sharded", SHARDS, data, use)


# ------------------------------------------------------------------------------------------------ runs and studies


def _fit(folder: Path, steps: int = 2) -> None:
    run = Run(device="cpu", precision="fp32", log_every=1, checkpoint_every=1, sample_every=0)
    fit(Gaze(_CONFIG), _NoSource(), run, folder, quiet=True)  # type: ignore[arg-type]


def run(data: bytes) -> str:
    """A run with one remaining step is continued, and its model loaded."""

    def use(folder: Path) -> None:
        _fit(folder)
        read_rows(folder / "metrics.jsonl")
        load_system(folder)

    return _case("run" if data[:1] < b"\x80" else "begun run", RUN, data, use)


def study(data: bytes) -> str:
    """A study's memory of its steps, and the figures of an evaluation."""

    def use(folder: Path) -> None:
        steps = (Step(words=("walk", "far"), work=lambda _: None, proof=folder / "made" / "proof"),)
        run_chain([Phase(title="walk", steps=steps)], folder, last="rest", quiet=True)
        read_figures(folder)

    return _case("study", STUDY, data, use)


def sittings(data: bytes) -> str:
    """The file of a visual Turing test."""

    def use(folder: Path) -> None:
        opened = Sittings(folder / "turing.sqlite")
        try:
            opened.stimuli()
            opened.machine()
            opened.records()
            key, _ = opened.begin()
            opened.answer(key, 0, True)
        except sqlite3.Error as error:  # found while it serves: the page answers that nothing can be stored now
            assert str(error)
        finally:
            opened.close()

    return _case("sittings", ("turing.sqlite",), data, use)


TARGETS: dict[str, Callable[[bytes], str]] = {
    "set": image_set, "sharded": shards, "run": run, "study": study, "sittings": sittings}

NAMES = {"set": SET, "sharded": SHARDS, "run": RUN, "study": STUDY, "sittings": ("turing.sqlite",)}


# ------------------------------------------------------------------------------------------------ where to begin


def _begun_run(out: Path) -> None:
    _fit(out)
    (out / "model.safetensors").unlink()
    system = Gaze(_CONFIG)
    load_checkpoint(out / "checkpoint", system)
    save_checkpoint(out / "checkpoint", system, 1)


def _make_study(out: Path) -> None:
    steps = (Step(words=("walk", "far"), work=lambda _: None, proof=out.with_name("case") / "made" / "proof"),)
    run_chain([Phase(title="walk", steps=steps)], out, last="rest", quiet=True)
    (out / "made").mkdir()
    (out / "made" / "proof").write_text("")
    (out / "evaluation.json").write_text(json.dumps({"run": "r", "figures": {"mean_deg": 5.0, "confusion": [[1, 0]]},
                                                     "config": to_dict(_CONFIG)}))


def _make_sittings(out: Path) -> None:
    pictures = tuple(Stimulus(is_real=bool(n), name=str(n), pixels=np.full((4, 6, 1), n, np.uint8)) for n in range(2))
    test = StimulusSet(form=Form(width=6, height=4, channels=1), stimuli=pictures, warnings=())
    Sittings.create(out / "turing.sqlite", test, {"seed": "0"}).close()


_MAKE: dict[str, Callable[[Path], None]] = {
    "set": lambda out: _write(out, "folder", 4, 4), "begun set": lambda out: _write(out, "folder", 4, 3),
    "sharded": lambda out: _write(out, "webdataset", 4, 4),
    "begun sharded": lambda out: _write(out, "webdataset", 4, 2),
    "run": _fit, "begun run": _begun_run, "study": _make_study, "sittings": _make_sittings,
}


def seeds(target: str) -> list[bytes]:
    """The files as migaki left them, and a link, a folder and a pipe in the place of each."""
    cases = []
    for start, kind in ((0, target), (128, f"begun {target}")):
        if kind not in _MAKE:
            continue
        for number, name in enumerate(NAMES[target]):
            count = len(NAMES[target])
            first = next(value for value in range(start, start + count) if value % count == number)
            path = _whole(kind) / name
            data = path.read_bytes() if path.is_file() else b""
            # The form is counted from the first byte of the case.
            for step in range(_FORMS):
                if first + step * count < start + 128:
                    cases.append(bytes([first + step * count]) + data)
    return cases
