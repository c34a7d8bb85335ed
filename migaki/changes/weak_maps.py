"""Shows where a trained weak segmenter sees the classes of pictures: soft masks and masks, rung by rung."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from migaki.core.batch import Batch
from migaki.core.change import AFFINE, Change
from migaki.core.errors import UnfitPicture, UserError
from migaki.core.files import show
from migaki.core.trained import load_system
from migaki.data.files import framing
from migaki.data.folder import ImageFolder
from migaki.data.sets.carry import framed
from migaki.data.sets.class_labels import match_classes
from migaki.data.sets.mask_classes import mask_names_of
from migaki.ops.multi_hot import multi_hot


class WeakMaps(Change):
    """Writes `soft_masks` (shares of background and classes) and `mask` from a run of `migaki train weak_segmenter`.

    `maps` are those of the classifier, from its plain gradient to all layers and sizes; `round` is what the last
    segmenter reads. The classes are those that the classifier recognises, or with `--tags` the picture's own.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The run, and which of its maps."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "model rung crf tags"}

        model: Path  # a run of `migaki train weak_segmenter`
        rung: Literal["gradient", "guided", "layer", "difference", "layers", "scales",
                      "round"] = "round"  # how the maps are made
        crf: bool = False  # let them follow the edges of the picture
        tags: bool = False  # within the classes in the column `labels`, which the set must have

    config: Config
    hints = ("labels",)
    _names: tuple[str, ...] = ()

    def open(self, folder: Path) -> None:
        """Load the model; refuse a run of another kind, and with --tags a set without them."""
        system: Any = load_system(self.config.model)
        if not hasattr(system, "thresholds") or not hasattr(system, "asked"):
            raise UserError(f"{show(self.config.model)}: is no run of `migaki train weak_segmenter`: give one "
                            "as --model")
        self._system = system
        self._table: Tensor | None = None
        if not self.config.tags:
            return
        tagged = ImageFolder(folder)
        tagged.require("labels")
        given = tagged.labels["labels"].copy()
        match_classes(tagged, system.config, self.config.model)
        pairs = {int(a): int(b) for a, b in zip(given.ravel(), tagged.labels["labels"].ravel(), strict=True)}
        self._table = torch.tensor([pairs.get(number, -1) for number in range(-1, max(pairs, default=-1) + 1)])

    @property
    def names(self) -> dict[str, Any]:
        """The names of the numbers in the masks."""
        return mask_names_of(self._system.config)

    def reads(self) -> dict[str, Path]:
        """The model decides the result."""
        return {"model": self.config.model}

    def change(self, batch: Batch, seeds: Tensor) -> Batch:
        """(B, C, H, W) in [0, 1] to `soft_masks` (B, 1 + N, h, w) and `mask` (B, h, w), at the model's size.

        Pictures of another size are scaled to it, and labels in px follow.
        """
        images, system = batch["image"], self._system
        channels, *size = system.shape
        if images.shape[1] != channels:
            raise UnfitPicture(f"has {images.shape[1]} channels, and the model takes {channels}: convert it with "
                               f"`migaki import photos --channels {channels}`")
        moved: Batch = {}
        if list(images.shape[2:]) != size:
            move = framed(images.shape[2], images.shape[3], (size[0], size[1]))
            images = torch.from_numpy(np.stack([framing.resize(one, (size[0], size[1])) for one in images.numpy()]))
            moved = {"image": images, AFFINE: torch.from_numpy(move.matrix).float().expand(len(images), 2, 3)}
        # One picture at a time: networks round differently in batches of another size.
        found = [self._shares(image[None], None if self._table is None else batch["labels"][place][None])
                 for place, image in enumerate(images)]
        soft = torch.cat(found)
        return {"soft_masks": soft, "mask": soft.argmax(1).to(torch.uint8), **moved}

    def _shares(self, images: Tensor, labels: Tensor | None) -> Tensor:
        system, config = self._system, self.config
        with torch.no_grad():
            present = system.recognised(images)
            if labels is not None and self._table is not None:
                present = multi_hot(self._table[labels.long() + 1], system.config.num_classes)
            asked = system.asked(images, present)
            shares = system.read(system.nets[-1], images, asked) if config.rung == "round" else system.shares(
                images, asked, config.rung)
            shares = system.refined(images, shares)[0] if config.crf else shares
            spread: Tensor = asked.spread(shares, system.config.num_classes)
        return spread
