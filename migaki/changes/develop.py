"""Develops linear light into pictures: exposure, white balance, tone curve."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from migaki.changes.parts.developing import LIGHT_KEYS, DevelopOptions, developed_light, light_of, linear_light
from migaki.core.batch import Batch
from migaki.core.change import Change
from migaki.data.folder import ImageFolder


class Develop(Change):
    """Makes pictures of linear light: of what `raw_field` rendered, of exact `radiance`, or of a raw.

    Colours are balanced and mixed as the rows' `white_balance` and `colour_matrix` say, brightened by `--stops`, and
    given sRGB's curve. Nothing is lost: the light stays beside the pictures.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config(DevelopOptions):
        """Exposure, white balance and curve."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "light stops white balance curve"}

    config: Config
    hints = LIGHT_KEYS

    def open(self, folder: Path) -> None:
        """Find the light of the set."""
        self._keys = light_of(ImageFolder(folder), self.config)

    def change(self, batch: Batch, seeds: Tensor) -> Batch:
        """Returns the pictures of light (B, 3, H, W)."""
        read = {key: batch[key] for key in self._keys}
        return {"image": developed_light(linear_light(read, self._keys[0]), read, self.config)}
