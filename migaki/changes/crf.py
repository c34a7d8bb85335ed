"""Makes soft masks follow the edges of their pictures: a fully connected CRF, without training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from migaki.core.batch import Batch
from migaki.core.change import Change
from migaki.core.errors import UnfitPicture, UserError
from migaki.ops.dense_crf import MOST_EXACT, Potentials, mean_field

_LEAST = 1e-4  # probability of a class that a soft mask rules out


class Crf(Change):
    """Refines the soft masks of a set (`soft_masks_file_name`, made by `migaki apply weak_maps`).

    Writes `soft_masks` after the CRF and the `mask` of the likeliest class. After Kraehenbuehl and Koltun, NIPS 2011
    (`ops.dense_crf`). Widths in px are for pictures of some hundred px.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The kernels."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "place colour weight near near_weight rounds"}

        place: float = 50.0  # px, reach among like colours
        colour: float = 0.05  # distance of colours that count as alike, of [0, 1]
        weight: float = 10.0  # of like colours
        near: float = 3.0  # px, reach whatever the colours
        near_weight: float = 3.0  # of near places whatever the colours
        rounds: int = 10  # of mean field
        exact: bool = False  # the sum over all pairs of pixels, for pictures of up to 4096 px; else a lattice

        def __post_init__(self) -> None:
            # Below that no two pixels are near or alike, and the lattice has no numbers for its corners.
            if min(self.place, self.near) < 0.1 or self.colour < 0.001:
                raise UserError("apply crf: --place and --near are at least 0.1 px, --colour at least 0.001")
            if min(self.weight, self.near_weight) < 0 or self.rounds < 1:
                raise UserError("apply crf: --weight and --near-weight must not be negative, --rounds at least 1")

    config: Config
    inputs = ("image", "soft_masks")
    without = ", or make them with `migaki apply weak_maps`"

    def __init__(self, config: Config | None = None) -> None:
        super().__init__(config)
        own = self.config
        self._potentials = Potentials(
            spatial_sigma=own.near, spatial_weight=own.near_weight, bilateral_sigma=own.place,
            colour_sigma=own.colour, bilateral_weight=own.weight, rounds=own.rounds)

    def change(self, batch: Batch, seeds: Tensor) -> Batch:
        """(B, K, H, W) soft masks to the same shape, and `mask` (B, H, W)."""
        soft, images = batch["soft_masks"], batch["image"]
        if soft.shape[2:] != images.shape[2:]:
            raise UnfitPicture(f"has {images.shape[3]} x {images.shape[2]} px, and its soft masks {soft.shape[3]} x "
                               f"{soft.shape[2]}: make them anew with `migaki apply weak_maps`")
        if soft.shape[1] < 2:
            raise UnfitPicture("has soft masks of one channel: they need one for the background and one for each class")
        if self.config.exact and images.shape[2] * images.shape[3] > MOST_EXACT:
            raise UnfitPicture(f"has more than {MOST_EXACT} pixels, too many for the exact sum: leave out --exact")
        scores = soft.clamp_min(_LEAST).log()
        # One picture at a time: sums round differently in batches of another size.
        found = torch.cat([mean_field(one[None], image[None], self._potentials, exact=self.config.exact)
                           for one, image in zip(scores, images, strict=True)])
        return {"soft_masks": found, "mask": found.argmax(1).to(torch.uint8)}
