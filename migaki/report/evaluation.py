"""The output of an evaluation by metric: every image's error, curves, pictures, the confusion matrix."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from migaki.core.errors import UserError
from migaki.core.files import explain, open_plain, read_json
from migaki.core.files import show as shown_name
from migaki.core.judge import Findings, Section
from migaki.core.metric import Metric
from migaki.data.folder import ImageFolder
from migaki.metrics.detection import BoxPrecision
from migaki.metrics.gaze import AngularError
from migaki.metrics.keypoints import KeypointError
from migaki.metrics.regression import RegressionError
from migaki.metrics.segmentation import DepthErrors, MaskOverlap
from migaki.report.class_table import class_table, labelled_pictures
from migaki.report.figures import confusion, error_curves, scatter
from migaki.report.findings import write_findings
from migaki.report.gaze_pictures import gaze_sheet
from migaki.report.scene_pictures import errors_of, scene_pages
from migaki.report.statistics import number_text
from migaki.report.tables import harmless

_MAX_FIGURE = 10**300  # larger whole numbers do not fit a float
_SHOWN = 8  # number of the worst pictures shown, and of the best
_MOST_CHARTS = 6  # of columns of numbers
_POINTS = 2000  # in a scatter plot
_AXES = ("pitch", "yaw")


def write_evaluation(out: Path, record: dict[str, Any], metric: Metric, names: Sequence[str],
                     command: str = "", folder: ImageFolder | None = None) -> dict[str, Any]:
    """Write `evaluation.json`, `evaluation.html` and the metric's own files; returns the metric's figures.

    `folder` holds the judged pictures, in the order in which the metric saw them. Besides the figures evaluation.json
    has `costs_nothing`, the baseline: the same figures (`figures`) of a model that ignores its images, and what that
    model does (`name`). It is null for a metric without a baseline.
    """
    sections, files = shown_by(metric, names, folder)
    base, figures = metric.baseline(), metric.compute()
    write_findings(out, Findings(title="Evaluation", record=record, figures=figures, baseline=base.figures,
                                 baseline_name=base.name, sections=sections, files=files), "evaluation", command)
    return figures


def shown_by(metric: Metric, names: Sequence[str], folder: ImageFolder | None
             ) -> tuple[list[Section], dict[str, bytes]]:
    """Returns the output of a metric, as sections of a page and as files.

    Gaze: `curve.png` (share of images below each error), `errors.csv` (file_name, error_deg), `pitch.png` and
    `yaw.png` (predicted against true), and with `folder` also `worst.png` and `best.png`, with both gaze directions.
    Numbers: `read_K.png` (predicted against true) of the first columns, and `readings.csv`.
    Masks and boxes: `confusion.png`, `worst.png`, `best.png`, `errors.csv` (per cent of missing overlap).
    Landmarks: `curve.png` (share of landmarks) and `errors.csv` (error_px, an image's mean). Classes: `confusion.png`.
    """
    figures, base = metric.compute(), metric.baseline().name
    if isinstance(metric, AngularError):
        return _gaze(metric, names, base, folder)
    if isinstance(metric, KeypointError):
        pixels = metric.errors_px().numpy()
        shown = {"the model": _there(pixels), base: _there(metric.of_constant().errors_px().numpy())}
        drawn = error_curves(shown, limit=20, mark=5, xlabel="error in px", ylabel="landmarks in per cent")
        return ([_chart(drawn, "Share of landmarks whose error is at most so many pixels (PCK).")],
                {"errors.csv": _csv(names, metric.errors_of_images().numpy(), "error_px"), "curve.png": drawn})
    if isinstance(metric, RegressionError):
        return _numbers(metric, names)
    if isinstance(metric, MaskOverlap | DepthErrors | BoxPrecision):
        sections, files = scene_pages(metric, folder)
        return sections, files | {"errors.csv": _csv(names, *errors_of(metric))}
    if "confusion" in figures:
        called = [shown_name(name) for name in figures.get("classes", map(str, range(len(figures["recall"]))))]
        drawn = confusion(figures["confusion"], called)
        return ([class_table(figures["confusion"], called), *labelled_pictures(folder, called),
                 _chart(drawn, "Rows: true class. Columns: predicted.")], {"confusion.png": drawn})
    return [], {}


def _there(errors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Returns the errors that are not missing, in one row."""
    return errors[~np.isnan(errors)]


def _numbers(metric: RegressionError, names: Sequence[str]) -> tuple[list[Section], dict[str, bytes]]:
    """Returns a chart of predicted against true values for each column, and the table of all predictions."""
    sections, files, table = [], {}, [["file_name"], *([name] for name in names)]
    for number, key in enumerate(metric.keys):
        read, truth = (values.numpy() for values in metric.readings(key))
        table[0] += [f"predicted_{key}", key]
        for row, *pair in zip(table[1:], read, truth, strict=True):
            row += [f"{value:.6g}" if value == value else "" for value in pair]
        if number < _MOST_CHARTS:
            there = ~np.isnan(truth)
            drawn = scatter(truth[there], read[there], unit=metric.drift_unit(key), title=shown_name(key),
                            max_points=_POINTS)
            files[f"read_{number}.png"] = drawn
            sections.append(_chart(drawn, f"{shown_name(key)}: predicted against true."))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([[harmless(cell) for cell in row] for row in table])
    return sections, files | {"readings.csv": text.getvalue().encode()}


def _chart(content: bytes, caption: str) -> Section:
    return Section(picture=content, caption=caption, is_chart=True)


def _gaze(metric: AngularError, names: Sequence[str], base: str, folder: ImageFolder | None
          ) -> tuple[list[Section], dict[str, bytes]]:
    errors = metric.errors_deg().numpy()
    curve = error_curves({"the model": errors, base: metric.of_constant().errors_deg().numpy()})
    read, truth = (torch.rad2deg(angles).numpy() for angles in metric.readings())
    charts = [scatter(truth[:, column], read[:, column], title=axis, max_points=_POINTS)
              for column, axis in enumerate(_AXES)]
    files = {"errors.csv": _csv(names, errors), "curve.png": curve, "pitch.png": charts[0], "yaw.png": charts[1]}
    sections = [
        _chart(curve, "Share of images whose error is at most so many degrees."),
        Section(heading="Predicted against true", pair=(charts[0], charts[1]), names=_AXES, is_chart=True,
                caption="Each point is a picture. The points of a perfect model lie on the dashed line; those of a "
                        "model that ignores its pictures lie on a level line."),
    ]
    if folder is not None and folder.shape[0] in (1, 3):  # near infrared and depth cannot be shown as a picture
        for title, chosen in _extremes(errors).items():
            files[f"{title}.png"] = _sheet(metric, folder, chosen, errors)
            which = "largest" if title == "worst" else "smallest"
            sections.append(Section(
                heading=f"The {title} pictures", picture=files[f"{title}.png"],
                caption=f"The {len(chosen)} pictures with the {which} errors, enlarged as the model sees them. Green: "
                        "the true gaze. Red: the prediction."))
    return sections, files


def _extremes(errors: npt.NDArray[np.float64]) -> dict[str, list[int]]:
    """Returns the indices of the worst pictures, the worst first, and of the best."""
    order = np.argsort(-errors, kind="stable")
    count = min(_SHOWN, -(-len(order) // 2))
    return {"worst": order[:count].tolist(), "best": order[::-1][:count].tolist()}


def _sheet(metric: AngularError, folder: ImageFolder, chosen: list[int], errors: npt.NDArray[np.float64]) -> bytes:
    """Returns a sheet of pictures with the true and the predicted line of sight."""
    read, truth = metric.readings()
    captions = [f"{number_text(round(float(errors[place]), 1))} degrees off" for place in chosen]
    return gaze_sheet(folder.read(chosen, ("image",))["image"], truth[chosen], read[chosen], captions)


def read_figures(folder: Path) -> dict[str, Any]:
    """Read the figures of an evaluation; UserError if its `evaluation.json` is missing, damaged or of another kind."""
    path = folder / "evaluation.json"
    found = read_json(path)
    figures = found.get("figures") if isinstance(found, dict) else None
    if not isinstance(figures, dict) or not all(_is_figure(value) for value in figures.values()):
        raise UserError(f"{path}: not the figures of an evaluation: delete it and evaluate again")
    return figures


def _is_figure(value: Any) -> bool:
    """Returns whether a metric may have computed this value: a number that fits a float, or lists of these."""
    if isinstance(value, list | dict):
        return all(map(_is_figure, value.values() if isinstance(value, dict) else value))
    return value is None or isinstance(value, str | float) or (isinstance(value, int) and abs(value) < _MAX_FIGURE)


def read_errors(path: Path) -> npt.NDArray[np.float64]:
    """Read the errors (N,) of an `errors.csv`, in its order and unit (degrees or px); UserError if it is damaged."""
    try:
        with open_plain(path) as file:
            rows = csv.DictReader(io.TextIOWrapper(file, encoding="utf-8", newline=""))
            return np.array([float(row["error_px" if "error_px" in row else "error_deg"]) for row in rows])
    except OSError as error:
        raise explain(error, path) from error
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(f"{path}: not the errors of an evaluation: delete its folder and evaluate again") from error


def _csv(names: Sequence[str], errors: npt.NDArray[np.float64], column: str = "error_deg") -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file_name", column])
    writer.writerows((harmless(name), f"{error:.4f}") for name, error in zip(names, errors, strict=True))
    return text.getvalue().encode()
