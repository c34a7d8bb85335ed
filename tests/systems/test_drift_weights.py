"""Gaze models that weigh refined images by how far their labels are said to have moved."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.data.folder import ImageFolder
from migaki.data.writers.writer import FolderWriter
from migaki.stages.train import train
from migaki.systems import gaze
from migaki.systems.gaze import Gaze

CONFIG = Gaze.Config(steps=3, batch_size=8, features=4, drift_scale=2.0)


def folder(path: Path, drifts: list[float | None], unit: str = "deg") -> Path:
    """Noise with gaze labels and a column of drifts."""
    draw = np.random.default_rng(0)
    with FolderWriter(path, {"drift_unit": unit}, len(drifts)) as writer:
        for place, drift in enumerate(drifts):
            row = {"gaze_pitch": 0.01 * place, "gaze_yaw": 0.0} | ({} if drift is ... else {"drift": drift})
            writer.write(place, f"{place}", draw.random((1, 24, 40), np.float32), row)
    return path


def test_what_another_program_left_as_dataset_json_is_no_matter(tmp_path: Path) -> None:
    data = folder(tmp_path / "set", [1.0] * 8)
    (data / "dataset.json").write_text("[1, 2]")
    assert ImageFolder(data).made == {}
    Gaze.open(Gaze.Data(data=(data,)), CONFIG, seed=0)


def test_weights_are_cauchys() -> None:
    distance, drift = torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0.0, 2.0, 4.0])
    weights = [1 / (1 + (d / 2) ** 2) for d in (0, 2, 4)]  # 1, a half, a fifth
    wanted = sum(w * x for w, x in zip(weights, (1, 3, 5), strict=True)) / sum(weights)
    assert gaze._weighted(distance, drift, 2.0).item() == pytest.approx(wanted)


def test_what_has_drifted_far_teaches_nothing(tmp_path: Path) -> None:
    """Wrong labels beside a drift of a million degrees leave the gradient alone."""
    system = Gaze(replace(CONFIG, channels=1, height=24, width=40, augment=False, dropout=0.0))
    batch = {"image": torch.rand(4, 1, 24, 40), "gaze": torch.zeros(4, 2), "drift": torch.tensor([0.0, 0.0, 1e6, 1e6])}

    def gradient(labels: float) -> torch.Tensor:
        torch.manual_seed(0)
        batch["gaze"][2:] = labels
        before = {name: value.clone() for name, value in system.state_dict().items()}
        system.update(batch, 1)
        found = torch.cat([(value.float() - before[name].float()).ravel()
                           for name, value in system.state_dict().items()])
        system.load_state_dict(before)
        for state in system.optimizers["net"].state.values():
            for value in state.values():
                value.zero_()
        return found

    still, moved = gradient(0.0), gradient(1.0)
    assert torch.allclose(still, moved, atol=1e-5) and still.abs().max() > 1e-3
    batch["drift"].zero_()
    assert not torch.allclose(gradient(0.0), gradient(1.0), atol=1e-5)


def test_the_column_is_read(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", [0.5, 0.7, 3.0, 0.0, 1.0, 2.0, 0.1, 0.2])
    _, source = Gaze.open(Gaze.Data(data=(data,)), CONFIG, 0)
    assert source.batch(0)["drift"].shape == (8,)
    out = train(Gaze, Gaze.Data(data=(data,)), CONFIG, Run(sample_every=0), tmp_path / "run", quiet=True)
    assert out is not None
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(np.isfinite(row["net/loss"]) for row in rows)


def test_mistakes(tmp_path: Path) -> None:
    without = folder(tmp_path / "without", [...] * 4)
    with pytest.raises(UserError, match="without: has no column 'drift'"):
        Gaze.open(Gaze.Data(data=(without,)), CONFIG, 0)
    missing = folder(tmp_path / "missing", [1.0, None, 1.0, 1.0])
    with pytest.raises(UserError, match="'drift' is missing or not finite for 1 of 4"):
        Gaze.open(Gaze.Data(data=(missing,)), CONFIG, 0)
    pixels = folder(tmp_path / "pixels", [1.0] * 4, unit="px")
    with pytest.raises(UserError, match="'drift' is in px"):
        Gaze.open(Gaze.Data(data=(pixels,)), CONFIG, 0)
    with pytest.raises(UserError, match="--drift-scale -1"):
        Gaze(replace(CONFIG, channels=1, height=24, width=40, drift_scale=-1.0))
