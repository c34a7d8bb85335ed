"""Pages of masks and boxes: tables of the classes, and the worst and best pictures with labels and predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from migaki.core.files import show as shown_name
from migaki.core.judge import Section
from migaki.data.folder import ImageFolder
from migaki.metrics.average_precision import ImageObjects
from migaki.metrics.detection import SURE, BoxPrecision
from migaki.metrics.extremes import Kept
from migaki.metrics.segmentation import DepthErrors, MaskOverlap
from migaki.ops.paint import READ, TRUE, outline, paint_mask
from migaki.report.figures import confusion
from migaki.report.sheets import sheet

Shown = tuple[list[Section], dict[str, bytes]]

_MOST_CLASSES = 30  # a confusion of more is not drawn


def scene_pages(metric: MaskOverlap | DepthErrors | BoxPrecision, folder: ImageFolder | None) -> Shown:
    """Returns the output of a metric of scenes, as sections and as files."""
    if isinstance(metric, MaskOverlap):
        return mask_pages(metric, folder)
    return box_pages(metric, folder) if isinstance(metric, BoxPrecision) else ([], {})


def mask_pages(metric: MaskOverlap, folder: ImageFolder | None) -> Shown:
    """Returns each class's overlap, the confusion of pixels in per cent of the true class, worst and best pictures."""
    figures = metric.compute()
    names = [shown_name(name) for name in figures["classes"]]
    rows = [list(row) for row in zip(names, figures["iou"], figures["recall"], strict=True)]
    sections = [Section(columns=["class", "IoU", "recall"], rows=rows)]
    files: dict[str, bytes] = {}
    counts = np.asarray(figures["confusion"], np.float64)
    if len(names) <= _MOST_CLASSES:
        shares = np.round(100 * counts / np.maximum(counts.sum(1, keepdims=True), 1), 1)
        files["confusion.png"] = confusion(shares.tolist(), names)
        sections.append(Section(picture=files["confusion.png"], is_chart=True,
                                caption="Pixels in per cent of the true class. Rows: true class. Columns: predicted."))
    for title, kept in _ends(metric.extremes.worst, metric.extremes.best, folder):
        truth, read = (torch.stack([getattr(one, side) for one in kept]) for side in ("truth", "read"))
        images = _images(folder, kept)
        files[f"{title}.png"] = sheet([("image", images), ("true", paint_mask(images, truth)),
                                       ("read", paint_mask(images, read))])
        sections.append(Section(
            heading=f"The {title} pictures", picture=files[f"{title}.png"],
            caption=f"The {len(kept)} pictures with the {'lowest' if title == 'worst' else 'highest'} mean IoU. White: "
                    "pixels without a class."))
    return sections, files


def box_pages(metric: BoxPrecision, folder: ImageFolder | None) -> Shown:
    """Returns each class's precision, the confusion of classes, worst and best pictures with boxes."""
    figures = metric.compute()
    names = [shown_name(name) for name in figures["classes"]]
    columns = zip(names, figures["class_ap50"], figures["class_ap"], figures["class_recall50"], strict=True)
    sections = [Section(columns=["class", "AP50", "AP50:95", "recall at 0.5"], rows=[list(row) for row in columns])]
    files: dict[str, bytes] = {}
    if len(names) <= _MOST_CLASSES:
        files["confusion.png"] = confusion(metric.confusion(), [*names, "nothing"])
        sections.append(Section(
            picture=files["confusion.png"], is_chart=True,
            caption=f"Boxes with a score of {SURE:g} or more, matched at an overlap of 0.5. Rows: true class. Columns: "
                    "predicted. Last row: false boxes. Last column: missed boxes."))
    for title, kept in _ends(metric.extremes.worst, metric.extremes.best, folder):
        images = _images(folder, kept)
        drawn = [outline(images, *_filled([one.truth for one in kept]), TRUE),
                 outline(images, *_filled([one.read for one in kept]), READ)]
        files[f"{title}.png"] = sheet([("true", drawn[0]), ("read", drawn[1])])
        sections.append(Section(
            heading=f"The {title} pictures", picture=files[f"{title}.png"],
            caption=f"The {len(kept)} pictures whose boxes overlap {'least' if title == 'worst' else 'most'}. Green: "
                    f"true. Red: predicted with a score of {SURE:g} or more."))
    return sections, files


def errors_of(metric: MaskOverlap | DepthErrors | BoxPrecision) -> tuple[np.ndarray[Any, Any], str]:
    """Returns every image's error in per cent, and the name of its column."""
    column = "relative_error_percent" if isinstance(metric, DepthErrors) else "lost_overlap_percent"
    return np.array(metric.images) * 100, column


def _ends(worst: list[Kept], best: list[Kept], folder: ImageFolder | None) -> list[tuple[str, list[Kept]]]:
    if folder is None or folder.shape[0] not in (1, 3):  # other channels cannot be shown as a picture
        return []
    half = -(-len(folder) // 2)
    return [("worst", worst[:half]), ("best", best[:half])]


def _images(folder: ImageFolder | None, kept: Sequence[Kept]) -> Tensor:
    assert folder is not None
    return folder.read([one.place for one in kept], ("image",))["image"]


def _filled(objects: Sequence[ImageObjects]) -> tuple[Tensor, Tensor]:
    """Returns boxes (B, M, 4), and which of them (B, M) are no filling."""
    most = max([1, *(len(one.boxes) for one in objects)])
    boxes, there = torch.zeros(len(objects), most, 4), torch.zeros(len(objects), most, dtype=torch.bool)
    for place, one in enumerate(objects):
        boxes[place, : len(one.boxes)] = torch.from_numpy(one.boxes).float()
        there[place, : len(one.boxes)] = True
    return boxes, there
