"""The regressor learns an angle and a length, says what it left out, and refuses what it cannot learn."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from task_folders import QUICK, bars, write

from migaki.core.errors import UserError
from migaki.core.trained import load_system
from migaki.data.folder import ImageFolder
from migaki.judges.drift import Drift
from migaki.stages.apply import ApplyJob, apply
from migaki.stages.evaluate import EvaluateJob, evaluate_into
from migaki.stages.train import train
from migaki.systems.regressor import Regressor

CONFIG = Regressor.Config(steps=120, batch_size=32, features=12, tolerance=(15.0, 0.5))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A regressor of angle and length, with the folders `data` and `test` beside it."""
    root = tmp_path_factory.mktemp("regressor")
    data = bars(root / "data", 400)
    bars(root / "test", 60, seed=9)
    train(Regressor, Regressor.Data(data=(data,), photos=data), CONFIG, QUICK, root / "run", quiet=True)
    return root / "run"


def test_it_learns_and_evaluate_shows_it(run: Path) -> None:
    system = load_system(run)
    assert system.config.columns == ("heading", "size") and system.config.units == ("deg", "px")
    assert system.config.circular == ("heading",)
    out, figures = evaluate_into(run, EvaluateJob(data=run.parent / "test"), quiet=True)
    assert figures["heading_mae"] < 20 and figures["size_r2"] > 0.5 and figures["size_count"] == 54
    assert figures["heading_within"] > 0.5
    found = json.loads((out / "evaluation.json").read_text())["costs_nothing"]
    assert found["name"] == "always the mean" and found["figures"]["heading_mae"] > 60
    assert (out / "read_0.png").exists() and (out / "readings.csv").read_text().startswith("file_name,predicted_head")


