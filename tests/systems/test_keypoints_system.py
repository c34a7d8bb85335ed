"""Keypoints of any names: what is not labelled does not teach, what a model has read does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from task_folders import QUICK, spots, write

from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder
from migaki.judges.drift import Drift
from migaki.stages.apply import ApplyJob, apply
from migaki.stages.evaluate import EvaluateJob, evaluate_into
from migaki.stages.train import train
from migaki.systems.keypoints import Keypoints

CONFIG = Keypoints.Config(steps=90, batch_size=16, features=12, depth=2, max_turn=5.0, learning_rate=6e-3)
NAMES = {"keypoint_names": ["bright", "dark"]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("keypoints")
    data = spots(root / "data", 160, said=NAMES)
    spots(root / "test", 40, seed=9, said=NAMES)
    train(Keypoints, Keypoints.Data(data=(data,), photos=data), CONFIG, QUICK, root / "run", quiet=True)
    return root / "run"


def test_it_finds_the_spots_although_a_third_of_one_is_not_labelled(run: Path) -> None:
    _, figures = evaluate_into(run, EvaluateJob(data=run.parent / "test"), quiet=True)
    assert figures["mean_px"] < 2 and figures["num_landmarks"] == 66 and figures["count"] == 40
    assert figures["landmarks"] == ["bright", "dark"] and figures["pck_10_percent"] > 0.6
    assert (run / "samples" / "held_out.png").exists() and "held_out/mean_px" in (run / "metrics.jsonl").read_text()


def test_what_it_reads_is_learned_from_and_drifts_in_px(run: Path, tmp_path: Path) -> None:
    apply(run, ApplyJob(input=run.parent / "test", out=tmp_path / "read"), quiet=True)
    folder = ImageFolder(tmp_path / "read")
    assert folder.labels["predicted_keypoints"].shape == (40, 2, 2) and folder.made["keypoint_names"] == NAMES[
        "keypoint_names"]
    _, source = Keypoints.open(Keypoints.Data(data=(tmp_path / "read",)), replace(CONFIG, batch_size=40, validate=0.0),
                               0)
    found = source.batch(0)["keypoints"]
    assert found.isfinite().all()  # all are read, also those that have no label
    assert found.sum().item() == pytest.approx(folder.labels["predicted_keypoints"].sum(), rel=1e-5)
    judge = Drift(Drift.Config(before=run.parent / "test", after=tmp_path / "read", estimator=(run,)))
    (row,) = judge.judge([], lambda *_: None).record["rows"]
    assert row["unit"] == "px" and row["drift"]["mean"] == 0 and row["bias"] == 0
    assert row["error_before"]["mean"] < 2.5  # over the keypoints that have labels


def test_what_is_not_labelled_does_not_teach() -> None:
    config, batch = Keypoints.tiny()
    losses = []
    for place in (torch.nan, torch.nan):
        batch["keypoints"][1, 2, 0] = place
        torch.manual_seed(0)
        losses.append(Keypoints(config).train().update(batch, 0)["net/loss"])
    batch["keypoints"][1, 2] = torch.tensor([3.0, 3.0])
    torch.manual_seed(0)
    losses.append(Keypoints(config).train().update(batch, 0)["net/loss"])
    assert losses[0] == losses[1] != losses[2]


def test_visibility_becomes_a_gap_and_other_labels_have_none(tmp_path: Path) -> None:
    data = spots(tmp_path / "data", 12)
    config, source = Keypoints.open(Keypoints.Data(data=(data,)), replace(CONFIG, batch_size=12, validate=0.0), 0)
    assert int(source.batch(0)["keypoints"].isnan().any(2).sum()) == 4 and config.key == "keypoints"
    other = spots(tmp_path / "other", 12, key="joints")
    config, source = Keypoints.open(Keypoints.Data(data=(other,)), replace(CONFIG, batch_size=12, validate=0.0), 0)
    assert config.key == "joints" and source.batch(0)["joints"].isfinite().all() and config.names == ()


def test_a_place_that_is_spread_over_columns_is_read_learned_and_moved(tmp_path: Path) -> None:
    rows = [{"pupil_x": 3.0 + k, "pupil_y": 5.0, "predicted_pupil_x": 4.0, "predicted_pupil_y": 6.0} for k in range(3)]
    data = write(tmp_path / "data", PLAIN, rows)
    folder = ImageFolder(data, size=(32, 32))
    assert folder.labels["predicted_pupil_centre"].tolist() == [[8.5, 12.5]] * 3  # twice as large, centres of pixels
    config, source = Keypoints.open(Keypoints.Data(data=(data,)), replace(CONFIG, batch_size=3, validate=0.0), 0)
    assert config.key == "pupil_centre" and source.batch(0)["pupil_centre"].tolist() == [[4.0, 6.0]] * 3
    _, source = Keypoints.open(Keypoints.Data(data=(data,)), replace(CONFIG, batch_size=3, height=32, width=32,
                                                                     validate=0.0), 0)
    assert source.batch(0)["pupil_centre"].tolist() == [[8.5, 12.5]] * 3


PLAIN = [np.full((16, 16), 0.5)] * 3


@pytest.mark.parametrize(("row", "said", "options", "message"), [
    ({"label": 1}, {}, {}, "has no places"),
    ({"joints": [[1.0, 2]], "iris_outline": [[1.0, 2]]}, {}, {}, "several kinds of places"),
    ({"keypoints": [[1.0, 2]], "keypoint_visible": [1, 2]}, {}, {}, "not one number for each of 1 keypoints"),
    ({"keypoints": [[1.0, 2]], "keypoint_visible": [0]}, {}, {}, "no place in any row"),
    ({"keypoints": [[1.0, 2]]}, {"keypoint_names": ["a", "b"]}, {}, "no list of 1 names"),
    ({"keypoints": [[1.0, 2]]}, {}, {"num_points": 4}, "has 1 places an image, 4 wanted"),
    ({"marks": [1.0, 2, 3, 4]}, {}, {"key": "marks"}, "holds no positions"),
])
def test_what_cannot_be_learned_is_refused_in_one_line(row: dict[str, object], said: dict[str, object],
                                                       options: dict[str, object], message: str,
                                                       tmp_path: Path) -> None:
    data = write(tmp_path / "data", PLAIN, [row] * 3, said)
    with pytest.raises(UserError, match=message) as caught:
        Keypoints.open(Keypoints.Data(data=(data,)), Keypoints.Config(**options), 0)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
