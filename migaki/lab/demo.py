"""Demos: studies on built-in data that take minutes, and the report page of demos that refine rendered images.

A demo is a file `studies/demo_NAME.py` with one class that derives from `Demo`; `migaki demo NAME` finds it there, and
`migaki study` does not list it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from migaki.judges.looks import ABOUT_DISTANCES, FEATURES, distances
from migaki.lab.pictures import show_before_after, show_training
from migaki.lab.study import Study, run_study
from migaki.lab.study_report import StudyReport
from migaki.lab.verdict import picture_gap, verdict
from migaki.report.figures import bars, error_curves
from migaki.report.page import Number
from migaki.report.statistics import trend_of
from migaki.report.tables import Entry, Rated, Table

BOUND = "labelled"
"""Slug of the arm that is trained on real labels."""


class Demo(Study):
    """A study that `migaki demo` runs; it has a default output folder."""

    folder: ClassVar[Path]

    def run(self, name: str, out: Path, *, quiet: bool = False, parallel: str = "1") -> Path:
        """Run the demo in `out`, so many steps side by side; returns the path of its page."""
        return run_study(name, self, out, quiet=quiet, parallel=parallel)


def compose_refining(report: StudyReport, *, photos: str, protocol: str, no_table: str = "") -> None:
    """Compose the page of a demo that refines `synthetic` towards `photos` with the run `refiner` (all demo folders).

    The first arm is trained on the rendered images, the arm "refined" on the refined ones, and "labelled", if present,
    on real labels. `photos` is the name of the real pictures on the page, and `protocol` says which data were used for
    what. Without any arm nothing was evaluated, and `no_table` gives the reason.
    """
    out, arms = report.out, list(report.outcomes)
    looks = distances(out / "synthetic", out / "refined", out / "photos", out / "distances.json")
    report.numbers(_cards(report, arms, looks))
    report.text(_summary(report, arms) if arms else no_table)
    report.section("Before and after")
    pictures = show_before_after(report.page, out / "synthetic", out / "refined", out / "photos", photos)
    report.keep("before_after", pictures)
    if arms:
        _show_task(report, arms)
    report.section("Similarity to photographs")
    report.table("looks", looks_table(looks, photos))
    report.section("Training")
    show_training(report.page, out / "refiner")
    report.section("Which data each model saw", is_folded=True)
    report.text(protocol)


def looks_table(figures: dict[str, Any], photos: str) -> Table:
    """Returns a table of distances of rendered and refined images from real ones, named `photos`; see `distances`."""
    rows: list[list[Entry]] = []
    for name, about in FEATURES.items():
        row: list[Entry] = [about]
        for figure in ("told_apart", "kid"):
            before, after = (figures[name][images][figure] for images in ("synthetic", "refined"))
            scale = 100 if figure == "told_apart" else 1
            trend = trend_of(before, after, higher_is_better=False)
            row += [scale * before, Rated(value=scale * after, trend=trend)]
        rows.append(row)
    return Table(["features", "distinguished, %: rendered", "refined", "kernel distance: rendered", "refined "], rows,
                 f"Against {photos}; lower is better. {ABOUT_DISTANCES}")


def _cards(report: StudyReport, arms: Sequence[str], looks: dict[str, Any]) -> list[Number]:
    cards: list[Number] = []
    measure = report.measures[0]
    shown = [slug for slug in (*arms[:1], "refined", BOUND) if slug in report.outcomes]
    for slug in shown:
        outcome, first = report[slug], report[arms[0]]
        value, before = outcome.spread(measure), first.spread(measure)
        label = "trained on real labels" if slug == BOUND else f"trained on {outcome.arm.name}"
        trend = trend_of(before.mean, value.mean, measure.higher_is_better)
        gap = picture_gap(first, outcome, measure)
        doubt = "perhaps by chance; " if trend and (gap is None or not gap.is_sure) else ""
        note = measure.noun if slug == arms[0] else f"{doubt}{first.arm.name}: {measure.text(before)}"
        cards.append(Number(label, measure.text(value), note, trend))
    cards += report.free_cards(arms[0], measure) if arms else []
    # The features that best tell rendered images from real ones.
    name = max(FEATURES, key=lambda features: looks[features]["synthetic"]["told_apart"])
    apart = [looks[name][images]["told_apart"] for images in ("synthetic", "refined")]
    cards.append(Number.of_change("distinguished from photos", apart[0], apart[1], "{:.1%}",
                                  f"a classifier of {name}, rendered → refined; 50% is chance", higher_is_better=False))
    return [*cards, report.time_card()]


def _summary(report: StudyReport, arms: Sequence[str]) -> str:
    """Returns what the numbers show, in words, be it good or bad."""
    measure, first, refined = report.measures[0], report[arms[0]], report["refined"]
    words = verdict("Refining", first, refined, measure, report.factors)
    rivals = [report[slug] for slug in arms if slug != BOUND]
    best = max(rivals, key=lambda one: one.spread(measure).mean * (1 if measure.higher_is_better else -1))
    words += f" Of all arms without real labels, '{best.arm.name}' had the best result, " \
             f"{measure.text(best.spread(measure))}; this choice uses the test's labels."
    if BOUND not in arms:
        return words
    bound = report[BOUND].spread(measure)
    words += f" Models trained on real labels reach {measure.text(bound)}"
    start, end = first.spread(measure).mean, refined.spread(measure).mean
    gap = picture_gap(first, refined, measure)
    is_closing = trend_of(start, end, measure.higher_is_better) == "better" and gap is not None and gap.is_sure
    if is_closing and trend_of(start, bound.mean, measure.higher_is_better) == "better":
        return f"{words}; refining closed {100 * (end - start) / (bound.mean - start):.0f} % of the gap to them."
    return f"{words}."


def _show_task(report: StudyReport, arms: Sequence[str]) -> None:
    measure = report.measures[0]
    report.section("Effect on the task")
    report.compare("arms", arms)
    errors = report.errors(arms)
    report.differences("differences", arms[0], list(arms[1:]), caption=_BY_PICTURE if errors else "")
    if errors:
        report.figure("curve", error_curves(errors), "Share of test pictures whose error is at most so many degrees, "
                      "over all runs of an arm.", is_chart=True)
    report.figure("bars", bars({report[slug].arm.name: report[slug].values(measure) for slug in arms},
                               xlabel=measure.name, places=measure.places),
                  f"The same as bars: {'higher' if measure.higher_is_better else 'lower'} is better; dots are single "
                  "runs.", is_chart=True)


_BY_PICTURE = "By picture: a picture's errors are averaged over the runs. That interval does not cover the " \
              "variation between trainings."
