"""The page of `apply material`: what the material is made of, its clusters, and pictures before and after."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.changes.material import Material as Change
from migaki.changes.parts.restyling import Restyling
from migaki.changes.parts.style_pictures import Material, StylePicture
from migaki.core.files import make_inner_folder, show
from migaki.data.files import framing
from migaki.data.files.image_file import read_image
from migaki.data.folder import ImageFolder
from migaki.report.page import Page
from migaki.report.sheets import image_png, sheet
from migaki.report.tables import Table

FOLDER = "pages"
"""The folder of the page, below the set."""

MEDOIDS = 4
"""Pictures that show a cluster, its most central ones."""

_SIDE = 96  # px


def write_pages(out: Path, given: Path, change: Change) -> None:
    """Write `pages/index.html` into the changed set `out`; `given` is the set before."""
    config = change.config
    if not config.pages:
        return
    after, before = ImageFolder(out), ImageFolder(given)
    restyling = Restyling(config)
    material, record = restyling.material, restyling.record
    page = Page(f"{show(material.name)}", f"The material of {show(given.name)}, changed; every pixel outside of the "
                "regions has its old bits.")
    page.numbers(_cards(after, record))
    if material.clusters is not None:
        page.section("Clusters of the word's pictures")
        page.figure(sheet(cluster_rows(material), min_side=_SIDE), _about(material))
    page.section("Pictures whose style is put on")
    page.figure(sheet([("", _stack(material.pictures))], min_side=_SIDE),
                f"{len(material.pictures)} of {len(material.candidates)}, pooled by {config.pool}.")
    page.section("Before and after")
    for number in range(min(config.pages, len(after))):
        page.pair(image_png(_read(before, number // _variants(after, before))), image_png(_read(after, number)),
                  f"{show(after.names[number])}: style left {_short(after.rows[number], 'style_left')} (1 before), "
                  f"region {_short(after.rows[number], 'region_share')} of the picture")
    page.section("How", is_folded=True)
    page.table(Table(["", "value"], [[name, str(value)] for name, value in record.items()]))
    page.write(make_inner_folder(out / FOLDER) / "index.html")


def cluster_rows(material: Material) -> list[tuple[str, Tensor]]:
    """Returns a row of a sheet for each cluster: its number, its size, and its medoids."""
    assert material.clusters is not None
    return [(f"{'> ' if number == material.cluster else ''}{number}: {len(order)}",
             _stack([material.candidates[place] for place in order[:MEDOIDS]]))
            for number, order in enumerate(material.clusters.order, 1)]


def _about(material: Material) -> str:
    assert material.clusters is not None
    return (f"The {MEDOIDS} most central pictures of each cluster, the largest first; cluster {material.cluster} was "
            f"taken. Mean silhouette {material.clusters.silhouette:.2f} (1 well apart, 0 not). --cluster chooses "
            "another one.")


def _cards(after: ImageFolder, record: dict[str, Any]) -> list[tuple[str, str, str]]:
    def mean(column: str) -> str:
        values = [row[column] for row in after.rows if row.get(column) is not None and row.get("region_share")]
        return f"{np.mean(values):.3f}" if values else "-"

    cards = [("pictures", str(len(after)), ""), ("style left", mean("style_left"), "1 before the change"),
             ("content lost", mean("content_lost"), "1: as far as its mean")]
    if "max_gap" in record:
        cards.append(("gap of the maximum", f"{record['max_gap']:.3f}", "what clipping eigenvalues changed"))
    return cards


def _variants(after: ImageFolder, before: ImageFolder) -> int:
    return max(1, len(after) // len(before))


def _short(row: dict[str, Any], column: str) -> str:
    value = row.get(column)
    return "-" if value is None else f"{value:.3f}"


def _stack(pictures: Sequence[StylePicture]) -> Tensor:
    """Pictures as squares of one size, (N, 3, S, S)."""
    return torch.cat([F.interpolate(one.image, size=(_SIDE, _SIDE), mode="bilinear", align_corners=False,
                                    antialias=True).clamp(0, 1) for one in pictures])


def _read(folder: ImageFolder, number: int) -> Tensor:
    path = folder.file(number)
    unit = framing.to_unit(framing.check_values(read_image(path), None, path))
    return torch.from_numpy(np.ascontiguousarray(unit[: 3 if unit.shape[0] >= 3 else 1]))
