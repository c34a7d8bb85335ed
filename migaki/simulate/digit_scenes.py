"""Scenes of one to three handwritten digits of different classes over clutter or photographs, with exact masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.seeds import fold
from migaki.core.simulator import Simulator
from migaki.simulate.digit_pen import MAX_TRACE, Style, bend, compiled, frame, ink, press, uniform, write_by_hand
from migaki.simulate.digit_strokes import Skeletons, skeletons
from migaki.simulate.digits import GREY
from migaki.simulate.scene_grounds import Photographs, clutter, to_planes

Interval = tuple[float, float]

_FINE = 2  # pixels of the canvas on each side of a pixel of the scene
_FILL = 0.7  # share of the canvas that a digit takes; the rest is room for what leans out
_TRIES = 20  # places tried for a digit
_OVERLAP = 0.1  # share of a digit's ink that may cover others, or is covered


class DigitScenes(Simulator):
    """Draws digits like handwriting, each of a class and a colour of its own, over a ground.

    Returns, first axis B: `image` (3, S, S) in [0, 1]; `mask` (S, S) 0 background, 1 and up the classes; `labels` (3)
    the classes in the scene; `boxes` (3, 4) with `classes` (3). A digit's pixels are those that its ink covers by
    half or more. Digits hardly overlap; one without room is left out. Colours say nothing about classes.
    Raises UserError for grounds that are no photographs.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Intervals are uniform."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "size digits classes grounds"}

        size: int = 64  # px, height and width of the image
        digits: tuple[int, int] = (1, 3)  # of a scene, at least and at most
        classes: tuple[int, ...] = ()  # the digits that are drawn, at least as many as a scene has; none = all ten
        grounds: Path | None = None  # a folder of photographs; none: clutter made from nothing
        extent: Interval = (0.3, 0.48)  # height of a digit, shares of the image's side
        pen: Interval = (0.18, 0.26)  # width of the stroke, digit heights: thick, as if painted
        contrast: float = 0.35  # least distance of a digit's colour from the mean of the ground around, of sqrt(3)
        noise: float = 0.02  # standard deviation of the sensor's noise

        def __post_init__(self) -> None:
            if not 16 <= self.size <= 1024:
                raise UserError(f"digit_scenes: size is {self.size}, it must lie between 16 and 1024 px")
            if not 1 <= self.digits[0] <= self.digits[1] <= 3:
                raise UserError(f"digit_scenes: digits are {self.digits}, they must lie between 1 and 3")
            if self.classes and (len(set(self.classes)) != len(self.classes) or len(self.classes) < self.digits[1]
                                 or not set(self.classes) <= set(range(10))):
                raise UserError(f"digit_scenes: --classes {' '.join(map(str, self.classes))}: give each digit once, "
                                f"and at least as many as a scene may have ({self.digits[1]})")
            if not 0.1 <= self.extent[0] <= self.extent[1] <= 0.7 or not 0.01 <= self.pen[0] <= self.pen[1] <= 0.4:
                raise UserError("digit_scenes: extent lies within 0.1 and 0.7, pen within 0.01 and 0.4, each a lower "
                                "and an upper end")
            if not 0 <= self.contrast <= 0.4 or not 0 <= self.noise <= 0.5:
                raise UserError("digit_scenes: contrast lies between 0 and 0.4, noise between 0 and 0.5")

    config: Config

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or self.Config()
        self._skeletons = skeletons()
        self._digits = self.config.classes or tuple(range(10))
        ranges: dict[str, Interval] = GREY | {
            "taper": (-0.25, 0.25), "pressure": (0.0, 0.3), "blur": (0.2, 0.6), "intensity": (1.0, 1.0),
            "pen": self.config.pen, "extent": (_FILL, _FILL), "shift": (0.0, 0.0)}
        self._style = Style(**{name: (float(ranges[name][0]), float(ranges[name][1])) for name in Style._fields})
        self._photos = None if self.config.grounds is None else Photographs(self.config.grounds)

    @property
    def names(self) -> dict[str, Any]:
        """The names of the classes, and of the indices of the mask."""
        digits = [str(digit) for digit in self._digits]
        return {"classes": digits, "mask_classes": ["background", *digits]}

    def render(self, seed: int, indices: Sequence[int]) -> Batch:
        """Draw the scenes; scene i depends on (config, seed, i) alone."""
        scenes = [self._scene(np.random.default_rng(fold(seed, index))) for index in indices]
        return {key: torch.from_numpy(np.stack([scene[key] for scene in scenes])) for key in scenes[0]}

    def _scene(self, draw: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
        config, size = self.config, self.config.size
        picture = clutter(draw, size) if self._photos is None else self._photos.cut(draw, size)
        mask, taken = np.zeros((size, size), np.uint8), np.zeros((size, size), np.float32)
        number = int(draw.integers(config.digits[0], config.digits[1] + 1))
        chosen = []
        for place in draw.permutation(len(self._digits))[:number].tolist():
            cover = self._placed(draw, self._digits[place], taken)
            if cover is None:
                continue
            near = picture[cover > 0].mean(0)
            picture = picture + cover[..., None] * (_colour(draw, near, config.contrast) - picture)
            mask[cover >= 0.5] = place + 1
            taken = np.maximum(taken, cover)
            chosen.append(place)
        picture = picture + draw.normal(0, config.noise, picture.shape).astype(np.float32)
        return {"image": to_planes(np.clip(picture, 0, 1).astype(np.float32)), "mask": mask} | _labels(mask, chosen)

    def _placed(self, draw: np.random.Generator, digit: int,
                taken: npt.NDArray[np.float32]) -> npt.NDArray[np.float32] | None:
        """Returns the ink of a digit (S, S) in [0, 1] at a free place; None if there is none."""
        size = self.config.size
        side = max(4, round(size * draw.uniform(*self.config.extent) / _FILL))
        canvas = np.empty((side * _FINE, side * _FINE))
        draw_digit(self._skeletons, self._style, np.uint64(draw.integers(2**63)), digit, canvas)
        small = canvas.reshape(side, _FINE, side, _FINE).mean((1, 3)).astype(np.float32)
        rows, columns = np.flatnonzero(small.any(1)), np.flatnonzero(small.any(0))
        small = small[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        tall, wide = small.shape
        if tall > size or wide > size:
            return None
        for _ in range(_TRIES):
            top, left = int(draw.integers(size - tall + 1)), int(draw.integers(size - wide + 1))
            window = (slice(top, top + tall), slice(left, left + wide))
            if (small * taken[window]).sum() <= _OVERLAP * small.sum():
                cover = np.zeros((size, size), np.float32)
                cover[window] = small
                return cover
        return None


@compiled
def draw_digit(skeletons: Skeletons, style: Style, seed: Any, digit: int, canvas: npt.NDArray[np.float64]) -> None:
    """Draw one digit of a given class on the canvas (S, S): the coverage of each pixel by its ink."""
    stream, trace = np.empty(1, np.uint64), np.empty((MAX_TRACE, 4))
    stream[0] = seed
    first, last = skeletons.digit[digit], skeletons.digit[digit + 1]
    pick, hand = uniform(stream), first
    while hand + 1 < last and pick >= skeletons.chance[hand]:
        hand += 1
    num = write_by_hand(skeletons, hand, style, stream, trace)
    bend(trace, num, style, stream)
    press(trace, num, style, stream)
    frame(trace, num, len(canvas), False, style, stream)
    ink(trace, num, canvas)


def _colour(draw: np.random.Generator, near: npt.NDArray[Any], contrast: float) -> npt.NDArray[np.float32]:
    """Returns a random colour at least `contrast` * sqrt(3) from `near`."""
    while True:
        colour = draw.uniform(0, 1, 3)
        if np.linalg.norm(colour - near) >= contrast * np.sqrt(3):
            return colour.astype(np.float32)


def _labels(mask: npt.NDArray[np.uint8], chosen: list[int]) -> dict[str, npt.NDArray[Any]]:
    """Returns the labels of a scene, filled up to three digits; boxes go round what is seen."""
    labels, boxes = np.full(3, -1, np.int64), np.zeros((3, 4), np.float32)
    seen = sorted(label for label in chosen if (mask == label + 1).any())
    for place, label in enumerate(seen):
        y, x = np.nonzero(mask == label + 1)
        labels[place] = label
        boxes[place] = x.min(), y.min(), x.max() - x.min() + 1, y.max() - y.min() + 1
    return {"labels": labels, "boxes": boxes, "classes": labels.copy()}
