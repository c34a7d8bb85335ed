"""A damage met by a folder: pairs of damaged and clean pictures, with what was done to them; labels are kept."""

from __future__ import annotations

import torch

from migaki.core.batch import Batch
from migaki.core.change import AFFINE, Change
from migaki.core.damage import Damage
from migaki.core.errors import UnfitPicture


class DamagedPairs(Change):
    """Makes `input/` (damaged) and `target/` (clean) of each picture, under one name, so that every reader pairs them.

    Scalars of the damage become columns of `input/`, a mask a file. Labels stand in both.
    """

    parts = ("target", "input")

    def __init__(self, damage: Damage) -> None:
        super().__init__(damage.config)
        self.damage = damage

    def change(self, batch: Batch, seeds: torch.Tensor) -> Batch:
        """Both pictures, cut to a multiple of the damage's scale, and where pixels went."""
        image, scale = batch["image"], self.damage.scale
        height, width = (side - side % scale for side in image.shape[2:])
        if not height or not width:
            raise UnfitPicture(f"is {image.shape[3]} x {image.shape[2]}, too small to be made {scale} times smaller: "
                               "leave it out")
        clean = image[:, :, :height, :width].contiguous()
        damaged, parameters = self.damage.damage(clean, seeds)
        kept = {f"input/{key}": value for key, value in parameters.items() if value.ndim == 1 or key == "mask"}
        factors = damaged.shape[3] / width, damaged.shape[2] / height
        return {"target/image": clean, f"target/{AFFINE}": _scaling(1.0, 1.0, len(image)),
                "input/image": damaged, f"input/{AFFINE}": _scaling(*factors, len(image)), **kept}


def _scaling(wide: float, tall: float, count: int) -> torch.Tensor:
    """(B, 2, 3): each axis by its own factor, about the picture's corner; pixel centres at integers."""
    matrix = torch.tensor([[wide, 0.0, (wide - 1) / 2], [0.0, tall, (tall - 1) / 2]])
    return matrix.expand(count, 2, 3)
