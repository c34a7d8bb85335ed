"""Shares of yes-or-no outcomes with an interval, also where several outcomes belong to one picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Z_95 = 1.959963984540054
"""The standard normal's 97.5 % point: a two-sided interval of 95 %."""


def wilson(share: float, count: float, z: float = Z_95) -> tuple[float, float]:
    """Returns Wilson's score interval of a share that was found in `count` trials, in [0, 1]; (0, 1) without a trial.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.
    """
    if not 0 <= share <= 1 or count < 0:
        raise ValueError(f"a share of {share} of {count} trials cannot be")
    if count == 0:
        return 0.0, 1.0
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    reach = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    # At the ends the bound is the end itself, and rounding would leave 1e-17 of it.
    return 0.0 if share == 0 else max(0.0, middle - reach), 1.0 if share == 1 else min(1.0, middle + reach)


def share_of_pictures(name: str, shares: Sequence[float] | npt.NDArray[np.float64]) -> dict[str, Any]:
    """Returns the mean of a share for each picture, with Wilson's interval: `name`, `name_low`, `name_high`.

    The number of trials is that of the pictures: the views of one picture depend on each other, and counting them all
    would make the interval too narrow. So it errs on the wide side. All three are None without a picture.
    """
    if not len(shares):
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    mean = float(np.clip(np.mean(shares), 0, 1))
    low, high = wilson(mean, len(shares))
    return {name: mean, f"{name}_low": low, f"{name}_high": high}
