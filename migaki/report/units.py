"""A page for each unit of a layer: the patches that excite it most, the pixels that took part, its classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.folder import ImageFolder
from migaki.nets.scorer import Scorer
from migaki.ops.attribution import largest
from migaki.ops.overlay import overlay
from migaki.ops.units import box_of, class_profile, unit_peaks, unit_slope
from migaki.report.page import Page
from migaki.report.sheets import sheet
from migaki.report.tables import Table

_MOST = 2000  # pictures, evenly spaced
_AT_ONCE = 16
_PATCHES = 9
_SIDE = 96  # px of a patch on the page
_CLASSES = 8  # in a profile


def write_units(place: Path, folder: ImageFolder, scorer: Scorer, config: Any) -> list[tuple[str, str]]:
    """Write `unit_N.html` for the units of `config.units` that vary most; returns their titles and names.

    Raises UserError for pictures of differing sizes: a unit's values would not be comparable.
    """
    rows = np.linspace(0, len(folder) - 1, min(_MOST, len(folder))).round().astype(int).tolist()
    found = [unit_peaks(scorer, _images(folder, rows[start : start + _AT_ONCE]), config.units)
             for start in range(0, len(rows), _AT_ONCE)]
    peaks, places = torch.cat([one for one, _ in found]), torch.cat([one for _, one in found])
    labels, names = _labels(folder, rows, scorer)
    profile, counts = class_profile(peaks, labels, len(names))
    chosen = torch.argsort(peaks.std(0, correction=0), descending=True, stable=True)[: config.most_units].tolist()
    links = []
    for unit in sorted(chosen):
        page = Page(f"Unit {unit} of {config.units}",
                    f"{scorer.name}, {len(rows)} pictures of {show(folder.path.name)}.")
        top = torch.argsort(peaks[:, unit], descending=True, stable=True)[:_PATCHES].tolist()
        crops, painted = _patches(folder, [rows[one] for one in top], places[top, unit], scorer, config.units, unit)
        page.figure(sheet([("patch", crops), ("gradient", painted)], min_side=_SIDE, max_columns=_PATCHES),
                    "The pictures that excite the unit most, cut to its receptive field there: the pixels with 95 % of "
                    "its gradient. Below, painted by that gradient.")
        page.table(Table(["picture", "value"], [
            [show(folder.names[rows[one]]), float(peaks[one, unit])] for one in top]))
        page.section("Classes")
        page.text("The unit's mean value over the pictures of each class, the highest first. The whole set's mean is "
                  f"{float(peaks[:, unit].mean()):.3g}.")
        order = torch.argsort(profile[:, unit].nan_to_num(-torch.inf), descending=True, stable=True)
        page.table(Table(["class", "mean", "pictures"], [
            [show(names[one]), float(profile[one, unit]), int(counts[one])] for one in order.tolist()[:_CLASSES]
            if counts[one]]))
        page.write(place / f"unit_{unit:05d}.html")
        best = show(names[int(order[0])])
        links.append((f"unit {unit}: most for '{best}'", f"unit_{unit:05d}.html"))
    return links


def _images(folder: ImageFolder, rows: list[int]) -> Tensor:
    try:
        return folder.read(rows, ("image",))["image"]
    except UserError as error:
        raise UserError(f"--units: {error}") from error


def _labels(folder: ImageFolder, rows: list[int], scorer: Scorer) -> tuple[Tensor, list[str]]:
    """The classes (N,) of the pictures: the set's if it has some, else the classifier's own; and their names."""
    values = folder.labels.get("label")
    if values is not None and values.ndim == 1:
        numbers = torch.from_numpy(np.nan_to_num(values[rows].astype(np.float64), nan=-1)).long()
        names = list(folder.class_names("label"))
        return numbers, names + [str(number) for number in range(len(names), int(numbers.max()) + 1)]
    with torch.no_grad():
        found = [scorer(_images(folder, rows[start : start + _AT_ONCE])).argmax(1)
                 for start in range(0, len(rows), _AT_ONCE)]
    return torch.cat(found), [scorer.class_name(number) for number in range(scorer.num_classes)]


def _patches(folder: ImageFolder, rows: list[int], places: Tensor, scorer: Scorer, layer: str,
             unit: int) -> tuple[Tensor, Tensor]:
    """The patches (N, 3, side, side), and the same painted with the unit's gradient."""
    crops: list[Tensor] = []
    painted: list[Tensor] = []
    for row, place in zip(rows, places.tolist(), strict=True):
        image = _images(folder, [row])[0]
        slope = unit_slope(scorer, image, layer, unit, (place[0], place[1]))
        left, top, right, bottom = box_of(slope)
        both = (image.expand(3, -1, -1), overlay(image[None], largest(slope[None]))[0])
        for whole, cut in zip(both, (crops, painted), strict=True):
            part = whole[None, :, top:bottom, left:right]
            cut.append(F.interpolate(part, (_SIDE, _SIDE), mode="bilinear", antialias=True)[0].clamp(0, 1))
    return torch.stack(crops), torch.stack(painted)
