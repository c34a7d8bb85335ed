"""Judges masks made from tags, rung by rung, against true masks, beside what a guess without the picture reaches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from migaki import __version__
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.judge import Findings, Judge, Progress, Section
from migaki.core.system import System
from migaki.core.trained import load_system
from migaki.data.folder import ImageFolder
from migaki.data.sets.mask_classes import match_mask_classes
from migaki.metrics.segmentation import confusion_of, figures_of, mean_overlap
from migaki.nets.localiser import RUNGS
from migaki.ops.distinct_maps import class_shares
from migaki.systems.weak_segmenter import WeakSegmenter

SWEEP = tuple(number / 20 for number in range(1, 19))
"""Thresholds of the oracle's sweep: the best is chosen on the true masks, which nobody has."""

_BATCH = 16


class WeakMasks(Judge):
    """Mean IoU of a weak segmenter's maps or of its rounds, over all images and over those of two or more classes.

    The threshold is the run's own, chosen without masks; `oracle_miou` is the best of a sweep on the true masks, to
    show what the rule costs. A run of `migaki train segmenter` is judged as it predicts: the supervised bound.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The labelled folder, and which masks are judged."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "rung round crf tags prior"}

        data: Path  # a folder with masks
        rung: Literal["gradient", "guided", "layer", "difference", "layers", "scales",
                      "round"] = "round"  # how the maps are made; round: what a segmenter reads
        round: int = 0  # of the segmenters; 0 = the last
        crf: bool = False  # after the CRF
        tags: bool = False  # within the true classes of each image, as if it were tagged; else those recognised
        prior: Path | None = None  # masks of other images: where each class usually lies, for a guess without the image

    config: Config
    takes_runs = True
    file_name = "evaluation"

    def sources(self) -> tuple[Path, ...]:
        """Returns the judged folder, and that of the prior."""
        return tuple(path for path in (self.config.data, self.config.prior) if path is not None)

    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns the figures of one run; UserError for no run, several, or one without masks."""
        if len(runs) != 1:
            raise UserError("evaluate weak_masks: give one run of `migaki train weak_segmenter` or `train segmenter`")
        system = load_system(runs[0])
        if system.shape is None or not getattr(system.config, "num_mask_classes", 0):
            raise UserError(f"{show(runs[0])}: makes no masks: give a run of `migaki train weak_segmenter`")
        _, height, width = system.shape
        folder = ImageFolder(self.config.data, size=(height, width), channels=system.channels)
        folder.require("mask")
        match_mask_classes(folder, system.config, runs[0])
        counts = _Counts(int(system.config.num_mask_classes))
        reader = _Reader(system, self.config)
        with torch.no_grad():
            for rows, images, truth in _batches(folder):
                counts.add(reader.masks(images, _tags_of(truth, counts.size)), truth)
                progress(rows.stop, len(folder))
        figures = counts.figures() | reader.figures()
        guesses = self._guesses(system, folder, counts.size)
        figures |= {name: value for name, value in guesses.items() if name.endswith("miou")}
        names = [*system.config.mask_classes] or list(map(str, range(counts.size)))
        rows_ = [[name, value] for name, value in zip(names, figures["iou"], strict=True)]
        record = {"run": str(runs[0]), "data": str(self.config.data), "data_fingerprint": folder.fingerprint,
                  "rung": self.config.rung, "crf": self.config.crf, "tags": self.config.tags, "version": __version__}
        return Findings(title="Masks from tags", record=record, figures=figures, baseline=counts.background(),
                        baseline_name="background everywhere", sections=[
                            Section(heading="Intersection over union by class", columns=["class", "IoU"], rows=rows_)])

    def _guesses(self, system: System, folder: ImageFolder, size: int) -> dict[str, float]:
        """Returns the mean IoU of guesses that do not look at the picture, from where classes lie in other masks."""
        if self.config.prior is None:
            return {}
        height, width = folder.shape[1:]
        other = ImageFolder(self.config.prior, size=(height, width), channels=system.channels)
        other.require("mask")
        match_mask_classes(other, system.config, "the model")
        where = torch.zeros(size, height, width)
        for _, _, truth in _batches(other):
            where += torch.stack([(truth == number).sum(0) for number in range(size)])
        plain, tagged = _Counts(size), _Counts(size)
        for _, _, truth in _batches(folder):
            present = torch.cat([torch.ones(len(truth), 1), _tags_of(truth, size)], 1)
            plain.add([where.argmax(0).expand_as(truth)], truth)
            tagged.add([((where + 1e-6) * present[:, :, None, None]).argmax(1)], truth)
        return {"prior_miou": plain.figures()["miou"], "prior_with_tags_miou": tagged.figures()["miou"]}


