"""Pictures in the looks of photographs: each takes the colour statistics of one drawn for it; no pixel moves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from migaki.core.batch import Batch, Key
from migaki.core.change import Change
from migaki.core.errors import UnfitPicture, UserError
from migaki.core.files import show
from migaki.core.seeds import fold
from migaki.data.files import framing
from migaki.data.files.image_file import read_header, read_image
from migaki.data.folder import ImageFolder
from migaki.ops import appearance
from migaki.ops.colour import lab_to_rgb, rgb_to_lab

_QUANTILES = 256
_BLANK = 2 / 255  # deviation: a photograph of one tone would wipe out whatever takes its contrast
_DRAWS = 64  # tries before a folder is taken to hold blank photographs alone


class Match(Change):
    """Gives each picture the mean and deviation, the histogram or the low frequencies of a random photograph.

    It trains nothing, needs no label and cannot move one. The photograph is drawn from the row's seed, so `--variants`
    gives each picture several looks. After Reinhard et al., "Color Transfer between Images", 2001 (`mean-deviation`),
    and Yang and Soatto, "FDA: Fourier Domain Adaptation", CVPR 2020 (`spectrum`).
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Where the looks come from, and what is taken of them."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "to how strength space band"}

        to: Path  # the photographs, labelled or not, of any size
        how: Literal["mean-deviation", "histogram", "spectrum"] = "mean-deviation"  # what is taken, channel by channel
        strength: float = 1.0  # from 0, the picture as it was, to 1
        space: Literal["rgb", "lab"] = "rgb"  # in which colours count; grey pictures are matched as they are
        band: float = 0.05  # spectrum: the highest frequency that is replaced, in periods a px

        def __post_init__(self) -> None:
            if not 0 <= self.strength <= 1:
                raise UserError(f"--strength {self.strength}: give 0 to 1")
            if not 0 <= self.band < 0.5:
                raise UserError(f"--band {self.band}: give 0 to less than 0.5 periods a px")

    config: Config
    keys = (Key(name="look", shape=("L",), unit="means, then deviations of the channels, averaged over time"),)

    def open(self, folder: Path) -> None:
        """Open the photographs; they are read as they are drawn, and their statistics kept."""
        self._photos = ImageFolder(self.config.to)
        self._known: dict[tuple[int, ...], tuple[Tensor, ...] | None] = {}

    def reads(self) -> dict[str, Path]:
        """The photographs decide the result."""
        return {"to": self.config.to}

    def change(self, batch: Batch, seeds: Tensor) -> Batch:
        """(B, C, H, W) in [0, 1] to the same shape and range."""
        images = batch["image"]
        if images.shape[1] not in (1, 3):
            raise UnfitPicture(f"has {images.shape[1]} channels, and match takes grey and RGB pictures: convert it "
                               "with `migaki import photos --channels 3`")
        is_lab = self.config.space == "lab" and images.shape[1] == 3
        size = (images.shape[1], images.shape[2], images.shape[3])
        drawn = [self._draw(int(seed), size, is_lab) for seed in seeds]
        given = rgb_to_lab(images) if is_lab else images
        # One picture at a time: a Fourier transform rounds differently in batches of another size.
        own = list(batch["look"]) if "look" in batch else [None] * len(given)
        matched = torch.cat([self._matched(one[None], looks, before)
                             for one, looks, before in zip(given, drawn, own, strict=True)])
        matched = (lab_to_rgb(matched) if is_lab else matched).clamp(0, 1)
        return {"image": images + self.config.strength * (matched - images)}

    def measured(self, batch: Batch) -> Batch:
        """Return `look` (B, 2C), in the colours that count, where means and deviations are matched."""
        images = batch["image"]
        if self.config.how != "mean-deviation" or images.shape[1] not in (1, 3):
            return {}
        is_lab = self.config.space == "lab" and images.shape[1] == 3
        return {"look": torch.cat(appearance.mean_deviation(rgb_to_lab(images) if is_lab else images), 1)}

    def _matched(self, image: Tensor, looks: tuple[Tensor, ...], own: Tensor | None) -> Tensor:
        """One picture (1, C, H, W) with the looks of `_measure`, not yet clipped; `own` is its `look` in a film."""
        if self.config.how == "histogram":
            return appearance.match_quantiles(image, looks[0])
        if self.config.how == "spectrum":
            return appearance.match_low_amplitudes(image, looks[0])
        before = None if own is None else (own[None, : len(own) // 2], own[None, len(own) // 2 :])
        return appearance.match_mean_deviation(image, looks[0], looks[1], before)

    def _draw(self, seed: int, size: tuple[int, int, int], is_lab: bool) -> tuple[Tensor, ...]:
        """The statistics (1, C, ...) of the row's photograph. One of a single tone is passed over for the next draw."""
        for turn in range(_DRAWS):
            looks = self._looks(fold(seed, turn) % len(self._photos), size, is_lab)
            if looks is not None:
                return looks
        raise UserError(f"{show(self.config.to)}: {_DRAWS} photographs that were drawn are all of one tone: give "
                        "photographs with something in them")

    def _looks(self, index: int, size: tuple[int, int, int], is_lab: bool) -> tuple[Tensor, ...] | None:
        """The statistics of a photograph, each (1, C, ...), for pictures of `size` (C, H, W); None if it is blank."""
        key = (index, *(size if self.config.how == "spectrum" else size[:1]))
        if key not in self._known:
            self._known[key] = self._measure(index, size, is_lab)  # threads may both do it, with one result
        return self._known[key]

    def _measure(self, index: int, size: tuple[int, int, int], is_lab: bool) -> tuple[Tensor, ...] | None:
        path = self._photos.file(index)
        array = framing.check_values(read_image(path), None, path)
        has_alpha = path.suffix.lower() != ".npy" and array.shape[0] in (2, 4) and read_header(path).has_alpha
        array = framing.to_unit(framing.convert_channels(array, size[0], has_alpha=has_alpha, path=path))
        if self.config.how == "spectrum":
            array = framing.resize(array, size[1:])
        photo = torch.from_numpy(np.ascontiguousarray(array))[None]
        if appearance.mean_deviation(photo)[1].max() < _BLANK:
            return None
        photo = rgb_to_lab(photo) if is_lab else photo
        if self.config.how == "histogram":
            return (appearance.quantiles(photo, _QUANTILES),)
        if self.config.how == "spectrum":
            return (appearance.low_amplitudes(photo, int(self.config.band * min(size[1:]))),)
        return appearance.mean_deviation(photo)
