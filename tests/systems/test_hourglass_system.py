"""The hourglass learns where a spot is; labels of other names and shapes; folders that do not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.data.folder import ImageFolder
from migaki.data.writers.writer import FolderWriter, batch_rows
from migaki.report.evaluation import read_errors
from migaki.stages.apply import ApplyJob, apply
from migaki.stages.evaluate import EvaluateJob, evaluate_into
from migaki.stages.train import train
from migaki.systems.hourglass import HourglassSystem

RUN = Run(device="cpu", precision="fp32", sample_every=0)


def spots(out: Path, count: int, key: str = "joints", size: int = 32, seed: int = 0) -> Path:
    """Two spots on grey, the bright one and the dark one, as places in `key`."""
    draw = torch.Generator().manual_seed(seed)
    places = 6 + torch.rand(count, 2, 2, generator=draw) * (size - 13)
    x, y = torch.arange(size).float(), torch.arange(size).float()[:, None]
    near = torch.exp(-((x - places[..., 0, None, None]) ** 2 + (y - places[..., 1, None, None]) ** 2) / 8)
    images = (0.5 + 0.45 * near[:, 0] - 0.45 * near[:, 1])[:, None]
    with FolderWriter(out, {"seed": seed}, count) as writer:
        for index, row in enumerate(batch_rows({key: places if key != "pupil_centre" else places[:, 0]})):
            writer.write(index, f"{index:04d}", images[index], row)
    return out


CONFIG = HourglassSystem.Config(steps=100, batch_size=16, features=16, stacks=2, depth=2, max_scale=0.05,
                                learning_rate=5e-3)


def test_it_finds_spots_and_evaluate_shows_it(tmp_path: Path) -> None:
    data, test = spots(tmp_path / "data", 200), spots(tmp_path / "test", 40, seed=9)
    train(HourglassSystem, HourglassSystem.Data(data=(data,)), CONFIG, RUN, tmp_path / "run", quiet=True)
    out, figures = evaluate_into(tmp_path / "run", EvaluateJob(data=test), quiet=True)
    assert figures["count"] == 40 and figures["mean_px"] < 1.2 and figures["within_2.5_px"] > 0.9
    assert (out / "curve.png").exists() and "curve.png" not in (out / "evaluation.json").read_text()
    assert read_errors(out / "errors.csv").mean() == pytest.approx(figures["mean_px"], abs=1e-3)
    apply(tmp_path / "run", ApplyJob(input=test, out=tmp_path / "applied"), quiet=True)
    predicted = ImageFolder(tmp_path / "applied").labels["predicted_joints"]
    truth = ImageFolder(test).labels["joints"]
    assert abs(((predicted - truth) ** 2).sum(2) ** 0.5).mean() == pytest.approx(figures["mean_px"], abs=0.05)


def test_one_place_and_another_label(tmp_path: Path) -> None:
    data = spots(tmp_path / "data", 12, "pupil_centre", size=24)
    config = replace(CONFIG, steps=2, batch_size=4, landmarks="pupil_centre")
    system = train(HourglassSystem, HourglassSystem.Data(data=(data,), photos=data), config, RUN, tmp_path / "run",
                   quiet=True)
    assert system.config.num_landmarks == 1 and (system.config.height, system.config.width) == (24, 24)
    made = system.predict({"image": torch.rand(3, 1, 24, 24)})
    assert made["pupil_centre"].shape == (3, 2)
    assert evaluate_into(tmp_path / "run", EvaluateJob(data=data), quiet=True)[1]["count"] == 12


def test_errors_are_reported_at_the_width_that_is_asked_for() -> None:
    config, batch = HourglassSystem.tiny()
    torch.manual_seed(0)
    near = HourglassSystem(config).eval()
    far = HourglassSystem(replace(config, error_width=240)).eval()
    far.load_state_dict(near.state_dict())
    means = []
    for system in (near, far):
        metric = system.metric()
        metric.update(system.predict(batch), batch)
        means.append(metric.compute()["mean_px"])
    assert means[1] == pytest.approx(10 * means[0])


def test_landmarks_outside_do_not_teach() -> None:
    config, batch = HourglassSystem.tiny()
    config = replace(config, max_turn=0.0, max_scale=0.0, max_shift=0.0)
    losses = []
    for far in (1000.0, 5000.0):
        torch.manual_seed(0)
        system = HourglassSystem(config)
        joints = batch["joints"].clone()
        joints[:, 1, 0] = far
        losses.append(system.update({**batch, "joints": joints}, 0)["net/loss"])
    assert losses[0] == losses[1]


def test_folders_that_do_not_fit(tmp_path: Path) -> None:
    data, other = spots(tmp_path / "data", 6), spots(tmp_path / "other", 6, "tips")

    def opened(*folders: Path, **changes: object) -> None:
        HourglassSystem.open(HourglassSystem.Data(data=folders), replace(CONFIG, **changes), 0)  # type: ignore[arg-type]

    opened(data)
    opened(other, landmarks="tips")
    with pytest.raises(UserError, match="has no label 'tips'"):
        opened(data, landmarks="tips")
    with pytest.raises(UserError, match="would have to be scaled"):
        opened(other, landmarks="tips", height=16, width=16)
    with pytest.raises(UserError, match="5 wanted"):
        opened(data, num_landmarks=5)
    with FolderWriter(tmp_path / "classes", {}, 2) as writer:
        for index in range(2):
            writer.write(index, f"{index}", torch.rand(1, 16, 16), {"label": index})
    with pytest.raises(UserError, match="holds no positions"):
        opened(tmp_path / "classes", landmarks="label")
    with pytest.raises(UserError, match="at least 1"):
        HourglassSystem(replace(HourglassSystem.tiny()[0], stacks=0))
