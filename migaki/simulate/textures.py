"""Pictures of textures, each filled by one of five kinds: material for what changes and recognises materials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.seeds import fold
from migaki.core.simulator import Simulator
from migaki.simulate.scene_grounds import to_planes
from migaki.simulate.texture_painter import KINDS, paint_texture


class Textures(Simulator):
    """Draws textures in random colours, widths and directions.

    Returns, first axis B: `image` (3, S, S) in [0, 1], `label` the kind.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """What is drawn."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "size kinds"}

        size: int = 96  # px, height and width
        kinds: tuple[str, ...] = ()  # chequered, cracked, dotted, grained, striped; none = all

        def __post_init__(self) -> None:
            if not 16 <= self.size <= 1024:
                raise UserError(f"textures: size is {self.size}, it must lie between 16 and 1024 px")
            strange = [kind for kind in self.kinds if kind not in KINDS]
            if strange or len(set(self.kinds)) < len(self.kinds):
                raise UserError(f"textures: --kinds {' '.join(self.kinds)}: give each of {', '.join(KINDS)} at most "
                                "once")

    config: Config

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or self.Config()
        self._kinds = self.config.kinds or tuple(KINDS)

    @property
    def names(self) -> dict[str, Any]:
        """The names of the labels."""
        return {"classes": list(self._kinds)}

    def render(self, seed: int, indices: Sequence[int]) -> Batch:
        """Draw the pictures; picture i depends on (config, seed, i) alone, and its kind on i."""
        pictures, labels = [], []
        for index in indices:
            label = index % len(self._kinds)
            draw = np.random.default_rng(fold(seed, index))
            pictures.append(to_planes(paint_texture(self._kinds[label], draw, self.config.size)))
            labels.append(label)
        return {"image": torch.from_numpy(np.stack(pictures)), "label": torch.tensor(labels)}
