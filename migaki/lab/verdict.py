"""Describes in words what the figures of two arms show, be it good or bad."""

from __future__ import annotations

from collections.abc import Sequence

from migaki.lab.arms import Measure, Outcome, difference_by, difference_by_picture, pairs
from migaki.report.statistics import Difference, trend_of


def verdict(what: str, first: Outcome, other: Outcome, measure: Measure, factors: Sequence[str]) -> str:
    """Returns one or two sentences on how `what` ("Refining"), which turns `first` into `other`, changed the measure.

    For each factor with three or more levels its interval decides. With fewer levels there is no interval, and the
    errors by picture can only tell whether other pictures would show the same.
    """
    better = measure.higher_is_better
    before, after = first.spread(measure), other.spread(measure)
    numbers = f"the {measure.noun} went from {measure.text(before)} to {measure.text(after)}"
    found = pairs(first, other, measure)
    gaps = {name: gap.judged(higher_is_better=better) for k, name in enumerate(factors)
            if (gap := difference_by(k, found)) is not None}
    known = {name: gap for name, gap in gaps.items() if gap.t_low is not None}
    if not known:
        return _few_runs(what, numbers, first, other, measure, max((gap.count for gap in gaps.values()), default=1))
    trends = {gap.trend if gap.is_sure else None for gap in known.values()}
    if trends not in ({"better"}, {"worse"}):
        return f"{what} made no difference beyond chance: {numbers}."
    did = "helped" if trends == {"better"} else "did harm"
    few = [f"{gap.count} {name} seed{'s' if gap.count > 1 else ''}" for name, gap in gaps.items() if name not in known]
    sure = f", though with {' and '.join(few)} only: others might give another result" if few else ""
    return f"{what} {did}: {numbers}{sure}."


def picture_gap(first: Outcome, other: Outcome, measure: Measure) -> Difference | None:
    """Returns the difference by picture, with its good sign known; None if errors are not kept."""
    gap = difference_by_picture(first, other)
    return None if gap is None else gap.judged(higher_is_better=measure.higher_is_better)


def _few_runs(what: str, numbers: str, first: Outcome, other: Outcome, measure: Measure, runs: int) -> str:
    """Returns the text for too few runs for an interval: what the errors by picture show, if anything."""
    trend = trend_of(first.spread(measure).mean, other.spread(measure).mean, measure.higher_is_better)
    many = "1 run of an arm has" if runs == 1 else f"{runs} runs of each arm have"
    gap = picture_gap(first, other, measure)
    signs = {value > 0 for value in pairs(first, other, measure).values() if value}
    if gap is None and runs > 1 and len(signs) == 1 and trend in ("better", "worse"):  # nothing tells what chance does
        did = "seems to have helped" if trend == "better" else "seems to have done harm"
        return (f"{what} {did}: {numbers}, {trend} with every seed. Whether other trainings would show the same is "
                f"unknown: {many} no interval.")
    if gap is None or not gap.is_sure or gap.trend != trend:
        return f"{what} made no difference beyond chance: {numbers}; {many} no interval."
    did = "helped" if trend == "better" else "did harm"
    return (f"{what} {did} on these models: {numbers}, and other pictures of this kind would show the same (by picture "
            f"{gap.t_low:+.2f} to {gap.t_high:+.2f}). Whether other trainings would is unknown: {many} no interval.")
