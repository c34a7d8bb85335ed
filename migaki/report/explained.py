"""The pages of `apply explain`: one for each of the first pictures, one for each unit of a layer, and an index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from migaki.changes.explain import Explain, fits
from migaki.core.files import make_inner_folder, show
from migaki.data.files import framing
from migaki.data.files.image_file import read_image
from migaki.data.files.member import place
from migaki.data.folder import ImageFolder
from migaki.nets.scorer import Scorer, open_scorer
from migaki.ops.explaining import SIGNED
from migaki.report.page import Number, Page
from migaki.report.sheets import image_png
from migaki.report.tables import Table
from migaki.report.units import write_units

FOLDER = "pages"
"""The folder of the pages, below the set."""

_BEST = 5  # classes in the table of a picture


def write_pages(out: Path, given: Path, change: Explain) -> None:
    """Write `pages/index.html` and the pages it lists into the explained set `out`; `given` is the set before."""
    config = change.config
    if not config.pages and not config.units:
        return
    folder, scorer = ImageFolder(out), open_scorer(config.model)
    inner = make_inner_folder(out / FOLDER)
    index = Page("Explanations", f"{scorer.name}, method {config.method}: {show(out.name)}")
    links = []
    for number in range(min(config.pages, len(folder))):
        name = f"picture_{number:05d}.html"
        _picture_page(folder, number, scorer, config).write(inner / name)
        links.append((_title(folder, number, scorer), name))
    if links:
        index.section("Pictures")
        index.links(links)
    if config.units:
        with fits(scorer):
            found = write_units(inner, ImageFolder(given), scorer, config)
        index.section(f"Units of {config.units}")
        index.links(found)
    index.write(inner / "index.html")


def _title(folder: ImageFolder, number: int, scorer: Scorer) -> str:
    row = folder.rows[number]
    said = scorer.class_name(int(row["explained_class"]))
    return f"{show(folder.names[number])}: {show(said)} ({row['explained_share']:.1%})"


def _picture_page(folder: ImageFolder, number: int, scorer: Scorer, config: Any) -> Page:
    row, name = folder.rows[number], show(folder.names[number])
    explained = show(scorer.class_name(int(row["explained_class"])))
    page = Page(name, f"Why {scorer.name} says '{explained}', by {config.method.replace('_', ' ')}.")
    cards = [Number("class", explained, "the one that is explained"),
             Number("share", f"{row['explained_share']:.1%}"),
             Number("score", f"{row['explained_score']:.2f}", "before the softmax")]
    if isinstance(row.get("label"), str | int):
        cards.append(Number("label of the set", show(_label_name(folder, row["label"]))))
    if row.get("completeness_gap") is not None:
        cards.append(Number("completeness gap", f"{row['completeness_gap']:.3f}",
                            "sum of the map less the rise of the score"))
    page.numbers(cards)
    picture, painted = _read(folder.file(number)), _read(place(folder.path, row, "overlay_file_name"))
    against = " Blue speaks against it." if config.method in SIGNED else ""
    page.pair(image_png(picture), image_png(painted), f"Red speaks for '{explained}'.{against} The map itself is in "
              f"{show(row['explanation_file_name'])}.", names=("picture", "explanation"))
    with torch.no_grad():
        scores = scorer(picture[None])[0]
    shares = torch.sigmoid(scores) if scorer.several else torch.softmax(scores, 0)
    page.section("What the classifier says")
    page.table(Table(["class", "score", "share, %"], [
        [show(scorer.class_name(place)), float(scores[place]), 100 * float(shares[place])]
        for place in scores.topk(min(_BEST, len(scores))).indices.tolist()]))
    return page


def _label_name(folder: ImageFolder, label: str | int) -> str:
    names = folder.class_names("label")
    return names[label] if isinstance(label, int) and 0 <= label < len(names) else str(label)


def _read(path: Any) -> Tensor:
    """A picture (1 or 3, H, W) in [0, 1]."""
    unit = framing.to_unit(framing.check_values(read_image(path), None, path))
    channels = unit.shape[0] if unit.shape[0] in (1, 3) else 3 if unit.shape[0] == 4 else 1
    return torch.from_numpy(np.ascontiguousarray(unit[:channels]))
