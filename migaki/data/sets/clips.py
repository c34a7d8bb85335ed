"""Films in a set: the rows whose column `clip` is the same are the frames of one film, in the order of `frame`.

What is drawn at random is drawn once a film, and numbers that are measured on whole frames are averaged over time, so
that a film does not flicker.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from migaki.core.batch import Batch
from migaki.core.errors import UserError

CLIP, FRAME = "clip", "frame"
"""The columns of the film that a row belongs to (text or a whole number) and of its place in it (a number)."""

_REACH = 3.0  # standard deviations at which the weights in time end


class Clips:
    """The films of a set, by the numbers of its rows. Rows without a film are films of one frame."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], where: str) -> None:
        found: dict[str | int | float, list[tuple[float, int]]] = {}
        numbered: set[bool] = set()
        for number, row in enumerate(rows):
            clip, frame = row.get(CLIP), row.get(FRAME)
            if clip is None:
                continue
            if isinstance(clip, bool) or not isinstance(clip, str | int | float) or clip != clip:
                raise UserError(f"{where}: row {number + 1}: `{CLIP}` is the name or the number of a film: correct it")
            if frame is not None and (isinstance(frame, bool) or not isinstance(frame, int | float)
                                      or not math.isfinite(frame)):
                raise UserError(f"{where}: row {number + 1}: `{FRAME}` is the number of a frame: correct it")
            numbered.add(frame is not None)
            found.setdefault(clip, []).append((float(number if frame is None else frame), number))
        if len(numbered) > 1:
            raise UserError(f"{where}: some frames of films have a number in the column `{FRAME}` and some have none: "
                            "number all or none")
        self.films = [[number for _, number in sorted(film)] for film in found.values()]
        """The rows of each film in time."""
        self._places = {number: (film, place) for film, rows_of in enumerate(self.films)
                        for place, number in enumerate(rows_of)}

    def first(self, row: int) -> int:
        """Returns the row of the first frame of the film that `row` belongs to."""
        place = self._places.get(row)
        return row if place is None else self.films[place[0]][0]

    def around(self, row: int, spread: float) -> dict[int, float]:
        """Returns the rows around `row` in its film, with weights of sum 1: a Gaussian in time, cut at the film's ends.

        `spread` is the standard deviation in frames; 0 gives the row alone.
        """
        place = self._places.get(row)
        if place is None or spread <= 0:
            return {row: 1.0}
        film, middle = self.films[place[0]], place[1]
        reach = int(_REACH * spread)
        near = range(max(0, middle - reach), min(len(film), middle + reach + 1))
        weights = [math.exp(-0.5 * ((one - middle) / spread) ** 2) for one in near]
        return {film[one]: weight / sum(weights) for one, weight in zip(near, weights, strict=True)}


def clips_of(rows: Sequence[Mapping[str, Any]], where: str) -> Clips | None:
    """Returns the films of a set's rows, or None if the first row belongs to none."""
    return Clips(rows, where) if len(rows) and rows[0].get(CLIP) is not None else None


def averaged(measured: Batch, places: Sequence[int], wanted: Sequence[Mapping[int, float]]) -> Batch:
    """Returns measured numbers, averaged with the weights of `wanted` (one mapping place -> weight for each output).

    Shape: measured (N, ...), for the `places` (N); result (len(wanted), ...), float32
    """
    column = {place: number for number, place in enumerate(places)}
    weights = torch.zeros(len(wanted), len(places))
    for number, near in enumerate(wanted):
        for place, weight in near.items():
            weights[number, column[place]] = weight

    def mean(values: Tensor) -> Tensor:
        flat = weights @ values.float().flatten(1)
        return flat.view(len(wanted), *values.shape[1:])

    return {key: mean(values) for key, values in measured.items()}