def test_it_is_validated_on_images_that_it_never_sees(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    judged = [row["held_out/relative_error"] for row in rows if "held_out/relative_error" in row]
    assert len(judged) >= 6 and judged[-1] < 0.5 < judged[0] * 2
    assert rows[-1]["held_out/relative_error_baseline"] == pytest.approx(1)
    assert (run / "samples" / "held_out.png").exists()


def test_mean_and_deviation_are_those_of_the_training_labels(run: Path) -> None:
    from migaki.data.batches.held_out import divide

    kept, _ = divide(ImageFolder(run.parent / "data"), 0.1)
    sizes = kept.labels["size"]
    system = load_system(run)
    assert isinstance(system, Regressor)
    assert system.mean[1].item() == pytest.approx(np.nanmean(sizes)) and system.mean[0] == 0
    assert system.deviation[1].item() == pytest.approx(np.nanstd(sizes), rel=1e-5) and system.start[0] == 0


def test_what_it_reads_is_written_and_learned_from(run: Path, tmp_path: Path) -> None:
    apply(run, ApplyJob(input=run.parent / "test", out=tmp_path / "read"), quiet=True)
    folder = ImageFolder(tmp_path / "read")
    assert folder.made["units"] == {"heading": "deg", "size": "px"} and folder.made["circular"] == ["heading"]
    assert folder.labels["predicted_heading"].min() >= 0 and folder.labels["predicted_heading"].max() < 360
    config, source = Regressor.open(Regressor.Data(data=(tmp_path / "read",)),
                                    replace(CONFIG, batch_size=60, validate=0.0), 0)
    batch = source.batch(0)
    assert set(np.round(batch["size"].numpy(), 4)) == set(np.round(folder.labels["predicted_size"], 4))
    assert config.columns == ("heading", "size")


def test_drift_is_reported_in_the_column_s_unit(run: Path, tmp_path: Path) -> None:
    data = run.parent / "data"
    train(Regressor, Regressor.Data(data=(data,)), replace(CONFIG, columns=("heading",), tolerance=(), steps=60), QUICK,
          tmp_path / "angle", quiet=True)
    turned = bars(tmp_path / "turned", 60, seed=9)
    judge = Drift(Drift.Config(before=run.parent / "test", after=turned, estimator=(tmp_path / "angle", run)))
    rows = judge.judge([], lambda *_: None).record["rows"]
    assert [(row["label"], row["unit"]) for row in rows] == [("heading", "deg"), ("heading", "std"), ("size", "std")]
    assert rows[0]["drift"]["mean"] == 0 and rows[0]["strangers"] > 60
    assert rows[0]["error_before"]["mean"] < 40 and rows[2]["error_before"] is not None  # where there is a label


def test_scaling_and_offset_of_a_prediction() -> None:
    config, batch = Regressor.tiny()
    torch.manual_seed(0)
    system = Regressor(config).eval()
    plain = system.predict(batch)
    system.mean[0], system.deviation[0], system.start[1] = 5.0, 3.0, -torch.pi
    moved = system.predict(batch)
    torch.testing.assert_close(moved["number"], plain["number"] * 3 + 5)
    assert plain["bearing"].min() >= 0 and moved["bearing"].min() >= -torch.pi and moved["bearing"].max() < torch.pi
    torch.testing.assert_close(torch.sin(moved["bearing"]), torch.sin(plain["bearing"]), atol=1e-5, rtol=0)


def test_numbers_are_read_in_full_precision_under_autocast() -> None:
    config, batch = Regressor.tiny()
    torch.manual_seed(0)
    system = Regressor(config).eval()
    out = torch.randn(4, 3)
    system.mean[0], system.deviation[0] = 1000.0, 0.37
    plain, far = system._read(out), system._squared(out, torch.ones(4, 2))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(system._read(out), plain) and torch.equal(system._squared(out, torch.ones(4, 2)), far)
        assert system.predict(batch)["number"].dtype == torch.float32


PLAIN = [np.full((8, 8), 0.5)] * 4


@pytest.mark.parametrize(("rows", "said", "options", "message"), [
    ([{"a": 1.5}] * 4, {}, {}, "do not vary: name with --columns"),
    ([{"label": k} for k in range(4)], {}, {}, "has no column of floats"),
    ([{"gaze_pitch": 0.1 * k, "gaze_yaw": 0.2} for k in range(4)], {}, {}, "has no column of floats"),
    ([{f"c{n}": k + 0.5 for n in range(40)} for k in range(4)], {}, {}, "has 40 columns of floats"),
    ([{"a": k + 0.5} for k in range(4)], {}, {"columns": ("b",)}, "has no label 'b'"),
    ([{"a": k + 0.5, "l": [1.0, k]} for k in range(4)], {}, {"columns": ("l",)}, "'l' holds no single number"),
    ([{"a": k + 0.5, "b": None} for k in range(4)], {}, {"columns": ("b",)}, "'b'"),
    ([{"a": k + 0.5} for k in range(4)], {}, {"circular": ("a",)}, "is not said to be deg or rad"),
    ([{"a": k + 0.5} for k in range(4)], {"units": ["deg"]}, {}, "units is no object"),
    ([{"a": k + 0.5} for k in range(4)], {"circular": "a"}, {}, "circular is no list"),
    ([{"a": k + 0.5} for k in range(4)], {}, {"circular": ("b",)}, "is not among the columns"),
    ([{"x": k + 0.5} for k in range(4)], {}, {"columns": ("x",), "height": 4, "width": 4}, "may be a place in px"),
])
def test_what_cannot_be_learned_is_refused_in_one_line(rows: list[dict[str, object]], said: dict[str, object],
                                                       options: dict[str, object], message: str,
                                                       tmp_path: Path) -> None:
    data = write(tmp_path / "data", PLAIN, rows, said)
    with pytest.raises(UserError, match=message) as caught:
        Regressor.open(Regressor.Data(data=(data,)), Regressor.Config(**options), 0)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_infinite_numbers_and_other_units_are_refused(run: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "data", PLAIN, [{"a": 1e300 if k == 2 else k + 0.5} for k in range(4)])
    with pytest.raises(UserError, match=r"not finite for 0002.png \(row 3\)"):
        Regressor.open(Regressor.Data(data=(data,)), Regressor.Config(), 0)
    other = bars(tmp_path / "other", 6, said={"units": {"heading": "rad"}, "circular": ["heading"]})
    with pytest.raises(UserError, match="is in rad, and the model reads deg"):
        evaluate_into(run, EvaluateJob(data=other), quiet=True)
    with pytest.raises(UserError, match="'heading' is in rad, and in deg in"):
        Regressor.open(Regressor.Data(data=(run.parent / "data", other)), Regressor.Config(), 0)


def test_a_constant_column_is_left_out_and_a_gap_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = [{"a": None if k == 1 else k + 0.5, "b": 2.5, "drift": k + 0.1, "n": k} for k in range(4)]
    data = write(tmp_path / "data", PLAIN, rows)
    config, source = Regressor.open(Regressor.Data(data=(data,)), Regressor.Config(batch_size=4, validate=0.0), 0)
    assert config.columns == ("a",) and int(source.batch(0)["a"].isnan().sum()) == 1
    said = capfd.readouterr().err
    assert "'b' does not vary" in said and "'a' is missing for 1 of 4 images" in said


@pytest.mark.parametrize("options", [{"columns": ("a", "a")}, {"units": ("mm",)}, {"tolerance": (1.0,)}])
def test_options_that_contradict_each_other(options: dict[str, object]) -> None:
    with pytest.raises(UserError, match="regressor: "):
        Regressor(replace(Regressor.tiny()[0], **options))  # type: ignore[arg-type]
