"""Traffic signs drawn by rule, in the clean colours of their standard: what a photograph adds is left to others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from migaki.core.batch import Batch, Key
from migaki.core.errors import UserError
from migaki.core.simulator import Simulator
from migaki.simulate.sign_painter import Stance, draw_signs
from migaki.simulate.sign_shapes import COLOURS, SIGNS, outlines

Interval = tuple[float, float]


class SignSimulator(Simulator):
    """Draws 23 Chinese traffic signs (`sign_shapes.SIGNS`): speed limits, prohibitions, orders, warnings.

    Returns, first axis B: `image` (3, S, S) in [0, 1]; `label`; `mask` (S, S) 0 ground, 1 sign; `boxes` (1, 4) with
    `classes` (1); `sign_corners` (4, 2) px, of the square round the sign, clockwise from the sign's own top left.
    Classes are equally frequent. Light is even and there is no camera: `migaki apply match` brings the colours of
    photographs.
    Raises UserError for a class that is not drawn.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Intervals are uniform."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "size classes background"}

        size: int = 64  # px, height and width of the image
        classes: tuple[str, ...] = ()  # the signs to draw; none = all 23
        background: Literal["plain", "varied"] = "varied"  # one colour; or also gradients, edges, leaves, posts, boards
        extent: Interval = (0.5, 0.95)  # width of a sign from the front, shares of the image's side
        shift: Interval = (-0.06, 0.06)  # offset from the centre, shares of the image's side
        aspect: Interval = (0.75, 1.15)  # width over height: signs seen from the side, pictures squeezed into a square
        tilt: Interval = (-0.12, 0.12)  # rad, positive turns clockwise
        perspective: Interval = (-0.12, 0.12)  # how much larger one edge is than the middle, as a share
        proportion: Interval = (0.85, 1.15)  # of the symbol, relative to the standard; width and height apart
        weight: Interval = (0.75, 1.35)  # of the lines of digits, relative to the standard
        tint: float = 0.05  # largest deviation of each printed colour, in each channel

        def __post_init__(self) -> None:
            if not 16 <= self.size <= 1024:
                raise UserError(f"signs: size is {self.size}, it must lie between 16 and 1024 px")
            strange = [name for name in self.classes if name not in SIGNS]
            if strange or len(set(self.classes)) != len(self.classes):
                raise UserError(f"signs: --classes {' '.join(self.classes)}: give each once, of {', '.join(SIGNS)}")
            for field in fields(self):
                value = getattr(self, field.name)
                if field.name != "classes" and isinstance(value, tuple) and not value[0] <= value[1]:
                    raise UserError(f"signs: {field.name} is {value}, it must be a lower and an upper end")
            if not 0 <= self.tint <= 1:
                raise UserError(f"signs: tint is {self.tint}, it must lie between 0 and 1")
            if self.extent[0] <= 0.05 or self.aspect[0] < 0.2 or max(map(abs, self.perspective)) > 0.4:
                raise UserError("signs: extent is above 0.05, aspect at least 0.2, perspective within -0.4 and 0.4")

    config: Config
    keys = (Key(name="sign_corners", shape=("4", "2"), unit="px, x y; clockwise from the top left", kind="points"),)

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or self.Config()
        self._names = self.config.classes or tuple(SIGNS)
        self._outlines = outlines(self._names)
        self._stance = Stance(*(_numbers(getattr(self.config, name)) for name in Stance._fields))

    @property
    def names(self) -> dict[str, Any]:
        """The names of the classes, and of the indices of the mask."""
        return {"classes": list(self._names), "mask_classes": ["ground", "sign"]}

    def render(self, seed: int, indices: Sequence[int]) -> Batch:
        """Draw the signs; image i depends on (config, seed, i) alone. Runs on one core and releases the GIL."""
        count, size = len(indices), self.config.size
        images, masks = np.empty((count, 3, size, size), np.float32), np.empty((count, size, size), np.uint8)
        labels, boxes = np.empty(count, np.int64), np.empty((count, 4), np.float32)
        corners = np.empty((count, 4, 2), np.float32)
        draw_signs(self._outlines, np.array(list(COLOURS.values())), self._stance, np.uint64(seed % 2**64),
                   np.array(indices, np.uint64), self.config.background == "plain", images, labels, masks, boxes,
                   corners)
        label = torch.from_numpy(labels)
        return {"image": torch.from_numpy(images), "label": label, "mask": torch.from_numpy(masks),
                "boxes": torch.from_numpy(boxes)[:, None], "classes": label[:, None].clone(),
                "sign_corners": torch.from_numpy(corners)}


def _numbers(value: Any) -> Any:
    return (float(value[0]), float(value[1])) if isinstance(value, tuple) else float(value)
