"""What an evaluation leaves behind: JSON, every image's error, the curve or the confusion matrix, a page."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from migaki.core.files import atomic_write, make_folder, write_json, write_text
from migaki.core.metric import Metric
from migaki.metrics.classification import Accuracy
from migaki.metrics.gaze import AngularError
from migaki.metrics.keypoints import KeypointError
from migaki.metrics.landmarks import LandmarkErrors
from migaki.report.figures import confusion, error_curves, scatter
from migaki.report.gaze_pictures import gaze_sheet
from migaki.report.page import Number, Page
from migaki.report.statistics import number_text, trend_of
from migaki.report.tables import Rated, Table

Pictures = Callable[[list[int]], torch.Tensor]
"""Reads the judged pictures of these places, in the order in which the metric saw them: (B, C, H, W) in [0, 1]."""

_SHOWN = 8  # of the worst pictures, and as many of the best
_POINTS = 2000  # of a scatter
_AXES = ("pitch", "yaw")
_MEAN_GAZE, _MEAN_PLACE = "always the mean gaze", "always the mean place"


def write_evaluation(out: Path, record: dict[str, Any], metric: Metric, names: Sequence[str], command: str = "",
                     pictures: Pictures | None = None) -> dict[str, Any]:
    """Write `evaluation.json` and beside it what the metric has to show; returns the metric's figures.

    Gaze: `curve.png` (share of images under each error), `errors.csv` (file_name, error_deg), `pitch.png` and
    `yaw.png` (read against true), and with `pictures` also `worst.png` and `best.png`, with both lines of sight.
    Landmarks: `curve.png` (share of landmarks) and `errors.csv` (error_px, an image's mean). Classes:
    `confusion.png`. Always `evaluation.html`, one page with all of it. `record` says what was judged by what.

    Besides the figures evaluation.json has `costs_nothing`: the same figures (`figures`) of a model that ignores its
    images, and what it does (`name`); null for a measure that has none.
    """
    figures, free = metric.compute(), costs_nothing(metric)
    make_folder(out)
    page = Page("Evaluation", f"{record.get('run')} on {record.get('data')}")
    page.numbers(_cards(figures, free))
    page.table(_figures_table(figures, free))
    if isinstance(metric, AngularError):
        _gaze(page, out, metric, names, pictures)
    if isinstance(metric, KeypointError):
        pixels = metric.errors_px().numpy()
        write_text(out / "errors.csv", _csv(names, pixels.mean(1), "error_px"))
        shown = {"the model": pixels.ravel(), _MEAN_PLACE: metric.of_constant().errors_px().numpy().ravel()}
        drawn = error_curves(shown, limit=20, mark=5, xlabel="error in px", ylabel="landmarks in per cent")
        _chart(page, out / "curve.png", drawn, "Share of landmarks whose error is at most so many pixels (PCK).")
    if "confusion" in figures:
        _chart(page, out / "confusion.png", confusion(figures["confusion"]), "Rows: true class. Columns: predicted.")
    if command:
        page.section("Repeat it")
        page.code(command)
    page.write(out / "evaluation.html")
    # Last: whoever finds it finds everything else too.
    write_json(out / "evaluation.json", {**record, "figures": figures, "costs_nothing": free})
    return figures


def costs_nothing(metric: Metric) -> dict[str, Any] | None:
    """What a model that ignores its images reaches: its `name` and its `figures`; None where there is no such model."""
    if isinstance(metric, AngularError):
        name = _MEAN_GAZE
    elif isinstance(metric, Accuracy):
        name = "always the most frequent class"
    elif isinstance(metric, KeypointError | LandmarkErrors):
        name = _MEAN_PLACE
    else:
        return None
    found = metric.of_constant().compute()
    return {"name": name, "figures": {key: value for key, value in found.items() if not isinstance(value, list | dict)}}


def read_errors(path: Path) -> npt.NDArray[np.float64]:
    """The errors (N,) of an `errors.csv`, in its order; degrees or px, whichever it holds."""
    with open(path, newline="", encoding="utf-8") as file:
        return np.array([float(row["error_px" if "error_px" in row else "error_deg"]) for row in csv.DictReader(file)])


# ------------------------------------------------------------------------------------------- figures


_MAIN = {"mean_deg": ("mean error", "{:.2f}°"), "within_7_deg": ("within 7 degrees", "{:.1%}"),
         "accuracy": ("accuracy", "{:.1%}"), "mean_px": ("mean error", "{:.2f} px"),
         "within_5_px": ("landmarks within 5 px", "{:.1%}")}
"""The figures that stand at the head of the page, with their names and forms."""


def _higher_is_better(key: str) -> bool | None:
    """Which way a figure is better; None for a count, a bias or a slope."""
    if key.endswith("accuracy") or "within_" in key:
        return True
    return False if key.endswith(("mean_deg", "median_deg", "mean_px", "median_px")) else None


def _cards(figures: dict[str, Any], free: dict[str, Any] | None) -> list[Number]:
    cards = []
    for key, (name, form) in _MAIN.items():
        if key not in figures:
            continue
        if free is None:
            cards.append(Number(name, form.format(figures[key])))
            continue
        plain, better = free["figures"][key], _higher_is_better(key)
        trend = None if better is None else trend_of(plain, figures[key], better)
        cards.append(Number(name, form.format(figures[key]), f"{free['name']} gives {form.format(plain)}", trend))
    return cards


def _figures_table(figures: dict[str, Any], free: dict[str, Any] | None) -> Table:
    """All single figures; a figure worse than that of a model that ignores its images is marked so."""
    plain = {} if free is None else free["figures"]
    rows: list[list[str | float | Rated | None]] = []
    for key, value in figures.items():
        if isinstance(value, list | dict):
            continue
        is_share = "within_" in key or key.endswith("accuracy")
        better, scale = _higher_is_better(key), 100 if is_share else 1
        shown = None if value is None else scale * value
        row: list[str | float | Rated | None] = [f"{key.replace('_', ' ')}{', %' if is_share else ''}", shown]
        if better is not None and key in plain:
            if trend_of(plain[key], value, better) == "worse":
                row[1] = Rated(value=scale * value, trend="worse")
            row.append(scale * plain[key])
        elif free is not None:
            row.append(None)
        rows.append(row)
    if free is None:
        return Table(["measure", "value"], rows)
    return Table(["measure", "value", free["name"]], rows, f"\"{free['name'].capitalize()}\" ignores the pictures: its "
                                                           "one answer is made from these very labels.")


# ------------------------------------------------------------------------------------------- gaze


def _gaze(page: Page, out: Path, metric: AngularError, names: Sequence[str], pictures: Pictures | None) -> None:
    errors = metric.errors_deg().numpy()
    write_text(out / "errors.csv", _csv(names, errors))
    shown = {"the model": errors, _MEAN_GAZE: metric.of_constant().errors_deg().numpy()}
    _chart(page, out / "curve.png", error_curves(shown), "Share of images whose error is at most so many degrees.")
    read, truth = (torch.rad2deg(angles).numpy() for angles in metric.readings())
    page.section("Read against true")
    charts = []
    for column, axis in enumerate(_AXES):
        charts.append(scatter(truth[:, column], read[:, column], title=axis, max_points=_POINTS))
        _keep(out / f"{axis}.png", charts[-1])
    page.pair(charts[0], charts[1], "Each point is a picture. A model that reads every gaze rightly puts all of them "
              "on the dashed line; one that ignores its pictures puts them on a level line.", names=_AXES,
              is_chart=True)
    if pictures is not None:
        _show_extremes(page, out, metric, errors, pictures)


def _show_extremes(page: Page, out: Path, metric: AngularError, errors: npt.NDArray[np.float64],
                   pictures: Pictures) -> None:
    """The worst and the best pictures, with the true and the read line of sight."""
    order = np.argsort(-errors, kind="stable")
    read, truth = metric.readings()
    count = min(_SHOWN, -(-len(order) // 2))
    for title, chosen in (("worst", order[:count].tolist()), ("best", order[::-1][:count].tolist())):
        images = pictures(chosen)
        if images.shape[1] not in (1, 3):
            return  # such as near infrared and depth together: there is no picture to draw on
        captions = [f"{number_text(round(float(errors[place]), 1))} degrees off" for place in chosen]
        sheet = gaze_sheet(images, truth[chosen], read[chosen], captions)
        _keep(out / f"{title}.png", sheet)
        page.section(f"The {title} pictures")
        which = "largest" if title == "worst" else "smallest"
        page.figure(sheet, f"The {len(chosen)} pictures with the {which} errors, enlarged as the model sees them. "
                    "Green: the true line of sight. Red: what the model reads.")


def _chart(page: Page, path: Path, content: bytes, caption: str) -> None:
    _keep(path, content)
    page.figure(content, caption, is_chart=True)


def _keep(path: Path, content: bytes) -> None:
    with atomic_write(path) as file:
        file.write(content)


def _csv(names: Sequence[str], errors: npt.NDArray[np.float64], column: str = "error_deg") -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file_name", column])
    writer.writerows((name, f"{error:.4f}") for name, error in zip(names, errors, strict=True))
    return text.getvalue()
