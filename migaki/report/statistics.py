"""Statistics for comparing arms: a mean with its spread, a paired difference with its interval, better or worse."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from migaki.core.errors import UserError

Values = npt.ArrayLike

Trend = Literal["better", "worse"]
"""How one figure compares with another; None in its place means equal, or unknown which is better."""

FEWEST = 3
"""Fewest runs for an interval or a standard deviation; for two runs both values are shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """The figures of one arm: `mean`, standard deviation `std` (n - 1; None for one run) and `count`.

    With fewer than three figures, `values` holds them; they are shown instead of the deviation. `places` is the number
    of decimals; None: as many as show two digits of the deviation.
    """

    mean: float
    std: float | None
    count: int
    values: tuple[float, ...] = ()
    places: int | None = None

    def __str__(self) -> str:
        if self.std is None:
            return self.mean_text
        if self.values:
            return f"{self.mean_text} ({', '.join(map(self._rounded, self.values))})"
        return f"{self.mean_text} ± {self._rounded(self.std)}"

    @property
    def mean_text(self) -> str:
        """Returns the mean with as many decimals as in the table, so that it reads the same everywhere."""
        return number_text(self.mean) if self.std is None and self.places is None else self._rounded(self.mean)

    def _rounded(self, value: float) -> str:
        """Round to two digits of the deviation unless `places` is given: more digits would suggest false precision."""
        places = 2 if not self.std else min(6, max(0, 1 - math.floor(math.log10(self.std))))
        return f"{value:.{places if self.places is None else self.places}f}"


def spread(values: Values, places: int | None = None) -> Spread:
    """Returns mean and standard deviation over runs (R,); UserError without values or if one is not finite."""
    runs = _runs(values)
    return Spread(mean=float(runs.mean()), std=float(runs.std(ddof=1)) if len(runs) > 1 else None, count=len(runs),
                  values=_few(runs), places=places)


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Mean of b - a over pairs with two 95 % (or `level`) confidence intervals and the paired t-test.

    Intervals and test need three pairs; with fewer, `t_low`, ... are None and `values` holds the differences.
    `higher_is_better` says which sign is good; None if unknown.
    """

    mean: float
    t_low: float | None
    t_high: float | None
    p_value: float | None
    bootstrap_low: float | None
    bootstrap_high: float | None
    count: int
    level: float
    values: tuple[float, ...] = ()
    higher_is_better: bool | None = None

    def __str__(self) -> str:
        word = f", {self.word}" if self.word else ""
        if self.t_low is not None and self.t_high is not None:
            return f"{self.mean:+.3g} [{self.t_low:+.3g}, {self.t_high:+.3g}]{word}"
        each = f"{', '.join(f'{value:+.3g}' for value in self.values)}; " if self.count > 1 else ""
        runs = "1 run" if self.count == 1 else f"{self.count} runs"
        return f"{self.mean:+.3g} ({each}{runs}: no interval){word}"

    @property
    def trend(self) -> Trend | None:
        """Returns whether b is better or worse than a, by the mean."""
        return None if self.higher_is_better is None else trend_of(0.0, self.mean, self.higher_is_better)

    @property
    def is_sure(self) -> bool:
        """Returns whether there is an interval that excludes zero."""
        return self.t_low is not None and self.t_high is not None and not self.t_low <= 0 <= self.t_high

    @property
    def word(self) -> str:
        """Returns better or worse, and whether this may be chance; empty if unknown."""
        if self.trend is None:
            return ""
        if self.count == 1:
            return f"{self.trend}, in one run"
        if self.t_low is None:
            is_mixed = min(self.values, default=0) < 0 < max(self.values, default=0)
            return f"{self.trend}, not in every run" if is_mixed else self.trend
        return self.trend if self.is_sure else f"{self.trend}, perhaps by chance"

    def judged(self, *, higher_is_better: bool) -> Difference:
        """Returns the same difference with `higher_is_better` set."""
        return replace(self, higher_is_better=higher_is_better)


def paired_difference(a: Values, b: Values, *, level: float = 0.95, num_resamples: int = 10_000,
                      seed: int = 0) -> Difference:
    """Compare two arms on the same seeds, folds or images: b minus a, pair by pair.

    The t interval assumes normally distributed differences; the percentile bootstrap does not. With fewer than about
    ten pairs the bootstrap interval is too narrow, so use the t interval. If the two disagree, distrust both.

    Shape: a, b (R,), in the same order. Raises UserError on differing lengths, no pairs or values not finite.
    Source: Student 1908; Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapter 13.
    """
    from scipy import stats  # the import takes half a second, and most commands do not need it

    first, second = _runs(a), _runs(b)
    if first.shape != second.shape:
        raise UserError(f"paired difference: {len(first)} figures against {len(second)}, they must come in pairs")
    gain, count = second - first, len(first)
    mean = float(gain.mean())
    if count < FEWEST:
        return Difference(mean=mean, t_low=None, t_high=None, p_value=None, bootstrap_low=None, bootstrap_high=None,
                          count=count, level=level, values=_few(gain))
    error = float(gain.std(ddof=1)) / math.sqrt(count)
    reach = float(stats.t.ppf((1 + level) / 2, count - 1)) * error
    p_value = 2 * float(stats.t.sf(abs(mean) / error, count - 1)) if error else float(mean == 0)
    low, high = np.quantile(_resampled_means(gain, num_resamples, seed), [(1 - level) / 2, (1 + level) / 2])
    return Difference(mean=mean, t_low=mean - reach, t_high=mean + reach, p_value=p_value, bootstrap_low=float(low),
                      bootstrap_high=float(high), count=count, level=level)


def trend_of(before: float, after: float, higher_is_better: bool) -> Trend | None:
    """Returns whether `after` is better or worse than `before`; None if they are equal or one is not a number."""
    if before == after or not (math.isfinite(before) and math.isfinite(after)):
        return None
    return "better" if (after > before) == higher_is_better else "worse"


def number_text(value: float) -> str:
    """Format a number with four digits."""
    return f"{value:.4g}" if math.isfinite(value) else str(value)


def _few(runs: npt.NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(runs.tolist()) if len(runs) < FEWEST else ()


def _runs(values: Values) -> npt.NDArray[np.float64]:
    runs = np.asarray(values, dtype=np.float64).ravel()
    if not len(runs) or not np.isfinite(runs).all():
        raise UserError(f"statistics need at least one figure, all finite; got {runs[:5].tolist()}")
    return runs


def _resampled_means(values: npt.NDArray[np.float64], num: int, seed: int) -> npt.NDArray[np.float64]:
    """Returns the means of `num` resamples, computed in blocks: all at once would need gigabytes for per-image data."""
    rng, block = np.random.default_rng(seed), max(1, 2**22 // len(values))
    means = [values[rng.integers(0, len(values), (min(block, num - start), len(values)))].mean(axis=1)
             for start in range(0, num, block)]
    return np.concatenate(means)
