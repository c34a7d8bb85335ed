"""What an evaluation leaves behind: JSON, every image's error, the curve or the confusion matrix, a page."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from migaki.core.errors import UserError
from migaki.core.files import explain, open_plain, read_json
from migaki.core.files import show as shown_name
from migaki.core.judge import Findings, Section
from migaki.core.metric import Metric
from migaki.data.folder import ImageFolder
from migaki.metrics.gaze import AngularError
from migaki.metrics.keypoints import KeypointError
from migaki.report.figures import confusion, error_curves
from migaki.report.findings import write_findings

_MAX_FIGURE = 10**300  # beyond that a whole number does not fit a float


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


def read_figures(folder: Path) -> dict[str, Any]:
    """The figures of an evaluation; UserError if its `evaluation.json` is missing, damaged or something else."""
    path = folder / "evaluation.json"
    found = read_json(path)
    figures = found.get("figures") if isinstance(found, dict) else None
    if not isinstance(figures, dict) or not all(_is_figure(value) for value in figures.values()):
        raise UserError(f"{path}: not the figures of an evaluation: delete it and evaluate again")
    return figures


def _is_figure(value: Any) -> bool:
    """Whether a value is one that a metric computes: a number that fits a float, or lists and objects of such."""
    if isinstance(value, list | dict):
        return all(map(_is_figure, value.values() if isinstance(value, dict) else value))
    return value is None or isinstance(value, str | float) or (isinstance(value, int) and abs(value) < _MAX_FIGURE)


def read_errors(path: Path) -> npt.NDArray[np.float64]:
    """The errors (N,) of an `errors.csv`, in its order; degrees or px, whichever it holds. UserError if damaged."""
    try:
        with open_plain(path) as file:
            rows = csv.DictReader(io.TextIOWrapper(file, encoding="utf-8", newline=""))
            return np.array([float(row["error_px" if "error_px" in row else "error_deg"]) for row in rows])
    except OSError as error:
        raise explain(error, path) from error
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(f"{path}: not the errors of an evaluation: delete its folder and evaluate again") from error


def _csv(names: Sequence[str], errors: npt.NDArray[np.float64], column: str = "error_deg") -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file_name", column])
    writer.writerows((name, f"{error:.4f}") for name, error in zip(names, errors, strict=True))
    return text.getvalue()
