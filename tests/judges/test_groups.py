"""Figures by group: each group's own, the worst first, intervals over groups; gaze after calibration by group."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from toy_folders import write_folder

from migaki.cli import main
from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.core.metric import Metric
from migaki.data.folder import ImageFolder
from migaki.judges.calibrated import calibrated_findings
from migaki.judges.groups import GroupMetrics, compare_groups, groups_of
from migaki.judges.labels import Labels
from migaki.metrics.calibration import calibrate
from migaki.metrics.classification import Accuracy
from migaki.metrics.gaze import AngularError
from migaki.metrics.keypoints import KeypointError
from migaki.stages.evaluate import EvaluateJob, evaluate_into, run_judge
from migaki.stages.train import train
from migaki.systems.gaze import Gaze
from migaki.systems.keypoints import Keypoints

QUICK = Run(device="cpu", precision="fp32", sample_every=0, log_every=10)
PEOPLE = ["ann", "ann", "ben", "cleo", "ben", "ann"]
OFF = torch.tensor([1.0, 2.0, 5.0, 3.0, 7.0, 3.0])


class Reader:
    """In place of a system: only its metric is asked for."""

    def metric(self) -> Metric:
        return KeypointError("pupil_centre", may_miss=True)


def write(folder: Path, rows: list[dict[str, Any]], side: int = 8) -> Path:
    """Dark pictures with a bright spot at `pupil_x`, `pupil_y`, where a row has them, and the rows as metadata."""
    folder.mkdir()
    for k, row in enumerate(rows):
        picture = np.zeros((side, side), np.uint8)
        picture[int(row.get("pupil_y", 0)), int(row.get("pupil_x", 0))] = 255
        Image.fromarray(picture).save(folder / f"{k:04d}.png")
    lines = [json.dumps({"file_name": f"{k:04d}.png", **row}) for k, row in enumerate(rows)]
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def people(tmp_path: Path, **columns: list[Any]) -> ImageFolder:
    rows = [{"person": name, **{key: values[k] for key, values in columns.items()}} for k, name in enumerate(PEOPLE)]
    return ImageFolder(write(tmp_path / "people", rows))


def read(folder: ImageFolder, off: torch.Tensor, by: tuple[str, ...] = ("person",), missing: int = -1) -> GroupMetrics:
    found = GroupMetrics(Reader(), groups_of(folder, by))  # type: ignore[arg-type]
    truth = torch.stack([torch.arange(6.0), torch.zeros(6)], 1)
    guess = truth + torch.stack([torch.zeros(6), off], 1)
    truth[missing if missing >= 0 else 6:][:1] = torch.nan
    for part in (slice(0, 4), slice(4, 6)):
        found.add({"pupil_centre": guess[part]}, {"pupil_centre": truth[part]})
    return found


def test_groups_are_the_values_of_columns(tmp_path: Path) -> None:
    folder = people(tmp_path, side=[0, 1, 0, 0, 0, 1])
    one = groups_of(folder, ("person",))
    assert one.names == ("ann", "ben", "cleo") and one.of.tolist() == [0, 0, 1, 2, 1, 0]
    two = groups_of(folder, ("person", "side"))
    assert two.names == ("ann 0", "ann 1", "ben 0", "cleo 0") and two.of.tolist() == [0, 1, 2, 3, 2, 1]
    assert groups_of(folder, ()).of.tolist() == [0] * 6


def test_each_group_counts_the_same_and_the_worst_is_first(tmp_path: Path) -> None:
    folder = people(tmp_path)
    found = compare_groups(groups_of(folder, ("person",)), [read(folder, OFF)], ["run"])
    means = np.array([2.0, 6.0, 3.0])  # ann, ben, cleo
    low, high = stats.t.interval(0.95, 2, means.mean(), stats.sem(means))
    assert found.figures["by_group"] == {"ann": 2.0, "ben": 6.0, "cleo": 3.0} and found.figures["groups"] == 3
    assert found.figures["group_mean"] == pytest.approx(11 / 3)
    assert low < 0  # which no error can be
    assert (found.figures["group_mean_low"], found.figures["group_mean_high"]) == pytest.approx((0, high))
    assert [row[:3] for row in found.section.rows] == [["ben", 2, 6.0], ["cleo", 1, 3.0], ["ann", 3, 2.0]]
    assert found.section.rows[0][3] == 1.0  # ben at 2 and 4: their mean place errs by 1
    assert found.baseline["group_mean"] == pytest.approx((2 + 1 + 0) / 3)  # about x = 2, 3 and 3
    assert [row["person"] for row in csv.DictReader(io.StringIO(found.file.decode()))] == ["ben", "cleo", "ann"]


def test_several_runs_are_averaged_within_each_group(tmp_path: Path) -> None:
    folder = people(tmp_path)
    found = compare_groups(groups_of(folder, ("person",)), [read(folder, OFF), read(folder, 3 * OFF)], ["a", "b"])
    assert found.figures["by_group"] == {"ann": 4.0, "ben": 12.0, "cleo": 6.0}
    assert found.section.columns[-2:] == ["a", "b"] and found.section.rows[0][-2:] == [6.0, 18.0]


def test_a_group_without_a_label_has_no_figure_and_two_have_no_interval(tmp_path: Path) -> None:
    folder = people(tmp_path)
    found = compare_groups(groups_of(folder, ("person",)), [read(folder, OFF, missing=3)], ["run"])
    assert found.figures["by_group"]["cleo"] is None and found.figures["groups"] == 2
    assert found.figures["group_mean"] == 4.0 and "group_mean_low" not in found.figures
    assert found.section.rows[-1][0] == "cleo"


def test_where_more_is_better_the_least_is_first(tmp_path: Path) -> None:
    class Sorter:
        def metric(self) -> Metric:
            return Accuracy()

    folder = people(tmp_path)
    found = GroupMetrics(Sorter(), groups_of(folder, ("person",)))  # type: ignore[arg-type]
    truth = torch.tensor([0, 1, 0, 1, 0, 1])
    right: Batch = {"logits": torch.eye(2)[torch.tensor([0, 1, 0, 0, 1, 1])]}
    found.add(right, {"label": truth})
    rows = compare_groups(groups_of(folder, ("person",)), [found], ["run"]).section.rows
    assert [row[0] for row in rows] == ["cleo", "ben", "ann"]


@pytest.mark.parametrize(("columns", "by", "message"), [
    ({}, ("hair",), "--by hair: 0000.png has no 'hair'"),
    ({"size": [0.5] * 6}, ("size",), "'size' holds 0.5"),
    ({"age": [1, 2, None, 3, 4, 5]}, ("age",), "0002.png has no 'age'"),
])
def test_columns_that_make_no_groups_are_refused(tmp_path: Path, columns: dict[str, list[Any]], by: tuple[str, ...],
                                                 message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        groups_of(people(tmp_path, **columns), by)
    assert "\n" not in str(caught.value)


def test_evaluate_by_column_writes_a_table_a_file_and_the_interval(tmp_path: Path,
                                                                   capsys: pytest.CaptureFixture[str]) -> None:
    draw = np.random.default_rng(0)
    rows = [{"pupil_x": int(x), "pupil_y": int(y), "person": "abc"[k % 3]}
            for k, (x, y) in enumerate(draw.integers(4, 20, (12, 2)))]
    data = write(tmp_path / "data", rows, side=24)
    config = Keypoints.Config(steps=2, batch_size=4, features=4, depth=2, validate=0.0)
    train(Keypoints, Keypoints.Data(data=(data,)), config, QUICK, tmp_path / "run", quiet=True)
    assert main(["evaluate", str(tmp_path / "run"), "--data", str(data), "--by", "person", "--device", "cpu"]) == 0
    assert "group_mean_low" in capsys.readouterr().out
    out = tmp_path / "run" / "evaluation"
    record = json.loads((out / "evaluation.json").read_text())
    assert record["by"] == ["person"] and set(record["figures"]["by_group"]) == {"a", "b", "c"}
    assert record["costs_nothing"]["figures"]["group_mean"] > 0
    assert "By person, the worst first" in (out / "evaluation.html").read_text() and (out / "groups.csv").is_file()
    whole = record["figures"]
    assert np.mean(list(whole["by_group"].values())) == pytest.approx(whole["group_mean"])
    assert main(["evaluate", str(tmp_path / "run"), "--data", str(data), "--by", "hair", "--out",
                 str(tmp_path / "no")]) == 2
    assert "has no 'hair'" in capsys.readouterr().err and not list((tmp_path / "no").glob("*.json"))
    assert main(["evaluate", str(tmp_path / "run"), "--data", str(data), "--calibrate", "3"]) == 2
    assert "only the gaze of a gaze model" in capsys.readouterr().err


def test_evaluate_calibrates_gaze_on_a_few_looks_of_each_side(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data", 24, (24, 40))
    lines = [json.loads(line) | {"side": k % 2}
             for k, line in enumerate((data / "metadata.jsonl").read_text().splitlines())]
    (data / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = replace(Gaze.tiny()[0], channels=0, height=0, width=0, steps=2)
    train(Gaze, Gaze.Data(data=(data,)), config, QUICK, tmp_path / "run", quiet=True)
    job = EvaluateJob(data=data, by=("side",), calibrate=5, draws=6, device="cpu", precision="fp32")
    out, figures = evaluate_into(tmp_path / "run", job, quiet=True)
    record = json.loads((out / "evaluation.json").read_text())
    free = record["costs_nothing"]["figures"]["calibrated_mean_deg"]
    truth = ImageFolder(data).labels["gaze"]
    wanted = calibrate(torch.zeros(24, 2), torch.from_numpy(truth), torch.arange(24) % 2, looks=5, draws=6)
    assert free == pytest.approx(wanted.figures()["calibrated_mean_deg"])
    assert figures["calibrated_mean_deg"] > 0 and record["calibrate"] == 5 and record["draws"] == 6
    rows = list(csv.DictReader(io.StringIO((out / "calibrated.csv").read_text())))
    assert len(rows) == 24
    assert np.mean([float(row["error_deg"]) for row in rows]) == pytest.approx(figures["calibrated_mean_deg"], rel=0.1)
    assert "After calibration" in (out / "evaluation.html").read_text()
    shutil.copytree(tmp_path / "run", tmp_path / "other")
    both = run_judge(Labels(Labels.Config(data=data, calibrate=5, draws=2, device="cpu", precision="fp32")),
                     [tmp_path / "run", tmp_path / "other"], quiet=True)
    assert both.figures["runs"] == 2 and both.figures["calibrated_mean_deg"] > 0 and "group_mean" not in both.figures


def test_the_worst_group_after_calibration_is_first(tmp_path: Path) -> None:
    groups = groups_of(people(tmp_path), ())
    metric, draw = AngularError(), np.random.default_rng(0)
    truth = torch.from_numpy(draw.uniform(-0.2, 0.2, (40, 2)))
    noise = torch.from_numpy(draw.normal(0, 0.05, (40, 2))) * (torch.arange(40) >= 20)[:, None]
    metric.update({"gaze": truth + 0.1 + noise}, {"gaze": truth})
    halves = type(groups)(columns=("half",), names=("first", "last"), of=np.arange(40) // 20)
    found = calibrated_findings([metric], halves, [f"{k}" for k in range(40)], 6, 10)
    rows = found.section.rows
    assert [row[0] for row in rows] == ["last", "first"] and rows[1][3] < 1e-5 < 1 < rows[0][3] < rows[0][4]
    assert rows[0][2] > 5 and rows[0][1] == 20
