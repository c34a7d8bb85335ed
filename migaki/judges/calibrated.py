"""Gaze errors after a calibration of each group of images, such as the looks of one person with one eye."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from migaki.core.errors import UserError
from migaki.core.judge import Section
from migaki.core.metric import Metric
from migaki.judges.groups import Groups
from migaki.metrics.calibration import Calibrated, calibrate
from migaki.metrics.gaze import AngularError
from migaki.report.tables import harmless


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibratedFindings:
    """The figures of each run, those of a constant, a section of the page and the error of each image, as CSV."""

    figures: list[dict[str, Any]]
    baseline: dict[str, Any]
    section: Section
    file: bytes
    note: str


def calibrated_findings(metrics: Sequence[Metric], groups: Groups, names: Sequence[str], looks: int, draws: int
                        ) -> CalibratedFindings:
    """Calibrate the gaze of each run, group by group; `names` are those of the images, whose errors are of run one.

    Raises UserError for a metric that is not of gaze, and for groups that are too small.
    """
    found: list[Calibrated] = []
    for metric in metrics:
        if not isinstance(metric, AngularError):
            raise UserError("--calibrate: only the gaze of a gaze model is calibrated: leave it out")
        found.append(_calibrated(*metric.readings(), groups, looks, draws))
    first = metrics[0]
    assert isinstance(first, AngularError)
    truth = first.readings()[1]
    constant = _calibrated(torch.zeros_like(truth), truth, groups, looks, draws)
    plain = first.errors_deg().numpy()
    rows: list[list[Any]] = []
    for number, name in enumerate(groups.names):
        inside = groups.of == number
        rows.append([name, int(inside.sum()), float(plain[inside].mean()),
                     *(float(np.nanmean(one.errors_deg.numpy()[inside])) for one in (found[0], constant))])
    rows.sort(key=lambda row: -row[3])
    called = " ".join(groups.columns) or "all"
    note = (f"Calibrated: an affine map of pitch and yaw, fitted on {looks} labelled looks of each group "
            f"({called}) and measured on its others, {draws} times. The constant is the mean of the same looks.")
    columns = [called, "images", "error as predicted, deg", f"calibrated on {looks} looks, deg",
               "the mean of these looks, deg"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file_name", "error_deg"])
    writer.writerows((harmless(name), f"{error:.4f}")
                     for name, error in zip(names, found[0].errors_deg.tolist(), strict=True))
    return CalibratedFindings(
        figures=[one.figures() for one in found], baseline=constant.figures(), file=text.getvalue().encode(),
        note=note, section=Section(heading="After calibration", columns=columns, rows=rows))


def _calibrated(predicted: torch.Tensor, truth: torch.Tensor, groups: Groups, looks: int, draws: int) -> Calibrated:
    return calibrate(predicted, truth, torch.from_numpy(groups.of), looks=looks, draws=draws)
