"""The disparity of rectified stereo pairs, and with the rig's size their depth; nothing is trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from migaki.changes.parts.same_scene import correlation
from migaki.core.batch import Batch, Key
from migaki.core.change import ROW, Change
from migaki.core.errors import UnfitPicture, UserError
from migaki.data.folder import ImageFolder
from migaki.data.second_picture import SecondPictures
from migaki.ops.geometry.colours import paint_nearness
from migaki.ops.geometry.stereo import StereoSettings, disparity

Array = np.ndarray[Any, Any]

_FLAT = 1 / 255  # standard deviation of a picture of one tone
_LEAST_SHARE = 0.1  # of the pixels on which two views of one thing agree
_BY_CHANCE = 3.0  # disparities that agree with a given one to 1 px, of those that are sought
_SURE_SHARE = 0.6  # above it grey values need not be alike: pictures of different things do not come near
_LEAST_ALIKE = 0.85  # correlation of what is matched: 0.97 and more of pairs, 0.8 of blurred noise (docs/geometry.md)


def least_agreed(num_disparities: int) -> float:
    """The share of pixels that both views of one thing confirm at least."""
    return max(_LEAST_SHARE, 1.5 * _BY_CHANCE / num_disparities)


class Stereo(Change):
    """Matches each left view with its right view: `disparity` in px (float TIFF), and a picture of it.

    A pixel x of the left view shows what the right view shows at x - disparity; rows must be aligned. Census and
    colour, semi-global matching along eight directions, left-right check, weighted median (docs/geometry.md). With
    --baseline the depth along the optical axis is written too. `agreed` is the share of pixels that both views confirm.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The right views, and what is sought."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "right disparities hidden baseline focal",
                                            "rest": "small_step large_step radius"}

        right: Path | None = None  # the right view, or a folder of them by name; none = the set's `right_file_name`
        disparities: int = 64  # disparities from 0 to this many px are sought
        hidden: Literal["filled", "zero"] = "filled"  # what only one view shows: from behind, or 0 = unknown
        baseline: float = 0.0  # distance of the cameras, in the unit that depth is to have; 0 = no depth
        focal: float = 0.0  # px, of the pictures; 0 = that of the set's `intrinsics`
        small_step: int = 12  # cost of a disparity that changes by 1 px from pixel to pixel (P1)
        large_step: int = 96  # cost of a jump where the picture has no edge (P2)
        radius: int = 9  # px, reach of the weighted median

        def __post_init__(self) -> None:
            if not 2 <= self.disparities <= 512:
                raise UserError(f"apply stereo: --disparities {self.disparities}: give 2 to 512")
            if not (0 <= self.small_step < self.large_step <= 2000 and 1 <= self.radius <= 64):
                raise UserError("apply stereo: --small-step is less than --large-step, which is 2000 at most, and "
                                "--radius 1 to 64")
            if min(self.baseline, self.focal) < 0 or not np.isfinite([self.baseline, self.focal]).all():
                raise UserError("apply stereo: --baseline and --focal must not be negative")

        def settings(self) -> StereoSettings:
            """The settings of the method."""
            return StereoSettings(num_disparities=self.disparities, small_step=self.small_step,
                                  large_step=self.large_step, radius=self.radius)

    config: Config
    hints = ("intrinsics",)
    keys = (
        Key(name="right", shape=("C", "H", "W"), unit="float32 in [0, 1], the right view of a rectified pair",
            kind="picture"),
        Key(name="disparity", shape=("H", "W"), unit="px, from x in the image to x - disparity in `right`; 0 = unknown",
            kind="plane"),
        Key(name="disparity_picture", shape=("3", "H", "W"), unit="`disparity` in colours, near is red",
            kind="picture"),
        Key(name="agreed", shape=(), unit="0 to 1, share of the pixels that both views confirm"),
    )
    by_row = True
    most_at_once = 1

    def open(self, folder: Path) -> None:
        """Find the right views."""
        lefts = ImageFolder(folder)
        made = lefts.made.get("config")
        # `migaki simulate scene --kind stereo` writes the right view as the frame after the left one.
        is_rig = isinstance(made, dict) and made.get("kind") == "stereo"
        self._right = SecondPictures(lefts, "right", self.config.right, frames=is_rig)
        self._is_rig = is_rig and self.config.right is None

    def reads(self) -> dict[str, Path]:
        """The right views, if they are not the set's own."""
        return {} if self.config.right is None else {"right": self.config.right}

    def change(self, batch: Batch, seeds: Tensor) -> Batch:
        """(B, C, H, W) to `disparity` (B, H, W), `disparity_picture` (B, 3, H, W), `agreed` (B,), perhaps `depth`."""
        made = []
        for number, (image, row) in enumerate(zip(batch["image"], batch[ROW], strict=True)):
            own = batch["intrinsics"][number] if "intrinsics" in batch else None
            made.append(self._matched(image.numpy(), int(row), own))
        return {key: torch.stack([one[key] for one in made]) for key in made[0]}

    def _matched(self, left: Array, row: int, intrinsics: Tensor | None) -> Batch:
        right = self._right.of(row, left)
        if right is None and self._is_rig:
            return {}
        if right is None:
            raise UnfitPicture("has no right view: name one in its column right_file_name")
        if min(left.mean(0).std(), right.mean(0).std()) < _FLAT:
            raise UnfitPicture("is of one tone, or its right view is: nothing can be matched")
        found, agreed = disparity(left.transpose(1, 2, 0), right.transpose(1, 2, 0), self.config.settings())
        share = float(agreed.mean())
        if share < least_agreed(self.config.disparities) or (
                share < _SURE_SHARE and correlation(left, right, np.stack([-found, 0 * found]), agreed) < _LEAST_ALIKE):
            raise UnfitPicture(f"agrees with its right view on {share:.0%} of the pixels: they show different things, "
                               "or the views are exchanged, not rectified, or farther apart than --disparities")
        known = agreed if self.config.hidden == "zero" else np.ones_like(agreed)
        found = np.where(known, found, 0).astype(np.float32)
        made = {"disparity": torch.from_numpy(found), "agreed": torch.tensor(share),
                "disparity_picture": torch.from_numpy(paint_nearness(found, known))}
        return made | ({"depth": self._depth(found, intrinsics)} if self.config.baseline > 0 else {})

    def _depth(self, found: Array, intrinsics: Tensor | None) -> Tensor:
        """The depth (H, W), 0 where there is no disparity: focal length times baseline by disparity."""
        focal = self.config.focal or (0.0 if intrinsics is None else float(intrinsics[0]))
        if focal <= 0:
            raise UnfitPicture("has no focal length: give --focal in px")
        depth = np.where(found > 0, focal * self.config.baseline / np.maximum(found, 1e-6), 0)
        return torch.from_numpy(depth.astype(np.float32))
