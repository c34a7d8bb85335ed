"""Applies a damage to a folder: writes pairs of damaged and clean pictures with the damage's parameters and labels."""

from __future__ import annotations

import torch

from migaki.core.batch import Batch
from migaki.core.change import AFFINE, Change
from migaki.core.damage import Damage
from migaki.core.errors import UnfitPicture


class DamagedPairs(Change):
    """Writes each picture to `input/` (damaged) and `target/` (clean) under one name, so that readers can pair them.

    Scalars of the damage become columns of `input/`; a mask becomes a file. Both folders have the labels.
    """

    parts = ("target", "input")

    def __init__(self, damage: Damage) -> None:
        super().__init__(damage.config)
        self.damage = damage
        self.hints = () if damage.reads == "image" else (damage.reads,)

    def change(self, batch: Batch, seeds: torch.Tensor) -> Batch:
        """Return both pictures, cropped to a multiple of the damage's scale, and the maps of pixel positions."""
        image, scale = batch["image"], self.damage.scale
        height, width = (side - side % scale for side in image.shape[2:])
        if not height or not width:
            raise UnfitPicture(f"is {image.shape[3]} x {image.shape[2]}, too small to be made {scale} times smaller: "
                               "leave it out")
        clean = image[:, :, :height, :width].contiguous()
        given = clean
        if self.damage.reads != "image":
            read = batch.get(self.damage.reads)
            given = self.damage.of_pictures(clean) if read is None else read[:, :, :height, :width].contiguous()
        damaged, parameters = self.damage.damage(given, seeds)
        kept = {f"input/{key}": value for key, value in parameters.items()
                if value.ndim == 1 or key in self.damage.kept}
        factors = damaged.shape[3] / width, damaged.shape[2] / height
        return {"target/image": clean, f"target/{AFFINE}": _scaling(1.0, 1.0, len(image)),
                "input/image": damaged, f"input/{AFFINE}": _scaling(*factors, len(image)), **kept}


def _scaling(wide: float, tall: float, count: int) -> torch.Tensor:
    """(B, 2, 3): each axis by its own factor, about the picture's corner; pixel centres at integers."""
    matrix = torch.tensor([[wide, 0.0, (wide - 1) / 2], [0.0, tall, (tall - 1) / 2]])
    return matrix.expand(count, 2, 3)
