"""Judges changed materials: is the region read as the new one, is the word recognised, is the content still there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from migaki import __version__
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.judge import Findings, Judge, Progress, Section, share_of
from migaki.core.trained import load_system
from migaki.data.files import framing
from migaki.data.files.image_file import read_image
from migaki.data.folder import ImageFolder
from migaki.data.sets.class_names import places_of
from migaki.metrics.materials import RegionCounts, edges_kept, inner_square
from migaki.metrics.shares import share_of_pictures
from migaki.nets.scorer import Scorer, open_single
from migaki.report.sheets import sheet
from migaki.report.statistics import paired_difference

_SHOWN = 8
_SIDE = 96  # px, for a recogniser that takes any size

_ABOUT = """\
Pixel accuracy: the share of the regions' pixels that a segmenter, which took no part in the change, reads as the \
target material. Mean IU: the mean over the target and the background. The lower bound is the pictures before the \
change. Recognised: a classifier of photographs of materials says the word of the largest square inside the region. \
Edges kept: the correlation of edge strengths in the region before and after. Pixels changed outside: must be 0."""


class Materials(Judge):
    """Judges a set of `migaki apply material` beside the same pictures before the change.

    The segmenter must know a background (0) and the target among its classes; the recogniser is a classifier with the
    target among its classes. Neither may have seen a changed picture.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The sets and the models that judge."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "segmenter recogniser to against"}

        data: Path  # the changed set
        untouched: Path  # the set before the change
        segmenter: Path | None = None  # a run of `migaki train segmenter` on photographs of materials
        recogniser: Path | None = None  # a run of `migaki train classifier` on photographs of materials
        to: str = ""  # the target material; none: as the changed set says
        against: tuple[Path, ...] = ()  # other changed sets of the same pictures, to compare with pair by pair

        def __post_init__(self) -> None:
            if self.segmenter is None and self.recogniser is None:
                raise UserError("evaluate materials: give --segmenter, --recogniser or both")

    config: Config

    def sources(self) -> tuple[Path, ...]:
        """Returns the judged folders."""
        return (self.config.data, self.config.untouched, *self.config.against)

    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns the figures of the changed set and, as the baseline, of the pictures before the change."""
        if runs:
            raise UserError("evaluate materials: name no run: models are given as --segmenter and --recogniser")
        config = self.config
        sets = [_Set(config.data), *(_Set(path) for path in config.against)]
        before = ImageFolder(config.untouched)
        for one in sets:
            one.require_like(before)
        target = config.to or sets[0].target
        if not target:
            raise UserError(f"{show(config.data)}: does not say its material: give --to")
        models = _Models(config.segmenter, config.recogniser, target)
        total = (len(sets) + 1) * len(before)
        tallies = [_judged(models, one.folder, before, one.regions, share_of(progress, number * len(before), total))
                   for number, one in enumerate(sets)]
        free = _judged(models, before, before, sets[0].regions, share_of(progress, len(sets) * len(before), total))
        figures, baseline = tallies[0].figures(), free.figures()
        columns, rows = _comparisons(tallies, [show(path.name) for path in config.against])
        record = {"data": str(config.data), "data_fingerprint": sets[0].folder.fingerprint, "target": target,
                  "untouched": str(config.untouched), "segmenter": str(config.segmenter),
                  "recogniser": str(config.recogniser), "against": list(map(str, config.against)),
                  "version": __version__}
        sections = [Section(heading="Before and after", picture=_sheet(before, sets[0]), caption="The first pictures.")]
        if rows:
            sections.append(Section(heading="Against other sets, pair by pair", columns=columns, rows=rows))
            figures |= {f"recognised_minus_{number}": row[1] for number, row in enumerate(rows)}
        return Findings(title=f"Changed into {show(target)}", record=record, figures=figures, baseline=baseline,
                        baseline_name="the pictures before the change", sections=sections, notes=(_ABOUT,),
                        files={"each.csv": tallies[0].csv(before)})


class _Set:
    """A changed set with the regions that were changed."""

    def __init__(self, path: Path) -> None:
        self.folder = ImageFolder(path)
        if "region" not in self.folder.files:
            raise UserError(f"{show(path)}: has no regions: give a set of `migaki apply material`")
        made = self.folder.made.get("material")
        self.target = str(made.get("name", "")) if isinstance(made, dict) else ""

    def require_like(self, before: ImageFolder) -> None:
        """UserError unless the set has the same number of pictures as before the change."""
        if len(self.folder) != len(before):
            raise UserError(f"{show(self.folder.path)}: has {len(self.folder)} pictures, and {show(before.path)} has "
                            f"{len(before)}: give the set that was changed as --untouched")

    def regions(self, index: int) -> Tensor:
        """Returns the region of a picture, (H, W) bool."""
        return torch.from_numpy(self.folder.plane("region", index) > 0)


