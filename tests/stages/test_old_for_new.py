"""What stands on old files does not pass for new: sets made by apply, import and simulate."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import torch
from refusals import message
from toy_folders import write_folder

from migaki.core.checkpoint import save_model
from migaki.core.config import to_dict
from migaki.core.trained import load_system
from migaki.data.files.encoding import encode_image
from migaki.importers.photos import Photos
from migaki.simulate.digits import DigitSimulator
from migaki.stages.apply import ApplyJob, apply
from migaki.stages.simulate import SimulateJob, _held, simulate
from migaki.systems.gaze import Gaze

OTHER = encode_image(np.full((1, 24, 40), 77, np.uint8), "png")


def untrained(run: Path) -> Path:
    """A gaze model that has learnt nothing, as `fit` leaves it."""
    run.mkdir()
    config = Gaze.Config(channels=1, height=24, width=40, features=2)
    (run / "config.json").write_text(json.dumps({"system": "gaze", "config": to_dict(config), "data": {}}))
    save_model(run / "model.safetensors", Gaze(config))
    return run


def other_weights(run: Path) -> None:
    """The same configuration, another model."""
    system = load_system(run)
    with torch.no_grad():
        next(system.parameters()).view(-1)[0] += 1
    save_model(run / "model.safetensors", system)


def test_apply_knows_the_weights_and_the_pictures(tmp_path: Path) -> None:
    run, data = untrained(tmp_path / "run"), write_folder(tmp_path / "set", 3, (24, 40), labels=())
    job = ApplyJob(input=data, out=tmp_path / "out", device="cpu", precision="fp32")
    apply(run, job, quiet=True)
    apply(run, job, quiet=True)  # nothing has changed
    kept = (run / "model.safetensors").read_bytes()
    other_weights(run)
    assert "another run" in message(lambda: apply(run, job, quiet=True))
    (run / "model.safetensors").write_bytes(kept)
    apply(run, job, quiet=True)
    (data / "001.png").write_bytes(OTHER)
    assert "another parent_fingerprint" in message(lambda: apply(run, job, quiet=True))


def test_import_knows_its_source(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "set", 3, (24, 40), labels=())
    Photos().run(data, tmp_path / "out")
    (data / ".DS_Store").write_bytes(b"x")
    Photos().run(data, tmp_path / "out")
    size = (data / "001.png").stat().st_size
    (data / "001.png").write_bytes((data / "001.png").read_bytes()[:-20] + b"x" * 20)
    assert (data / "001.png").stat().st_size == size
    assert "another parent" in message(lambda: Photos().run(data, tmp_path / "out"))


def test_simulate_knows_its_assets(tmp_path: Path) -> None:
    @dataclasses.dataclass(frozen=True)
    class Config:
        assets: Path | None = None
        size: int = 8

    folder = write_folder(tmp_path / "assets", 2, (8, 8))
    (folder / "shape.txt").write_text("1 2 3")
    before = _held(Config(assets=folder))
    assert list(before) == ["assets"] and _held(Config()) == {}
    (folder / "shape.txt").write_text("1 2 4")
    assert _held(Config(assets=folder)) != before
    job = SimulateJob(out=tmp_path / "out", count=2)
    simulate("digits", DigitSimulator(), job, quiet=True)
    assert '"contents"' not in (tmp_path / "out" / "dataset.json").read_text()  # there is nothing to know
