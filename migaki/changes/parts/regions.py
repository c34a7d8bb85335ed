"""Which pixels of a picture are changed: those of a class of its mask, those that a segmenter finds, or those that a
click or a box means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.core.batch import Batch
from migaki.core.errors import UnfitPicture, UserError
from migaki.core.files import show
from migaki.core.trained import load_system
from migaki.data.files.mask_file import ignored
from migaki.data.folder import ImageFolder
from migaki.data.sets.class_names import listed, places_of
from migaki.data.sets.mask_classes import mask_names
from migaki.ops.cutout import cut_out

Point = tuple[float, float]
Box = tuple[float, float, float, float]


class RegionFinder:
    """Finds the region of pictures; made once for a set.

    `source` is a class by name or number; without one, all but the background counts. Raises UserError for a class
    that there is not, masks of another size than their pictures, and a run that makes no masks.
    """

    def __init__(self, source: str, segmenter: Path | None, click: Point | None, box: Box | None) -> None:
        self.source, self.segmenter, self.click, self.box = source, segmenter, click, box
        self.way = "click" if click is not None else "box" if box is not None else \
            "segmenter" if segmenter is not None else "mask"
        self._system: Any = None
        self._ignored: set[int] = set()
        self._class: int | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """The keys that a batch needs."""
        return ("image", "mask") if self.way == "mask" else ("image",)

    def open(self, folder: Path | None) -> None:
        """Check the set, or load the segmenter."""
        if self.way == "segmenter":
            assert self.segmenter is not None
            self._system = load_system(self.segmenter)
            config = self._system.config
            if self._system.shape is None or not getattr(config, "num_mask_classes", 0):
                raise UserError(f"{show(self.segmenter)}: makes no masks: give a run of `migaki train weak_segmenter` "
                                "or `migaki train segmenter`")
            self._class = _class_of(self.source, config.mask_classes, config.num_mask_classes, show(self.segmenter))
        elif self.way == "mask" and folder is not None:
            self._open_masks(ImageFolder(folder))

    def _open_masks(self, folder: ImageFolder) -> None:
        numbers: set[int] = set()
        for index, header in enumerate(folder.headers):
            if folder.files["mask"][index] is None:
                continue
            plane = folder.plane("mask", index)
            if plane.shape != (header.height, header.width):
                raise UserError(f"{show(folder.path)}: the mask of '{show(folder.names[index])}' is {plane.shape[1]} x "
                                f"{plane.shape[0]} px, the picture {header.width} x {header.height}: bring them to one "
                                "size")
            numbers |= set(np.unique(plane).tolist())
        self._ignored = ignored(numbers)
        count = max(numbers - self._ignored, default=0) + 1
        self._class = _class_of(self.source, mask_names(folder), count, show(folder.path))

    def regions(self, batch: Batch) -> Tensor:
        """Returns the regions (B, H, W) bool of `image` (B, C, H, W)."""
        images = batch["image"]
        if self.way == "mask":
            return self.of_masks(batch["mask"])
        colours = images.expand(-1, 3, -1, -1)
        if self.way == "segmenter":
            return self._segmented(colours)
        height, width = images.shape[2:]
        x, y = self.click or (self.box or (0.0,))[:2]  # type: ignore[misc]
        if not (0 <= x < width and 0 <= y < height):
            raise UnfitPicture(f"has {width} x {height} px, and --{self.way} {x:g} {y:g} lies outside of it: give "
                               "places in px inside the picture")
        return torch.stack([cut_out(one[None], self.box, self.click) for one in colours])

    def of_masks(self, masks: Tensor) -> Tensor:
        """Returns where masks (B, H, W) of class numbers show the class."""
        if self._class is not None:
            return masks == self._class
        found = masks != 0
        for number in self._ignored:
            found &= masks != number
        return found

    def _segmented(self, images: Tensor) -> Tensor:
        """What the segmenter sees, at its own size, brought back to the pictures' by the share of the class."""
        system = self._system
        channels, height, width = system.shape
        if channels not in (1, 3):
            raise UserError(f"{show(str(self.segmenter))}: takes pictures of {channels} channels: give a run for RGB")
        small = F.interpolate(images, size=(height, width), mode="bilinear", align_corners=False, antialias=True)
        small = small.mean(1, keepdim=True) if channels == 1 else small
        with torch.no_grad():
            # One picture at a time: networks round differently in batches of another size.
            masks = torch.cat([system.predict({"image": one[None]})["mask"] for one in small])
        share = self.of_masks(masks.long()).float()[:, None]
        return F.interpolate(share, size=images.shape[2:], mode="bilinear", align_corners=False)[:, 0] > 0.5


def _class_of(source: str, names: Any, count: int, where: str) -> int | None:
    """The number of a class; None for all but the background."""
    if not source:
        return None
    place: int = places_of([source], list(names))[0] if names else -1
    if place < 0 and source.isascii() and source.isdecimal():
        place = int(source)
    if not 0 <= place < max(count, len(names)):
        known = listed(list(names)) if names else f"numbers up to {count - 1}"
        raise UserError(f"{where}: its masks have no class '{show(source)}' ({known}): give one of these as --from")
    return place
