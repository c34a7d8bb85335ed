"""The page of the study of pre-training: the verdict, the four axes, and the findings of Cole et al. beside ours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from migaki.judges.learning_curve import FROZEN, PIXELS, SUPERVISED, TUNED, UNTRAINED, Curves, verdict
from migaki.lab.study_report import StudyReport
from migaki.report.label_curves import label_curves
from migaki.report.statistics import Difference, paired_difference
from migaki.report.tables import Entry, Table
from migaki.studies.parts.pretraining_sets import DAMAGES

_WORDS = {FROZEN: "frozen", TUNED: "tuned", SUPERVISED: "supervised", UNTRAINED: "untrained", PIXELS: "thumbnails"}
_LITTLE = 2.0  # points: where the interval of a gain ends below it, it is next to nothing
_CAPTION = "Paired by seed; in points of accuracy, in brackets the 95 % interval. Reproduced or refuted: the " \
           "interval excludes zero; that something brings nothing is reproduced where it ends below 2 points, above " \
           "zero or not. All seeds have the same draws of labels, whose chance the intervals leave out. At our size: " \
           "nothing is said about millions of pictures."


def compose_axes(report: StudyReport, labels: Sequence[int], damages: Sequence[str], tested: int,
                 passes: float) -> None:
    """Compose the page: see the module. `tested` pictures judge; supervised training sees all others `passes` times."""
    curves = _curves(report, labels)
    names = list(curves.found)
    report.section("The answer")
    report.text(verdict(curves, names, labels, tested))
    rows: list[list[Entry]] = [[name, *(f"{100 * curves.mean(name, count):.1f}" for count in labels)] for name in names]
    report.table("answer", Table(["accuracy, %", *(f"{count:,} labels" for count in labels)], rows,
                                 "The mean over seeds and draws."))
    report.figure("answer_curves", label_curves(labels, curves.drawn(labels)),
                  "The band is from the lowest to the highest seed.", is_chart=True)
    shown = [slug for slug in report.outcomes if not slug.endswith("_all") and "supervised" not in slug]
    some = [slug for slug in shown if slug.startswith("amount_")]
    for title, slug, arms in (("Amount", "amount", [*some, "own"]),
                              ("Domain", "domain", [one for one in shown if one in ("own_equal", "others", "half")]),
                              ("Quality", "quality", ["own", *(one for one in shown if one in damages)])):
        if len(arms) > 1:
            report.section(title)
            report.compare(slug, arms)
    report.section("Supervised training beside")
    report.compare("supervised", [slug for slug in report.outcomes if slug.startswith("supervised") and
                                  slug != "supervised_coarse"], measures=report.measures[:1],
                   caption="By its own head, which learned from the same pictures.")
    report.compare("probed", ["own", *(slug for slug in report.outcomes if slug.startswith("probed"))],
                   caption="Features as those without labels: the probe learns from clean pictures.")
    report.compare("all_labels", ["own_all", "supervised"], measures=report.measures[:1],
                   caption="The probe has all labels too.")
    if "coarse_all" in report.outcomes:
        report.section("Coarse classes")
        report.compare("coarse", ["coarse_all", "supervised_coarse"], measures=report.measures[:1],
                       caption="The probe has all labels too.")
    report.section("The findings of Cole et al. (CVPR 2022)")
    report.table("findings", Table(["finding", "measured here", "difference", "so it is"],
                                   _findings(report, some, damages), f"{_CAPTION} Supervised training saw all "
                                   f"pictures {passes:.1f} times: a short one makes its gap small."))


def _curves(report: StudyReport, labels: Sequence[int]) -> Curves:
    """The figures of one's own pictures, one repetition for each seed."""
    curves = Curves()
    for name, word in _WORDS.items():
        for run, figures in enumerate(report["own"].figures):
            for count in labels:
                if f"{word}_{count}" in figures:
                    curves.add(name, count, figures[f"{word}_{count}"], run)
    return curves


def _findings(report: StudyReport, some: Sequence[str], damages: Sequence[str]) -> list[list[Entry]]:
    rows: list[list[Entry]] = []
    own, probed = _most(report, "own"), _most(report, "probed_supervised")
    if some:
        gain = paired_difference(_most(report, some[-1]), own, num_resamples=1000)
        rows.append(["more pictures of the domain bring little beyond a certain number",
                     f"all pictures − {report[some[-1]].arm.name}", str(gain), _no_gain(gain)])
    if "half" in report.outcomes:
        gain = paired_difference(_most(report, "own_equal"), _most(report, "half"), num_resamples=1000)
        rows.append(["pictures of other domains mixed in do not help", "half and half − as many of one's own",
                     str(gain), _no_gain(gain)])
    for kind in damages:
        lost, lost_supervised = own - _most(report, kind), probed - _most(report, f"probed_supervised_{kind}")
        more = paired_difference(lost_supervised, lost, num_resamples=1000)
        rows.append([f"damaged pictures harm it more than supervised training: {DAMAGES[kind]}",
                     f"its features lose {lost.mean():.1f}, supervised ones {lost_supervised.mean():.1f}", str(more),
                     _more(more)])
    if "coarse_all" in report.outcomes:
        fine = _most(report, "supervised") - _most(report, "own_all")
        coarse = _most(report, "supervised_coarse") - _most(report, "coarse_all")
        more = paired_difference(coarse, fine, num_resamples=1000)
        rows.append(["the gap to supervised training is larger for finer classes",
                     f"with all labels the gap is {fine.mean():.1f}, with coarse classes {coarse.mean():.1f}",
                     str(more), _more(more)])
    return rows


def _most(report: StudyReport, slug: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The accuracies of an arm with most labels, in per cent, by seed."""
    return np.array(report[slug].values(report.measures[0]), dtype=np.float64)


def _no_gain(gain: Difference) -> str:
    """Whether "it brings nothing" holds: a gain that is sure and surely small is next to nothing too."""
    if gain.t_high is None:
        return "open: fewer than three seeds"
    if gain.t_high < _LITTLE:
        return "reproduced"
    return "refuted" if gain.is_sure and gain.mean > 0 else "open: perhaps by chance"


def _more(more: Difference) -> str:
    """Whether "it is more" holds."""
    if more.t_low is None:
        return "open: fewer than three seeds"
    if not more.is_sure:
        return "open: perhaps by chance"
    return "reproduced" if more.mean > 0 else "refuted"
