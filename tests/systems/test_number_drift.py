"""A refiner whose labels are numbers or keypoints: tolerance and rejection in the label's own unit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from task_folders import QUICK, bars, spots

from migaki.core.errors import UserError
from migaki.core.system import System
from migaki.stages.apply import ApplyJob, apply
from migaki.stages.train import train
from migaki.systems.keypoints import Keypoints
from migaki.systems.regressor import Regressor
from migaki.systems.simgan import SimGAN

TINY = SimGAN.Config(steps=3, batch_size=4, features=4, blocks=1, history=8, discriminator_width=0.1,
                     discriminator_pretraining=0, shortcut=False, ema=0.0)


def estimator(kind: str, root: Path) -> tuple[type[System], Any, Any, str]:
    """The class, the data and the options of an estimator, and the unit of its label."""
    if kind == "keypoints":
        data, config = spots(root / "data", 24), Keypoints.Config(steps=3, batch_size=8, features=4, depth=2)
        return Keypoints, Keypoints.Data(data=(data,)), config, "px"
    data = bars(root / "data", 24, said={"units": {"heading": "deg", "size": "mm"}, "circular": ["heading"]}, gaps=0)
    column, unit = {"angle": ("heading", "deg"), "number": ("size", "mm")}[kind]
    return Regressor, Regressor.Data(data=(data,)), Regressor.Config(steps=3, batch_size=8, features=4,
                                                                    columns=(column,)), unit


@pytest.mark.parametrize("kind", ["angle", "number", "keypoints"])
def test_a_refiner_is_steered_and_judged_in_the_unit_of_the_label(kind: str, tmp_path: Path) -> None:
    cls, data, config, unit = estimator(kind, tmp_path)
    train(cls, data, config, QUICK, tmp_path / "estimator", quiet=True)
    folder = tmp_path / "data"
    photos = (bars if kind != "keypoints" else spots)(tmp_path / "photos", 12, seed=3)
    folders = SimGAN.Data(synthetic=folder, real=photos, estimator=tmp_path / "estimator")
    train(SimGAN, folders, replace(TINY, max_drift=f"2{unit}"), replace(QUICK, log_every=1), tmp_path / "refiner",
          quiet=True)
    rows = [json.loads(line) for line in (tmp_path / "refiner" / "metrics.jsonl").read_text().splitlines()]
    assert f"drift/{unit}" in rows[-1] and "drift/log10_strength" in rows[-1]
    apply(tmp_path / "refiner", ApplyJob(input=folder, out=tmp_path / "out", reject_drift=f"0.000001{unit}",
                                         rejected="flag"), quiet=True)
    made = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert made["drift_unit"] == unit and made["reject_drift"] == f"1e-06{unit}"
    found = [json.loads(line) for line in (tmp_path / "out" / "metadata.jsonl").read_text().splitlines()]
    assert all(row["rejected"] == int(row["drift"] > 1e-6) for row in found)
    assert any(row["drift"] > 0 for row in found)
    with pytest.raises(UserError, match=f"reads {unit}, not std"):
        apply(tmp_path / "refiner", ApplyJob(input=folder, out=tmp_path / "no", reject_drift="1std"), quiet=True)