class _Models:
    """The models that judge, and what they call the target."""

    def __init__(self, segmenter: Path | None, recogniser: Path | None, target: str) -> None:
        self.segmenter: Any = None if segmenter is None else load_system(segmenter)
        self.recogniser: Scorer | None = None if recogniser is None else open_single(recogniser)
        self.mask_class = self.word = -1
        if self.segmenter is not None:
            names = getattr(self.segmenter.config, "mask_classes", ())
            if self.segmenter.shape is None or not names:
                raise UserError(f"{show(str(segmenter))}: makes no masks with names of classes: give a run of `migaki "
                                "train segmenter`")
            self.mask_class = places_of([target], names)[0]
            if self.mask_class < 1:
                raise UserError(f"{show(str(segmenter))}: knows no '{show(target)}' (it knows "
                                f"{', '.join(map(show, names))}): train it on scenes with that material, or give --to")
        if self.recogniser is not None:
            self.word = self.recogniser.class_number(target)

    def masks(self, image: Tensor) -> Tensor:
        """What the segmenter reads in a picture (1, 3, H, W): class numbers (H, W), by the nearest pixels."""
        channels, height, width = self.segmenter.shape
        small = F.interpolate(image, size=(height, width), mode="bilinear", align_corners=False, antialias=True)
        small = small.mean(1, keepdim=True) if channels == 1 else small
        with torch.no_grad():
            mask = self.segmenter.predict({"image": small})["mask"]
        return F.interpolate(mask[:, None].float(), size=image.shape[2:], mode="nearest-exact")[0, 0].long()

    def share(self, image: Tensor, region: Tensor) -> tuple[float, bool]:
        """The word's share in the square inside the region, and whether it is the likeliest class."""
        assert self.recogniser is not None
        rows, columns = inner_square(region)
        channels, height, width = self.recogniser.shape
        size = (height or _SIDE, width or _SIDE)
        square = F.interpolate(image[..., rows, columns], size=size, mode="bilinear", align_corners=False,
                               antialias=True)
        square = square.mean(1, keepdim=True) if channels == 1 else square
        with torch.no_grad():
            shares = torch.softmax(self.recogniser(square)[0], 0)
        return float(shares[self.word]), int(shares.argmax()) == self.word


class _Tally:
    """What was measured of one set, picture by picture."""

    def __init__(self) -> None:
        self.counts = RegionCounts()
        self.edges: list[float] = []
        self.shares: list[float] = []
        self.hits: list[float] = []
        self.changed_outside = 0

    def figures(self) -> dict[str, Any]:
        """Returns all figures that were measured."""
        found: dict[str, Any] = {"count": len(self.edges)}
        if self.counts.each:
            found |= self.counts.figures()
        if self.shares:
            found |= share_of_pictures("recognised", self.hits) | {"recognised_share": float(np.mean(self.shares))}
        return found | {"edges_kept": float(np.mean(self.edges)), "changed_outside": self.changed_outside}

    def csv(self, before: ImageFolder) -> bytes:
        """Returns a line a picture: its name, and what was measured of it."""
        lines = ["file_name,region_read_as_target,recognised,share_of_the_word,edges_kept"]
        for number, name in enumerate(before.names[: len(self.edges)]):
            values = [self.counts.each[number] if self.counts.each else "", *(
                (self.hits[number], self.shares[number]) if self.shares else ("", "")), self.edges[number]]
            quoted = '"' + show(name).replace('"', '""') + '"'
            lines.append(",".join([quoted, *(f"{value:.5f}" if value != "" else "" for value in values)]))
        return ("\n".join(lines) + "\n").encode()


def _judged(models: _Models, folder: ImageFolder, before: ImageFolder, regions: Any, progress: Any) -> _Tally:
    """Measure the pictures of a folder whose regions are not empty."""
    tally = _Tally()
    for index in range(len(folder)):
        image, old, region = _read(folder, index), _read(before, index), regions(index)
        if image.shape != old.shape or image.shape[2:] != region.shape:
            raise UserError(f"{show(folder.path)}: '{show(folder.names[index])}' has another size than before the "
                            "change: give the set that was changed as --untouched")
        if bool(region.any()):
            if models.segmenter is not None:
                tally.counts.add(models.masks(image), region, models.mask_class)
            if models.recogniser is not None:
                share, hit = models.share(image, region)
                tally.shares.append(share)
                tally.hits.append(float(hit))
            tally.edges.append(edges_kept(image, old, region))
            tally.changed_outside += int(((image != old).any(1)[0] & ~region).sum())
        progress(index + 1)
    if not tally.edges:
        raise UserError(f"{show(folder.path)}: all its regions are empty: nothing was changed")
    return tally


def _comparisons(tallies: Sequence[_Tally], names: Sequence[str]) -> tuple[list[str], list[list[Any]]]:
    """Rows: another set's name, and how much more of the word is seen here, pair by pair."""
    columns = ["against", "share of the word, difference", "95 % from", "to", "pairs"]
    rows: list[list[Any]] = []
    for name, other in zip(names, tallies[1:], strict=True):
        first, second = (one.shares or one.counts.each for one in (other, tallies[0]))
        if len(first) == len(second):
            found = paired_difference(first, second, num_resamples=2000)
            rows.append([name, found.mean, found.bootstrap_low, found.bootstrap_high, found.count])
    return columns, rows


def _read(folder: ImageFolder, index: int) -> Tensor:
    """A picture (1, 3, H, W) in [0, 1] of its own size; grey ones in all three channels."""
    path = folder.file(index)
    array = framing.check_values(read_image(path), None, path)
    unit = framing.to_unit(array)[: 3 if array.shape[0] >= 3 else 1]
    return torch.from_numpy(np.ascontiguousarray(unit))[None].expand(-1, 3, -1, -1)


def _sheet(before: ImageFolder, changed: _Set) -> bytes:
    """The first pictures before and after, as squares."""
    rows = []
    for name, folder in (("before", before), ("after", changed.folder)):
        pictures = [F.interpolate(_read(folder, index), size=(_SIDE, _SIDE), mode="bilinear", align_corners=False,
                                  antialias=True).clamp(0, 1) for index in range(min(_SHOWN, len(folder)))]
        rows.append((name, torch.cat(pictures)))
    return sheet(rows, min_side=_SIDE)