class _Reader:
    """The masks that a run gives for images: its own first, then those of the oracle's sweep."""

    def __init__(self, system: System, config: Any) -> None:
        self.system, self.config = system, config
        self.place = None if config.rung == "round" else RUNGS.index(config.rung)
        if not isinstance(system, WeakSegmenter):
            if config.rung != "round" or config.crf or config.round or config.tags:
                raise UserError("evaluate weak_masks: --rung, --round, --crf and --tags are for runs of `migaki train "
                                "weak_segmenter`")
        elif not 0 <= config.round <= len(system.nets):
            raise UserError(f"evaluate weak_masks: --round {config.round}: the run has {len(system.nets)} rounds")
        self._right = self._seen = 0.0

    def masks(self, images: Tensor, tags: Tensor) -> list[Tensor]:
        """Returns (B, H, W) class numbers at the run's threshold, then at each of `SWEEP`; `tags` (B, N) are true."""
        system, config = self.system, self.config
        if not isinstance(system, WeakSegmenter):
            return [system.predict({"image": images})["mask"]]
        present = system.recognised(images)
        self._right += float((present == tags).all(1).sum())
        self._seen += len(tags)
        asked = system.asked(images, tags if config.tags else present)
        if self.place is None:
            shares = [system.read(system.nets[config.round - 1], images, asked)]
        else:
            maps = system.maps(images, asked, config.rung)
            own = system.thresholds[self.place]
            shares = [class_shares(maps, own), *(class_shares(maps, torch.full((), one)) for one in SWEEP)]
        if config.crf:
            shares = system.refined(images, *shares)
        return [asked.mask(one) for one in shares]

    def figures(self) -> dict[str, Any]:
        """Returns the threshold, and how often the recognised classes are exactly the true ones."""
        found: dict[str, Any] = {"classes_right": self._right / self._seen} if self._seen else {}
        if self.place is not None and isinstance(self.system, WeakSegmenter):
            found["threshold"] = float(self.system.thresholds[self.place])
        return found


class _Counts:
    """Confusions of pixels: of all images, and of those of two or more classes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.all = torch.zeros(size, size, dtype=torch.int64)
        self.several = torch.zeros_like(self.all)
        self.sweep = torch.zeros(len(SWEEP), size, size, dtype=torch.int64)
        self.images, self.is_swept = 0, False

    def add(self, masks: Sequence[Tensor], truth: Tensor) -> None:
        """Add masks (B, H, W), the run's own first, then those of the sweep."""
        several = _tags_of(truth, self.size).sum(1) >= 2
        for place, one in enumerate(truth):
            counts = confusion_of(masks[0][place], one, self.size)
            self.all += counts
            self.several += counts * int(several[place])
        for number, mask in enumerate(masks[1:]):
            self.sweep[number] += confusion_of(mask, truth, self.size)
        self.images, self.is_swept = self.images + len(truth), len(masks) > 1

    def figures(self) -> dict[str, Any]:
        """Returns the mean IoU and the rest; raises UserError where no pixel has a class."""
        if not int(self.all.sum()):
            raise UserError("evaluate weak_masks: no pixel of a mask has a class: check the masks")
        found: dict[str, Any] = {"count": self.images, **figures_of(self.all)}
        found["miou_several"] = mean_overlap(self.several)
        if self.is_swept:
            each = [mean_overlap(one) for one in self.sweep]
            best = max(range(len(each)), key=lambda place: each[place])
            found |= {"oracle_miou": each[best], "oracle_threshold": SWEEP[best], "sweep": each}
        return found

    def background(self) -> dict[str, Any]:
        """Returns the figures of an empty mask everywhere."""
        found = {}
        for name, counts in (("miou", self.all), ("miou_several", self.several)):
            empty = torch.zeros_like(counts)
            empty[:, 0] = counts.sum(1)
            found[name] = mean_overlap(empty)
        return found


def _tags_of(truth: Tensor, size: int) -> Tensor:
    """Returns which classes, without the background, are in masks (B, H, W): (B, size - 1)."""
    labels = torch.stack([(truth == number).flatten(1).any(1) for number in range(1, size)], 1)
    return labels.float()


def _batches(folder: ImageFolder) -> Iterator[tuple[range, Tensor, Tensor]]:
    for start in range(0, len(folder), _BATCH):
        rows = range(start, min(start + _BATCH, len(folder)))
        for index in rows:
            _require_size(folder, index)
        batch = folder.read(rows, ("image", "mask"))
        yield rows, batch["image"], batch["mask"].long()


def _require_size(folder: ImageFolder, index: int) -> None:
    """UserError for a mask of another size than its image: scaled alone it would not fit."""
    header, (height, width) = folder.headers[index], folder.plane("mask", index).shape
    if (height, width) != (header.height, header.width):
        raise UserError(f"{show(folder.path)}: the mask of '{show(folder.names[index])}' is {width} x {height} px, the "
                        f"image {header.width} x {header.height}: bring them to one size")
