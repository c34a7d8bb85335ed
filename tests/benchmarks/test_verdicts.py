"""`make bench` calls a row met only where several timings agree and the baseline was not disturbed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from speed_row import Others, Row, in_turns, judge, repeated

CASES = {
    "all pairs say so": ((5.0, 5.2, 4.9), ">= 4", (2.0, 2.1, 2.0), "met"),
    "no pair says so": ((0.42, 0.40, 0.44), ">= 0.8", (2.0, 2.1, 2.0), "missed"),
    "one pair with a disturbed baseline": ((0.42, 6.64, 0.41), ">= 0.8", (2.0, 31.6, 2.0), "unsteady"),
    "one pair with a disturbed figure": ((1.0, 0.3, 1.0), ">= 0.8", (2.0, 2.0, 2.0), "unsteady"),
    "a baseline that varied in every pair": ((6.6, 5.1, 9.0), ">= 4", (2.0, 9.0, 14.0), "unsteady"),
    "a single pair": ((6.64,), ">= 4", (2.0,), "unsteady"),
    "a single pair that is bad": ((0.4,), ">= 4", (2.0,), "missed"),
    "a fixed limit, kept each time": ((0.1, 0.4, 0.2), "<= 1", (), "met"),
    "a fixed limit, kept once": ((0.9, 1.4, 1.2), "<= 1", (), "unsteady"),
    "nothing is asked": ((3.0,), "", (), ""),
}


@pytest.mark.parametrize("name", CASES)
def test_verdicts(name: str) -> None:
    ratios, wanted, baselines, verdict = CASES[name]
    assert judge(ratios, wanted, baselines) == verdict
    row = Row(what="x", figure="a", baseline="b", ratios=ratios, wanted=wanted, baselines=baselines)
    assert row.verdict == verdict and row.plain()["met"] == {"met": True, "missed": False}.get(verdict)
    assert ("| yes |" in row.markdown()) == (verdict == "met")
    assert ("unsteady" in row.markdown()) == (verdict == "unsteady")


def test_memory_needs_no_second_measurement() -> None:
    assert judge((1.05,), "<= 1.1", is_timed=False) == "met" and judge((1.2,), "<= 1.1", is_timed=False) == "missed"


def test_the_median_counts_and_the_span_is_shown() -> None:
    row = Row(what="x", figure="a", baseline="b", ratios=(0.4, 6.64, 0.5))
    assert row.ratio == 0.5 and "| 0.50 (0.40 to 6.64) |" in row.markdown()


def test_two_works_are_timed_in_turns() -> None:
    order: list[str] = []

    def timed(name: str, times: Iterator[float]) -> float:
        order.append(name)
        return next(times)

    first, second = iter([9.0, 1.0, 2.0]), iter([9.0, 3.0, 4.0])
    pairs = in_turns(lambda: timed("A", first), lambda: timed("B", second), 2)
    assert order == list("ABABAB") and pairs == [(1.0, 3.0), (2.0, 4.0)]  # what was warm-up is not counted
    assert repeated(lambda: time.sleep(0.01), 2, warm=False)[0] >= 0.01


def test_own_work_is_not_that_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    import speed_row

    clock = {"busy": 100.0, "own": 10.0}
    monkeypatch.setattr(speed_row, "_busy", lambda: clock["busy"])
    monkeypatch.setattr(speed_row, "_own", lambda: clock["own"])
    monkeypatch.setattr(speed_row.time, "monotonic", iter([0.0, 10.0, 10.0]).__next__)
    others = Others()
    clock.update(busy=130.0, own=20.0)
    assert others.cores() == 2.0
    clock.update(own=90.0)
    assert others.cores() == 0.0
