"""A depth network of our own: its losses, what it learns, pictures of any size, and runs that read something else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from migaki.changes.depth import Depth
from migaki.changes.moments import Moments
from migaki.changes.parts.depth_model import DepthModel
from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.data.folder import ImageFolder
from migaki.losses.depth import gradient_matching, scale_invariant
from migaki.stages.apply import apply_change
from migaki.stages.apply_job import ApplyJob
from migaki.stages.train import train
from migaki.systems.deep3d import Deep3d
from migaki.systems.depth import Depth as DepthSystem

Array = np.ndarray[Any, Any]
QUICK = Run(device="cpu", precision="fp32", sample_every=0, log_every=20)
HEIGHT, WIDTH = 32, 32


def ramps(folder: Path, count: int, seed: int) -> Path:
    """Floors that are bright where near: depth falls downwards, in a unit of each picture."""
    draw = np.random.default_rng(seed)
    (folder / "depths").mkdir(parents=True)
    lines = []
    for number in range(count):
        steep, unit = draw.uniform(1, 3), draw.uniform(0.8, 1.25)
        depth = np.repeat(unit * np.exp(-steep * np.linspace(0, 1, HEIGHT))[:, None], WIDTH, 1).astype(np.float32)
        grey = (0.9 - 0.5 * np.log(unit / depth) / 3)[..., None] + draw.normal(0, 0.02, (HEIGHT, WIDTH, 3))
        Image.fromarray(np.rint(255 * grey.clip(0, 1)).astype(np.uint8)).save(folder / f"{number}.png")
        Image.fromarray(depth).save(folder / "depths" / f"{number}.tif")
        lines.append(json.dumps({"file_name": f"{number}.png", "depth_file_name": f"depths/{number}.tif"}) + "\n")
    (folder / "metadata.jsonl").write_text("".join(lines))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, with the folders `data` and `test` beside it."""
    root = tmp_path_factory.mktemp("depth")
    data = DepthSystem.Data(data=(ramps(root / "data", 24, 0),))
    ramps(root / "test", 3, 1)
    config = DepthSystem.Config(steps=40, batch_size=6, features=4, learning_rate=1e-2, augment=False, validate=0.0)
    train(DepthSystem, data, config, QUICK, root / "run", quiet=True)
    return root / "run"


def test_a_factor_costs_nothing_where_it_is_forgiven() -> None:
    draw = torch.Generator().manual_seed(0)
    truth, there = torch.randn(2, 9, 12, generator=draw), (torch.rand(2, 9, 12, generator=draw) > 0.2).float()
    read = truth + torch.tensor([0.5, -2.0])[:, None, None]
    assert float(scale_invariant(read, truth, there, 1.0)) == pytest.approx(0, abs=1e-5)
    assert float(scale_invariant(read, truth, there, 0.0)) == pytest.approx((0.25 + 4) / 2, rel=1e-5)
    assert float(gradient_matching(read, truth, there)) == pytest.approx(0, abs=1e-5)
    nothing = torch.zeros_like(there)
    assert float(scale_invariant(read, truth, nothing, 0.5)) == 0 == float(gradient_matching(read, truth, nothing))
    half = there * torch.tensor([1.0, 0.0])[:, None, None]  # the second picture has no depth, and is no zero
    assert float(scale_invariant(read, truth, half, 0.0)) == pytest.approx(0.25, rel=1e-5)


def test_losses_are_float32_under_autocast() -> None:
    draw = torch.Generator().manual_seed(0)
    read, truth = torch.randn(2, 2, 9, 12, generator=draw)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = scale_invariant(read.bfloat16(), truth, torch.ones_like(truth), 0.5)
    expected = scale_invariant(read.bfloat16().float(), truth, torch.ones_like(truth), 0.5)
    assert found.dtype == torch.float32 and float(found) == float(expected)


def test_floors_are_read_at_any_size(run: Path, tmp_path: Path) -> None:
    test, large = ImageFolder(run.parent / "test"), tmp_path / "large"
    large.mkdir()
    for name in test.names:
        with Image.open(run.parent / "test" / name) as picture:
            picture.resize((80, 61)).save(large / name)
    change = Depth(Depth.Config(model=run))
    apply_change("depth", change, ApplyJob(input=large, out=tmp_path / "out"), quiet=True)
    made = ImageFolder(tmp_path / "out")
    assert made.made["units"] == {"depth": "relative"} and made.made["model_contents"]
    for number in range(3):
        found = np.log(made.plane("depth", number))
        truth = np.log(test.plane("depth", number))
        assert found.shape == (61, 80) and made.files["depth_picture"][number]
        rows = found.mean(1)[np.rint(np.linspace(0, 60, HEIGHT)).astype(int)]
        away = (rows - rows.mean()) - (truth.mean(1) - truth.mean())
        assert np.abs(away).mean() < 0.5 * np.abs(truth - truth.mean()).mean()  # a constant is twice as far off


def test_channels_beyond_colour_and_grey_pictures(run: Path) -> None:
    model, grey = DepthModel(run), torch.rand(1, 40, 50)
    assert (model(grey) == model(grey.expand(3, -1, -1))).all()
    assert (model(torch.cat([grey.expand(3, -1, -1), torch.zeros(1, 40, 50)])) == model(grey)).all()
    assert model(torch.rand(3, 9, 400)).shape == (9, 400)


def test_moments_takes_the_run(run: Path, tmp_path: Path) -> None:
    pictures = run.parent / "test"
    change = Moments(Moments.Config(next=pictures / "0.png", depth="model", model=run, frames=2))
    job = ApplyJob(input=pictures / "0.png", out=tmp_path / "out", variants=2)
    apply_change("moments", change, job, quiet=True)
    assert len(ImageFolder(tmp_path / "out")) == 2
    with pytest.raises(UserError, match="--depth model and --model RUN belong together"):
        Moments.Config(depth="model")


def test_runs_and_options_that_do_not_fit(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no such folder"):
        DepthModel(tmp_path / "no")
    with monkeypatch.context() as patch, pytest.raises(UserError, match="does not read depth"):
        patch.setattr("migaki.changes.parts.depth_model.load_system", lambda path: Deep3d(Deep3d.tiny()[0]))
        DepthModel(tmp_path)
    with pytest.raises(UserError, match="give one of them"):
        Depth.Config(model=run, network=run)
    config = DepthSystem.tiny()[0]
    for change in ({"share": 1.5}, {"max_scale": -1.0}, {"channels": 0}):
        with pytest.raises(UserError, match="depth: "):
            DepthSystem(replace(config, **change))  # type: ignore[arg-type]
