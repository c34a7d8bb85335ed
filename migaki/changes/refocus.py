"""Focuses after the fact: what a wide lens would have shown, from linear light and depth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from migaki.changes.parts.developing import LIGHT_KEYS, DevelopOptions, developed_light, light_of, linear_light
from migaki.core.batch import Batch
from migaki.core.change import Change
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.folder import ImageFolder
from migaki.ops.defocus import refocused

_DEPTHS = ("rendered_depth", "depth")


class Refocus(Change):
    """Gives pictures the depth of field of a lens: sharp at one depth, discs before and behind it.

    The set needs linear light, depth and `intrinsics`, as `migaki apply` of a `raw_field` writes them. It is cut into
    layers by depth and blurred in linear light (ops/defocus.py), then developed as `apply develop` does.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config(DevelopOptions):
        """The lens, and how its light is developed."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "focus aperture light stops white balance curve"}

        focus: float = 0.0  # scene units, depth that is sharp; 0 = that in the middle of each picture
        aperture: float = 0.1  # scene units, diameter of the lens
        layers: int = 32  # at most, by depth

        def __post_init__(self) -> None:
            DevelopOptions.__post_init__(self)
            if not (0 <= self.focus <= 1e6 and 0 < self.aperture <= 1e3 and 2 <= self.layers <= 256):
                raise UserError(f"--focus {self.focus:g} --aperture {self.aperture:g} --layers {self.layers}: the "
                                "focus is not below 0, the aperture above 0, layers are 2 to 256")

    config: Config
    inputs = ("image", "intrinsics")
    hints = (*LIGHT_KEYS, *_DEPTHS)

    def open(self, folder: Path) -> None:
        """Find the light and the depth of the set."""
        found = ImageFolder(folder)
        self._keys = light_of(found, self.config)
        self._depth = next((key for key in _DEPTHS if key in found.files), "")
        if not self._depth:
            raise UserError(f"{show(folder)}: has no rendered_depth and no depth: apply a run of `migaki train "
                            "raw_field` first")

    def change(self, batch: Batch, seeds: Tensor) -> Batch:
        """Returns the pictures of light (B, 3, H, W) behind the lens."""
        config, seen = self.config, []
        read = {key: batch[key] for key in self._keys}
        for number, light in enumerate(linear_light(read, self._keys[0])):
            depth = batch[self._depth][number].float()
            focus = config.focus or _middle(depth)
            seen.append(refocused(light.clamp_min(0), depth, float(batch["intrinsics"][number, 0]), config.aperture,
                                  focus, config.layers))
        return {"image": developed_light(torch.stack(seen), read, config)}


def _middle(depth: Tensor) -> float:
    """The median depth of what is there in the middle ninth of a picture, else in all of it; 1 where nothing is."""
    height, width = depth.shape
    for part in (depth[height // 3 : -(height // 3) or None, width // 3 : -(width // 3) or None], depth):
        if (part > 0).any():
            return float(part[part > 0].median())
    return 1.0
