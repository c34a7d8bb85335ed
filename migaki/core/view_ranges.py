"""Views: the ranges of the transforms that `ops.views` draws from, for training, for attacks and for judging them.

Source of the ranges: Athalye, Engstrom, Ilyas, Kwok, "Synthesizing robust adversarial examples", ICML 2018, appendix
(2D case): scale 0.9 to 1.4, rotation +-22.5 degrees, lighten or darken +-0.05, Gaussian noise of a deviation up to 0.1,
any translation. Perspective and blur are ours, and the translation is smaller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from migaki.core.errors import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class Views:
    """The range of each transform; every value is uniform and drawn for each view."""

    GROUPS: ClassVar[dict[str, str]] = {"usual": "scale turn shift perspective light noise blur"}

    scale: tuple[float, float] = (0.9, 1.4)  # factor of size
    turn: float = 22.5  # degrees, to either side
    shift: float = 0.1  # share of width and height, to either side
    perspective: float = 0.0  # change of scale from the middle to the edge, to either side
    light: float = 0.05  # added to all values, to either side
    noise: float = 0.1  # largest standard deviation of Gaussian noise
    blur: float = 0.0  # largest standard deviation of the Gaussian blur as a share of the width

    def __post_init__(self) -> None:
        low, high = self.scale
        if not 0.05 <= low <= high <= 20:
            raise UserError(f"--views.scale {low:g} {high:g}: give two ascending factors from 0.05 to 20")
        if not (0 <= self.turn <= 180 and 0 <= self.shift <= 1 and 0 <= self.perspective <= 0.4):
            raise UserError("--views.turn is from 0 to 180 degrees, --views.shift from 0 to 1, --views.perspective "
                            "from 0 to 0.4")
        if not (0 <= self.light <= 1 and 0 <= self.noise <= 1 and 0 <= self.blur <= 0.2):
            raise UserError("--views.light and --views.noise are from 0 to 1, --views.blur from 0 to 0.2")
