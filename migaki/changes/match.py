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
from migaki.core.seeds import fold, generator
from migaki.data.files import framing
from migaki.data.files.image_file import read_header, read_image
from migaki.data.files.video import VIDEO_EXTENSIONS
from migaki.data.folder import ImageFolder
from migaki.data.partners import Partners, Partnership, spaced
from migaki.ops import appearance, sharpness, sliced
from migaki.ops.clusters import coarse_layout
from migaki.ops.colour import lab_to_rgb, rgb_to_lab

_QUANTILES = 256
_BLANK = 2 / 255  # deviation: a photograph of one tone would wipe out whatever takes its contrast
_DRAWS = 64  # tries before a folder is taken to hold blank photographs alone
_GRAIN = 1  # place of the grain's random numbers below the seed of a row; the draws of photographs have place 0 to 63
_DEPTH_SIMULATORS = ("hands", "stand_in_depth")  # whose pictures are distances

Looks = dict[str, Tensor]
"""What is taken of a photograph: colour statistics by name, and `rise` and `grain` where these are matched."""


class Match(Change):
    """Gives each picture the colours, and if asked for the sharpness and the grain, of a photograph.

    It trains nothing, needs no label and cannot move one. The photograph is drawn from the row's seed, so `--variants`
    gives each picture several looks. After Reinhard et al., "Color Transfer between Images", 2001 (`mean-deviation`),
    Yang and Soatto, "FDA: Fourier Domain Adaptation", CVPR 2020 (`spectrum`), and Pitie et al., CVIU 2007 (`sliced`).
    As in a camera, blur comes first, then colours, then grain. Depth pictures take grain alone.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Where the looks come from, and what is taken of them."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "to how blur grain partners strength space band"}

        to: Path  # the photographs, labelled or not, of any size
        how: Literal["mean-deviation", "histogram", "spectrum", "sliced", "none"] = "mean-deviation"  # what is taken
        strength: float = 1.0  # of the colours, from 0, the picture as it was, to 1
        space: Literal["rgb", "lab"] = "rgb"  # in which colours count; grey pictures are matched as they are
        band: float = 0.05  # spectrum: the highest frequency that is replaced, in periods a px (beta of FDA)
        patch: int = 1  # sliced: px, side of the patches whose distribution is taken; 1 = colours alone
        rotations: int = 8  # sliced: random bases along which distributions are matched, one after the other
        blur: bool = False  # blur until edges are as wide as the photograph's; what is softer already stays
        grain: bool = False  # add or remove grain until there is as much as in the photograph's flat parts
        partners: Partnership = "random"  # photographs to draw from: all, or those alike in coarse layout
        clusters: int = 16  # partners cluster: the number of clusters
        depth: bool = False  # the pictures are distances: only what leaves them true is allowed

        def __post_init__(self) -> None:
            if not 0 <= self.strength <= 1:
                raise UserError(f"--strength {self.strength}: give 0 to 1")
            if not 0 <= self.band < 0.5:
                raise UserError(f"--band {self.band}: give 0 to less than 0.5 periods a px")
            if self.patch not in (1, 3, 5):
                raise UserError(f"--patch {self.patch}: give 1, 3 or 5 px")
            if self.rotations < 1 or self.clusters < 1:
                raise UserError(f"--rotations {self.rotations} --clusters {self.clusters}: both are at least 1")
            if self.how == "none" and not (self.blur or self.grain):
                raise UserError("--how none: nothing is left to match: add --blur or --grain")

    config: Config
    keys = (Key(name="look", shape=("L",), unit="means, then deviations of the channels, averaged over time"),)

    def open(self, folder: Path) -> None:
        """Open the photographs; they are read as they are drawn, and their statistics kept."""
        config = self.config
        is_film = folder.suffix.lower() in VIDEO_EXTENSIONS and folder.is_file()  # a file says no simulator
        if config.depth or (not is_film and ImageFolder(folder).made.get("simulator") in _DEPTH_SIMULATORS):
            self._refuse_false_depth(folder)
        self._photos = ImageFolder(config.to)
        self._known: dict[tuple[int, ...], Looks | None] = {}
        self._partners: dict[int, Partners] = {}

    def _refuse_false_depth(self, folder: Path) -> None:
        """Refuse what changes distances: colours have none, and blur mixes what is near with what is far."""
        options = ([f"--how {self.config.how}"] if self.config.how != "none" else []) + ["--blur"] * self.config.blur
        if options:
            raise UserError(f"{show(folder)}: its pictures are depth, and {' and '.join(options)} would make the "
                            "distances false: give `--how none --grain`, which adds a sensor's grain alone")

    def reads(self) -> dict[str, Path]:
        """The photographs decide the result."""
        return {"to": self.config.to}

    def change(self, batch: Batch, seeds: Tensor) -> Batch:
        """(B, C, H, W) in [0, 1] to the same shape and range."""
        images, config = batch["image"], self.config
        if images.shape[1] not in (1, 3):
            raise UnfitPicture(f"has {images.shape[1]} channels, and match takes grey and RGB pictures: convert it "
                               "with `migaki import photos --channels 3`")
        if (config.blur or config.grain) and min(images.shape[2:]) < sharpness.SMALLEST:
            raise UnfitPicture(f"has {images.shape[3]}x{images.shape[2]} px: sharpness and grain are measured from "
                               f"{sharpness.SMALLEST}x{sharpness.SMALLEST} px on: leave out --blur and --grain")
        is_lab = config.space == "lab" and images.shape[1] == 3
        # One picture at a time: a Fourier transform rounds differently in batches of another size.
        own = list(batch["look"]) if "look" in batch else [None] * len(images)
        made = [self._changed(one[None], int(seed), is_lab, before)
                for one, seed, before in zip(images, seeds, own, strict=True)]
        return {"image": torch.cat(made)}

    def measured(self, batch: Batch) -> Batch:
        """Return `look` (B, 2C), in the colours that count, where means and deviations are matched."""
        images = batch["image"]
        if self.config.how != "mean-deviation" or images.shape[1] not in (1, 3):
            return {}
        is_lab = self.config.space == "lab" and images.shape[1] == 3
        return {"look": torch.cat(appearance.mean_deviation(rgb_to_lab(images) if is_lab else images), 1)}

    def _changed(self, image: Tensor, seed: int, is_lab: bool, own: Tensor | None) -> Tensor:
        """One picture (1, C, H, W) in the looks of its photograph; `own` is its `look` in a film."""
        looks = self._draw(seed, image[0], is_lab)
        if self.config.blur:
            image = sharpness.match_edge_rise(image, looks["rise"])
        if self.config.how != "none":
            given = rgb_to_lab(image) if is_lab else image
            matched = self._matched(given, looks, own)
            matched = (lab_to_rgb(matched) if is_lab else matched).clamp(0, 1)
            image = image + self.config.strength * (matched - image)
        if self.config.grain:
            noise = torch.randn(image.shape, generator=generator(seed, _DRAWS, _GRAIN))
            grainy = sharpness.match_grain(image, looks["grain"], noise).clamp(0, 1)
            # Black, white and what a depth camera did not see are no readings that vary.
            image = torch.where((image > 0) & (image < 1), grainy, image)
        return image

    def _matched(self, image: Tensor, looks: Looks, own: Tensor | None) -> Tensor:
        """One picture (1, C, H, W) with the colours of `_colours`, not yet clipped; `own` is its `look` in a film."""
        how = self.config.how
        if how == "histogram":
            return appearance.match_quantiles(image, looks["quantiles"])
        if how == "spectrum":
            return appearance.match_low_amplitudes(image, looks["amplitudes"])
        if how == "sliced":
            return sliced.match_sliced(image, looks["slices"], self._bases(image.shape[1]), self.config.patch)
        before = None if own is None else (own[None, : len(own) // 2], own[None, len(own) // 2 :])
        return appearance.match_mean_deviation(image, looks["mean"], looks["deviation"], before)

    def _bases(self, channels: int) -> Tensor:
        return sliced.random_bases(channels, self.config.patch, self.config.rotations)

    def _draw(self, seed: int, image: Tensor, is_lab: bool) -> Looks:
        """The looks of the row's photograph. One of a single tone is passed over for the next draw."""
        size = (image.shape[0], image.shape[1], image.shape[2])
        among = None if self.config.partners == "random" else self._partners_of(size[0]).of(image)
        for turn in range(_DRAWS):
            place = fold(seed, turn)
            index = place % len(self._photos) if among is None else among[place % len(among)]
            looks = self._looks(index, size, is_lab)
            if looks is not None:
                return looks
        raise UserError(f"{show(self.config.to)}: {_DRAWS} photographs that were drawn are all of one tone: give "
                        "photographs with something in them")

    def _partners_of(self, channels: int) -> Partners:
        """The clusters of the photographs, made when the first picture of so many channels is seen."""
        if channels not in self._partners:
            indices, layouts = [], []
            for index in spaced(len(self._photos)):
                photo = self._read(index, (channels, 0, 0), is_resized=False)
                if appearance.mean_deviation(photo)[1].max() >= _BLANK:
                    indices.append(index)
                    layouts.append(coarse_layout(photo))
            if not indices:
                raise UserError(f"{show(self.config.to)}: all photographs are of one tone: give photographs with "
                                "something in them")
            way = self.config.partners
            assert way != "random"
            self._partners[channels] = Partners(way, indices, torch.cat(layouts), self.config.clusters)
        return self._partners[channels]

    @property
    def _is_resized(self) -> bool:
        """Whether what is taken depends on the scale of a photograph."""
        config = self.config
        return config.how == "spectrum" or (config.how == "sliced" and config.patch > 1) or config.blur or config.grain

    def _looks(self, index: int, size: tuple[int, int, int], is_lab: bool) -> Looks | None:
        """The looks of a photograph, each (1, ...), for pictures of `size` (C, H, W); None if it is blank."""
        key = (index, *(size if self._is_resized else size[:1]))
        if key not in self._known:
            self._known[key] = self._measure(index, size, is_lab)  # threads may both do it, with one result
        return self._known[key]

    def _read(self, index: int, size: tuple[int, int, int], *, is_resized: bool) -> Tensor:
        """A photograph (1, C, H, W) of as many channels as `size`, scaled to it if asked for."""
        path = self._photos.file(index)
        array = framing.check_values(read_image(path), None, path)
        has_alpha = path.suffix.lower() != ".npy" and array.shape[0] in (2, 4) and read_header(path).has_alpha
        array = framing.to_unit(framing.convert_channels(array, size[0], has_alpha=has_alpha, path=path))
        if is_resized:
            array = framing.resize(array, size[1:])
        return torch.from_numpy(np.ascontiguousarray(array))[None]

    def _measure(self, index: int, size: tuple[int, int, int], is_lab: bool) -> Looks | None:
        config = self.config
        is_scaled = config.how == "spectrum" or (config.how == "sliced" and config.patch > 1)
        photo = self._read(index, size, is_resized=is_scaled)
        if appearance.mean_deviation(photo)[1].max() < _BLANK:
            return None
        looks = self._colours(rgb_to_lab(photo) if is_lab else photo, size)
        if config.blur or config.grain:
            fitted = photo if is_scaled else self._read(index, size, is_resized=True)
            looks |= {"rise": sharpness.edge_rise(fitted), "grain": sharpness.grain(fitted)}
        return looks

    def _colours(self, photo: Tensor, size: tuple[int, int, int]) -> Looks:
        """What `how` takes of a photograph (1, C, H, W) in the colours that count."""
        how = self.config.how
        if how == "histogram":
            return {"quantiles": appearance.quantiles(photo, _QUANTILES)}
        if how == "spectrum":
            return {"amplitudes": appearance.low_amplitudes(photo, int(self.config.band * min(size[1:])))}
        if how == "sliced":
            bases, side = self._bases(size[0]), self.config.patch
            return {"slices": sliced.sliced_quantiles(photo, bases, side, _QUANTILES)}
        mean, deviation = appearance.mean_deviation(photo)
        return {"mean": mean, "deviation": deviation}
