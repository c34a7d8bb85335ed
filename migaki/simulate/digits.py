"""Handwritten digits from simulated pen strokes, white on black, in the style of MNIST or optdigits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

import numpy as np
import torch

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.simulator import Simulator
from migaki.simulate.digit_pen import Style, draw_digits
from migaki.simulate.digit_strokes import skeletons

Interval = tuple[float, float]


class DigitSimulator(Simulator):
    """Draws digits like handwriting: a skeleton of strokes, bent by the writer, inked by a pen, read by a scanner.

    Each class has four to seven hands (`digit_strokes.HANDS`): ones with and without upstroke and base, open and
    closed fours, barred sevens, looped twos, slashed zeros. Classes are equally frequent.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Intervals are uniform; None takes the value of the chosen `look`, `GREY` or `BITMAP`."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "size look"}

        size: int = 28  # px, height and width of the image
        # grey: an anti-aliased scan, centred by mass with a margin, like MNIST. bitmap: the digit fills the height, is
        # scanned to one bit and counted in cells of 4x4, values n/16, like optdigits. auto: bitmap below 16 px.
        look: Literal["auto", "grey", "bitmap"] = "auto"
        aspect: Interval | None = None  # width over height of the digit's box
        slant: Interval | None = None  # rad, positive leans right
        rotation: Interval | None = None  # rad, positive turns clockwise
        jitter: Interval | None = None  # standard deviation of each control point, digit heights
        balance: Interval | None = None  # log of the exponent of the height: positive enlarges the lower part
        taper: Interval = (-0.25, 0.25)  # relative widening from top to bottom
        warp: Interval | None = None  # amplitude of a smooth distortion, digit heights
        pen: Interval | None = None  # width of the stroke, digit heights
        pressure: Interval = (0.0, 0.3)  # relative increase of the stroke's width along its length
        extent: Interval | None = None  # size of the digit, relative to the image's side
        shift: Interval | None = None  # offset from the centre, relative to the image's side
        blur: Interval = (0.2, 0.6)  # px, standard deviation; grey only
        noise: Interval | None = None  # standard deviation; grey: of pixels, bitmap: of ink before the threshold
        intensity: Interval = (0.8, 1.5)  # brightness of the ink, cut off at 1; grey only

        def __post_init__(self) -> None:
            if not 8 <= self.size <= 1024:
                raise UserError(f"digits: size is {self.size}, it must lie between 8 and 1024 px")
            for field in fields(self):
                value = getattr(self, field.name)
                if isinstance(value, tuple) and not (len(value) == 2 and value[0] <= value[1]):
                    raise UserError(f"digits: {field.name} is {value}, it must be a lower and an upper end")

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or self.Config()
        self._bitmap = self.config.look == "bitmap" or (self.config.look == "auto" and self.config.size < 16)
        preset = BITMAP if self._bitmap else GREY
        chosen = {name: getattr(self.config, name) for name in Style._fields}
        self._style = Style(**{name: preset[name] if value is None else value for name, value in chosen.items()})
        self._skeletons = skeletons()

    def render(self, seed: int, indices: Sequence[int]) -> Batch:
        """Returns `image` (B, 1, size, size) and `label` (B,) int64; image i depends only on (config, seed, i).

        Indices are non-negative. Runs on one core and releases the GIL.
        """
        places = np.array(indices, dtype=np.uint64)
        size = self.config.size
        images = np.empty((len(places), size, size), dtype=np.float32)
        labels = np.empty(len(places), dtype=np.int64)
        # optdigits counts 32x32 bits in 4x4 cells; two subpixels make a smooth edge, and large images need none.
        cell = 4 if self._bitmap else 2 if size < 64 else 1
        style = Style(*((float(low), float(high)) for low, high in self._style))
        draw_digits(self._skeletons, style, np.uint64(seed % 2**64), places, self._bitmap, cell, images, labels)
        return {"image": torch.from_numpy(images)[:, None], "label": torch.from_numpy(labels)}


# Set by visual comparison of unlabelled sheets of MNIST with simulated ones.
GREY: dict[str, Interval] = {
    "aspect": (0.5, 0.9), "slant": (-0.15, 0.5), "rotation": (-0.12, 0.12), "jitter": (0.01, 0.05),
    "balance": (-0.25, 0.25), "warp": (0.0, 0.05), "pen": (0.06, 0.2), "extent": (0.66, 0.76), "shift": (-0.03, 0.03),
    "noise": (0.0, 0.02),
}
# Set by eye, then by a random search that halved the kernel distance (metrics.distances.mmd_squared of the pixels)
# to optdigits without labels, then widened: a narrow optimum suits the distance, not the training.
BITMAP: dict[str, Interval] = {
    "aspect": (0.42, 0.72), "slant": (-0.18, 0.25), "rotation": (-0.15, 0.0), "jitter": (0.02, 0.05),
    "balance": (-0.25, 0.05), "warp": (0.02, 0.07), "pen": (0.11, 0.205), "extent": (1.02, 1.08),
    "shift": (-0.015, 0.02), "noise": (0.03, 0.08),
}
