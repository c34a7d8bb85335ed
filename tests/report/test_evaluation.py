"""An evaluation leaves its figures beside those of a model that ignores the pictures, and shows the pictures."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from migaki.core.judge import Findings
from migaki.core.metric import Metric
from migaki.metrics.classification import Accuracy
from migaki.metrics.gaze import AngularError, angular_error_deg
from migaki.metrics.keypoints import KeypointError
from migaki.metrics.landmarks import LandmarkErrors
from migaki.ops.gaze import to_angles, to_vector
from migaki.report.evaluation import write_evaluation
from migaki.report.findings import figures_table
from migaki.report.gaze_pictures import READ, TRUE, arrow_end, gaze_sheet
from migaki.report.tables import Rated


def gaze_metric(count: int = 20, slope: float = 0.5) -> AngularError:
    truth = 0.3 * torch.randn(count, 2, generator=torch.Generator().manual_seed(0))
    metric = AngularError()
    metric.update({"gaze": slope * truth}, {"gaze": truth})
    return metric


def test_always_the_mean_gaze() -> None:
    metric = gaze_metric()
    truth = metric.readings()[1]
    mean = to_angles(to_vector(truth).mean(0)).expand_as(truth)
    free = metric.baseline()
    assert free.name == "always the mean gaze"
    assert free.figures["mean_deg"] == pytest.approx(float(angular_error_deg(mean, truth).mean()))
    assert metric.compute()["mean_deg"] < free.figures["mean_deg"] and free.figures["yaw_slope"] == 0


def test_always_the_most_frequent_class_and_always_the_mean_place() -> None:
    accuracy = Accuracy(4)
    accuracy.update({"label": torch.tensor([0, 1, 2, 2, 0])}, {"label": torch.tensor([0, 1, 1, 1, 2])})
    free = accuracy.baseline()
    assert free.figures["accuracy"] == pytest.approx(3 / 5)
    assert accuracy.compute()["accuracy"] == pytest.approx(2 / 5), "the metric itself is left alone"
    truth = torch.tensor([[[0.0, 0.0], [1.0, 1.0]], [[4.0, 0.0], [1.0, 3.0]]])
    points = KeypointError("joints", scale=2.0)
    points.update({"joints": truth}, {"joints": truth})
    free = points.baseline()
    assert free.figures["mean_px"] == pytest.approx(2 * (2 + 2 + 1 + 1) / 4)
    several = LandmarkErrors(["pupil"], scale=2.0)
    several.update({"pupil": truth}, {"pupil": truth})
    assert several.baseline().figures["pupil_mean_px"] == pytest.approx(3.0)


def test_what_is_left(tmp_path: Path) -> None:
    asked: list[list[int]] = []

    class Pictures:
        shape = (1, 36, 60)

        def read(self, places: list[int], keys: tuple[str, ...]) -> dict[str, torch.Tensor]:
            asked.append(places)
            return {"image": torch.full((len(places), 1, 36, 60), 0.5)}

    metric = gaze_metric()
    names = [f"{k}.png" for k in range(20)]
    figures = write_evaluation(tmp_path, {"run": "run", "data": "data"}, metric, names, "migaki x", Pictures())  # type: ignore[arg-type]
    order = np.argsort(-metric.errors_deg().numpy()).tolist()
    assert asked == [order[:8], order[::-1][:8]], "the worst first, then the best"
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert found["figures"]["mean_deg"] == figures["mean_deg"] and found["costs_nothing"]["figures"]["mean_deg"] > 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "evaluation.json", "evaluation.html", "errors.csv", "curve.png", "pitch.png", "yaw.png", "worst.png",
        "best.png"}
    page = (tmp_path / "evaluation.html").read_text(encoding="utf-8")
    assert "always the mean gaze:" in page and "Predicted against true" in page and page.count("data:image/png") == 5


def test_worse_than_nothing_is_called_worse(tmp_path: Path) -> None:
    metric = gaze_metric(slope=-3.0)
    write_evaluation(tmp_path, {}, metric, [str(k) for k in range(20)])
    page = (tmp_path / "evaluation.html").read_text(encoding="utf-8")
    assert '<strong class="worse">worse</strong>; always the mean gaze:' in page
    assert '<span class="word">worse</span>' in page and "The worst pictures" not in page


def test_a_measure_without_such_a_model_has_no_column(tmp_path: Path) -> None:
    class Plain(Metric):
        def update(self, predicted: dict[str, torch.Tensor], batch: dict[str, torch.Tensor]) -> None: ...

        def compute(self) -> dict[str, float]:
            return {"psnr": 30.0}

    write_evaluation(tmp_path, {}, Plain(), [])
    assert json.loads((tmp_path / "evaluation.json").read_text())["costs_nothing"] is None


def test_arrows_point_where_the_eye_looks() -> None:
    """MPIIGaze's camera: a positive yaw is the camera's left, so the arrow goes to the left; a positive pitch up."""
    left, up = arrow_end(torch.tensor([[0.0, 0.4], [0.4, 0.0]]), 100)
    assert left[0] < -20 and abs(float(left[1])) < 1e-6 and up[1] < -20 and abs(float(up[0])) < 1e-6
    gaze = torch.tensor([[0.0, 0.5]])
    sheet = Image.open(io.BytesIO(gaze_sheet(torch.zeros(1, 1, 36, 60), gaze, -gaze, ["0 degrees off"])))
    pixels = np.asarray(sheet.convert("RGB")).astype(int)
    columns = {colour: np.nonzero((np.abs(pixels - colour).sum(2) < 30).any(0))[0].mean() for colour in (TRUE, READ)}
    assert columns[TRUE] < sheet.width / 2 < columns[READ]


@pytest.mark.parametrize("key", ["accuracy_few", "neighbours", "probe_100", "frozen_1000", "tuned_40", "supervised_all",
                                 "micro_ap", "micro_ap_crop", "recall", "first", "miou", "prior_miou", "pck_5_percent"])
def test_shares_below_those_that_cost_nothing_are_marked(key: str) -> None:
    def trend(value: float) -> object:
        findings = Findings(title="One", record={}, figures={key: value}, baseline={key: 0.4}, baseline_name="free")
        (_, shown, _), = figures_table(findings).rows
        return shown.trend if isinstance(shown, Rated) else None

    assert trend(0.3) == "worse" and trend(0.5) is None
