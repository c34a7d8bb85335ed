"""Several runs of one experiment: the figures' mean and spread, and a table with every run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import t as student

from migaki.core.judge import Section

FEWEST = 3
"""Fewest runs for an interval; with two runs it would have one degree of freedom."""


def over_runs(names: Sequence[str], figures: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], Section]:
    """Returns the mean of each plain figure over the runs, and a table with one row per run.

    With `FEWEST` runs or more the figures also hold `<name>_low` and `<name>_high`, the 95 % t interval of the mean.
    """
    keys = [key for key, value in figures[0].items() if isinstance(value, int | float) and not isinstance(value, bool)]
    found: dict[str, Any] = {"runs": len(names)}
    for key in keys:
        values = np.array([one[key] for one in figures if one.get(key) is not None], np.float64)
        found[key] = float(values.mean()) if len(values) else None
        if len(values) >= FEWEST and key != "count":
            half = float(student.ppf(0.975, len(values) - 1)) * values.std(ddof=1) / math.sqrt(len(values))
            found |= {f"{key}_low": float(values.mean() - half), f"{key}_high": float(values.mean() + half)}
    rows = [[name, *(one.get(key) for key in keys)] for name, one in zip(names, figures, strict=True)]
    return found, Section(heading="Run by run", columns=["run", *keys], rows=rows)
