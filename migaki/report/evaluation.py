"""What an evaluation leaves behind: JSON, every image's error, the curve or the confusion matrix, a page."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from migaki.core.files import atomic_write, make_folder, show, write_json, write_text
from migaki.core.metric import Metric
from migaki.metrics.gaze import AngularError
from migaki.metrics.keypoints import KeypointError
from migaki.report.figures import confusion, error_curves
from migaki.report.page import Page
from migaki.report.tables import Table, harmless


def write_evaluation(out: Path, record: dict[str, Any], metric: Metric, names: Sequence[str],
                     command: str = "") -> dict[str, Any]:
    """Write `evaluation.json` and beside it what the metric has to show; returns the metric's figures.

    Gaze: `curve.png` (share of images under each error) and `errors.csv` (file_name, error_deg). Landmarks:
    `curve.png` (share of landmarks) and `errors.csv` (error_px, an image's mean). Classes: `confusion.png`. Always
    `evaluation.html`, one page with all of it. `record` says what was judged by what.
    """
    figures = metric.compute()
    make_folder(out)
    page = Page("Evaluation", f"{record.get('run')} on {record.get('data')}")
    simple = [[name.replace("_", " "), value] for name, value in figures.items() if not isinstance(value, list | dict)]
    page.table(Table(["measure", "value"], simple))
    if isinstance(metric, AngularError):
        errors = metric.errors_deg().numpy()
        write_text(out / "errors.csv", _csv(names, errors))
        _picture(page, out / "curve.png", error_curves({"error": errors}),
                 "Share of images whose error is at most so many degrees.")
    if isinstance(metric, KeypointError):
        pixels = metric.errors_px().numpy()
        write_text(out / "errors.csv", _csv(names, pixels.mean(1), "error_px"))
        drawn = error_curves({"error": pixels}, limit=20, mark=5, xlabel="error in px", ylabel="landmarks in per cent")
        _picture(page, out / "curve.png", drawn, "Share of landmarks whose error is at most so many pixels (PCK).")
    if "confusion" in figures:
        called = [show(name) for name in figures.get("classes", map(str, range(len(figures["recall"]))))]
        page.table(Table(["class", "recall"], [list(row) for row in zip(called, figures["recall"], strict=True)]))
        _picture(page, out / "confusion.png", confusion(figures["confusion"], called),
                 "Rows: true class. Columns: predicted.")
    if command:
        page.section("Repeat it")
        page.code(command)
    page.write(out / "evaluation.html")
    # Last: whoever finds it finds everything else too.
    write_json(out / "evaluation.json", {**record, "figures": figures})
    return figures


def read_errors(path: Path) -> npt.NDArray[np.float64]:
    """The errors (N,) of an `errors.csv`, in its order; degrees or px, whichever it holds."""
    with open(path, newline="", encoding="utf-8") as file:
        return np.array([float(row["error_px" if "error_px" in row else "error_deg"]) for row in csv.DictReader(file)])


def _picture(page: Page, path: Path, content: bytes, caption: str) -> None:
    with atomic_write(path) as file:
        file.write(content)
    page.figure(content, caption)


def _csv(names: Sequence[str], errors: npt.NDArray[np.float64], column: str = "error_deg") -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file_name", column])
    writer.writerows((harmless(name), f"{error:.4f}") for name, error in zip(names, errors, strict=True))
    return text.getvalue()
