"""What an evaluation leaves behind: JSON, every image's error, the curve or the confusion matrix, a page."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from migaki.core.files import show as shown_name
from migaki.core.judge import Findings, Section
from migaki.core.metric import Metric
from migaki.data.folder import ImageFolder
from migaki.metrics.gaze import AngularError
from migaki.metrics.keypoints import KeypointError
from migaki.report.figures import confusion, error_curves
from migaki.report.findings import write_findings


def write_evaluation(out: Path, record: dict[str, Any], metric: Metric, names: Sequence[str],
                     command: str = "", folder: ImageFolder | None = None) -> dict[str, Any]:
    """Write `evaluation.json`, `evaluation.html` and what the metric has to show; returns the metric's figures."""
    sections, files = shown_by(metric, names, folder)
    base, figures = metric.baseline(), metric.compute()
    write_findings(out, Findings(title="Evaluation", record=record, figures=figures, baseline=base.figures,
                                 baseline_name=base.name, sections=sections, files=files), "evaluation", command)
    return figures


def shown_by(metric: Metric, names: Sequence[str], folder: ImageFolder | None
             ) -> tuple[list[Section], dict[str, bytes]]:
    """What a metric has to show, as parts of a page and as files.

    Gaze: `curve.png` (share of images under each error) and `errors.csv` (file_name, error_deg). Landmarks:
    `curve.png` (share of landmarks) and `errors.csv` (error_px, an image's mean). Classes: `confusion.png`.
    """
    sections: list[Section] = []
    files: dict[str, bytes] = {}

    def show(name: str, content: bytes, caption: str) -> None:
        files[name] = content
        sections.append(Section(picture=content, caption=caption))

    figures = metric.compute()
    if isinstance(metric, AngularError):
        errors = metric.errors_deg().numpy()
        files["errors.csv"] = _csv(names, errors).encode()
        show("curve.png", error_curves({"error": errors}), "Share of images whose error is at most so many degrees.")
    if isinstance(metric, KeypointError):
        pixels = metric.errors_px().numpy()
        files["errors.csv"] = _csv(names, pixels.mean(1), "error_px").encode()
        show("curve.png", error_curves({"error": pixels}, limit=20, mark=5, xlabel="error in px",
                                       ylabel="landmarks in per cent"),
             "Share of landmarks whose error is at most so many pixels (PCK).")
    if "confusion" in figures:
        called = [shown_name(name) for name in figures.get("classes", map(str, range(len(figures["recall"]))))]
        sections.append(Section(columns=["class", "recall"],
                                rows=[list(row) for row in zip(called, figures["recall"], strict=True)]))
        show("confusion.png", confusion(figures["confusion"], called), "Rows: true class. Columns: predicted.")
    return sections, files


def read_errors(path: Path) -> npt.NDArray[np.float64]:
    """The errors (N,) of an `errors.csv`, in its order; degrees or px, whichever it holds."""
    with open(path, newline="", encoding="utf-8") as file:
        return np.array([float(row["error_px" if "error_px" in row else "error_deg"]) for row in csv.DictReader(file)])


def _csv(names: Sequence[str], errors: npt.NDArray[np.float64], column: str = "error_deg") -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file_name", column])
    writer.writerows((name, f"{error:.4f}") for name, error in zip(names, errors, strict=True))
    return text.getvalue()
