"""What the page of the gaze study shows: cards, verdict, Tables 2 and 3, Figure 7, looks, ablations, protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from migaki.core.files import read_json
from migaki.data.folder import ImageFolder
from migaki.lab.pictures import show_before_after, show_training
from migaki.lab.study_report import StudyReport
from migaki.lab.verdict import verdict
from migaki.report.evaluation import read_errors
from migaki.report.figures import bars, error_curves
from migaki.report.page import Number
from migaki.report.statistics import spread, trend_of
from migaki.report.tables import Entry, Table
from migaki.studies.parts.gaze_looks_page import read_looks, show_ablations, show_looks
from migaki.studies.parts.gaze_plan import ADAPTED, BOUNDS, DRIFT_ARMS, GazePlan
from migaki.studies.parts.gaze_recipe import ERROR, SHARE, GazeRecipe
from migaki.studies.parts.gaze_words import adapted_words, differs, protocol

TABLE_2 = {"synthetic": 62.3, "synthetic_4x": 64.9, "refined": 69.4, "refined_4x": 87.2}
"""Share of MPIIGaze's test images within 7 degrees, per cent: Shrivastava et al., CVPR 2017, Table 2."""

TABLE_3 = {"knn": 9.9, "synthetic_4x": 11.2, "refined_4x": 7.8}
"""Mean error on MPIIGaze, degrees: the same, Table 3."""

TABLE_3_OTHERS = {"SVR (real)": 16.5, "ALR (real)": 16.4, "k-NN, UT-Multiview (real)": 16.2,
                  "random forest (real)": 15.4, "CNN, UT-Multiview (real)": 13.9}
"""The other rows of Table 3, trained on real images of other people."""


def compose_gaze(report: StudyReport, config: GazeRecipe) -> None:
    """Compose the page."""
    plan = GazePlan(config, report.out)
    looks = read_looks(plan, config.refiner_seeds)
    called = "the stand-in camera's pictures" if config.is_stand_in else "the photographs"
    report.numbers(_cards(report, plan, looks))
    report.text(_summary(report, plan) if config.is_judged else
                "There are no labelled pictures (--data), and without labels an error cannot be measured. The "
                "distances and drifts below show whether the refined eyes look like the photographs and whether their "
                "labels stayed correct. They do not show whether a model trained on them is better.")
    report.section("Before and after")
    picture = show_before_after(report.page, plan.large.folder, plan.refined(plan.large, 0), plan.photos, called)
    report.keep("before_after", picture)
    if config.is_judged:
        _tables(report, plan)
    show_looks(report, looks, called, is_held_out=plan.check != plan.large.folder)
    if plan.ablations:
        show_ablations(report, plan, looks)
    report.section("Training of the first refiner")
    show_training(report.page, plan.refiner(0))
    report.section("Which data each model saw", is_folded=True)
    report.text(protocol(config, len(ImageFolder(plan.photos)),
                         len(ImageFolder(plan.labelled)) if config.is_judged else 0))


# ------------------------------------------------------------------------------------------- head


def _cards(report: StudyReport, plan: GazePlan, looks: dict[str, list[dict[str, Any]]]) -> list[Number]:
    cards = []
    first, refined = (f"{base}{plan.large.suffix}" for base in ("synthetic", "refined"))
    if plan.config.is_judged:
        before, after = (report[slug].spread(ERROR) for slug in (first, refined))
        cards = [Number("trained on synthetic", ERROR.text(before), ERROR.noun),
                 Number("trained on refined", ERROR.text(after), f"synthetic: {ERROR.text(before)}",
                        trend_of(before.mean, after.mean, higher_is_better=False))]
        cards += report.free_cards(first, ERROR)
    # This arm is fixed beforehand: the best of all arms would be chosen by the test's labels.
    adapted = f"{first}_{'self' if plan.config.self_training else 'prior'}"
    if adapted in report.outcomes:
        value = report[adapted].spread(ERROR)
        cards.append(Number("adapted to photos", ERROR.text(value), report[adapted].arm.name,
                            trend_of(report[first].spread(ERROR).mean, value.mean, higher_is_better=False)))
    bounds = [report[f"bound_{kind}"].spread(ERROR) for kind in BOUNDS if f"bound_{kind}" in report.outcomes]
    if bounds:
        low, high = min(bounds, key=lambda one: one.mean), max(bounds, key=lambda one: one.mean)
        cards.append(Number("trained on real labels", f"{low.mean_text} to {ERROR.text(high)}", "cross-validated"))
    apart = [float(np.mean([row["spectrum"]["told_apart"] for row in looks[key]])) for key in ("synthetic", "refined")]
    cards.append(Number.of_change("distinguished from photos", apart[0], apart[1], "{:.1%}",
                                  "by their spectrum, synthetic → refined; 50% is chance", higher_is_better=False))
    return [*cards, report.time_card()]


def _summary(report: StudyReport, plan: GazePlan) -> str:
    """Returns what the numbers show of refining, in words, good or bad."""
    first, other = (report[base + plan.large.suffix] for base in ("synthetic", "refined"))
    words = verdict("Refining", first, other, ERROR, report.factors)
    without = ["knn", *_plain(plan), *_spared(report, plan), *_adapted(plan)]
    best = min((report[slug] for slug in without), key=lambda outcome: outcome.spread(ERROR).mean)
    if best in (first, other):
        return words
    return (f"{words} Of all arms without real labels, '{best.arm.name}' had the best result, "
            f"{ERROR.text(best.spread(ERROR))}; this choice uses the test's labels.")


def _adapted(plan: GazePlan) -> list[str]:
    suffix = plan.large.suffix
    taught = [f"synthetic{suffix}_self", f"held{suffix}"] if plan.config.self_training else []
    return [f"{base}{suffix}_{way}" for base in ("synthetic", "refined") for way in ADAPTED] + taught


def _plain(plan: GazePlan) -> list[str]:
    """Returns the arms that are trained on an unchanged set."""
    return [base + chosen.suffix for base in ("synthetic", "refined") for chosen in plan.sets]


def _spared(report: StudyReport, plan: GazePlan) -> list[str]:
    """Returns the arms without labels that have moved; none if nothing was left of a set."""
    return [slug for slug in (f"{way}{plan.large.suffix}" for way in DRIFT_ARMS) if slug in report.outcomes]


# ------------------------------------------------------------------------------------------- task


def _tables(report: StudyReport, plan: GazePlan) -> None:
    config = plan.config
    plain = _plain(plan)
    large = [base + plan.large.suffix for base in ("synthetic", "refined")]
    shown = not config.is_stand_in  # figures on the stand-in's pictures cannot be compared with MPIIGaze's
    source = "SimGAN"
    report.section("Share within 7 degrees (the paper's Table 2)")
    report.compare("table2", plain, measures=(SHARE,), published=TABLE_2 if shown and len(plan.sets) > 1 else None,
                   source=source)
    report.figure("figure7", error_curves(report.errors(plain), limit=25.0),
                  "Share of test pictures whose error is at most so many degrees (the paper's Figure 7), over all "
                  "models of an arm.", is_chart=True)
    report.section("Mean error (the paper's Table 3)")
    arms = ["knn", *large, *_spared(report, plan), *_adapted(plan), *(f"bound_{kind}" for kind in BOUNDS)]
    report.compare("table3", arms, published=_published(plan) if shown else None, source=source,
                   others=TABLE_3_OTHERS if shown else None,
                   caption="Below our arms: the paper's figures for models that learned from real images of "
                           "other people." if shown else "")
    report.text(adapted_words(config))
    _folds(report, plan)
    values = {_short(report[slug].arm.name): report[slug].values(ERROR) for slug in arms}
    report.figure("mean_error", bars(values, xlabel=ERROR.name, places=ERROR.places),
                  "Lower is better; dots are single models.", is_chart=True)
    if shown:
        report.text(differs(config))
    report.section("Differences and their intervals")
    chosen = [(f"synthetic{s}", f"refined{s}") for s in (x.suffix for x in plan.sets)]
    chosen += [(f"synthetic{plan.large.suffix}_{way}", f"refined{plan.large.suffix}_{way}") for way in ADAPTED]
    if len(plan.sets) > 1:
        chosen += [(base, base + plan.large.suffix) for base in ("synthetic", "refined")]
    chosen += [(base, f"{base}_{way}") for base in large for way in ADAPTED]
    if config.self_training:
        chosen += [(base, other) for base in (large[0], f"{large[0]}_prior")
                   for other in (f"{large[0]}_self", f"held{plan.large.suffix}")]
    chosen += [(large[1], slug) for slug in _spared(report, plan)]
    report.contrasts("differences", chosen, caption="By refiner: would another refiner show the difference? By CNN: "
                     "would another training? By picture: would other pictures of this set? Trust what all three show.")
    _good_crops(report, plan, [*large, *_adapted(plan)])


def _short(name: str) -> str:
    """Returns an arm's name, shortened to fit below a bar."""
    return name.removeprefix("4x ").replace("real, folds ", "real, ")


def _published(plan: GazePlan) -> dict[str, float]:
    """Returns Table 3 by our slugs; the user's own set takes the place of the large set."""
    return {slug.replace("_4x", plan.large.suffix): value for slug, value in TABLE_3.items()}


def _folds(report: StudyReport, plan: GazePlan) -> None:
    alike = {kind: read_json(plan.out / "folds" / kind / "folds.json")["nearest"] for kind in BOUNDS}
    report.text(f"The upper bound is cross-validated in {plan.config.folds} folds of the labelled pictures, twice. If "
                f"folds are blocks in the folder's order, a test picture's pixels correlate with those of the nearest "
                f"training picture by {alike['blocks']:.3f} (median); if similar pictures are kept in one fold, by "
                f"{alike['lookalikes']:.3f}. The first bound is too good if near-duplicates lie on both sides. The "
                "second is too strict, since whole regions of gaze and light are then unseen.")


def _good_crops(report: StudyReport, plan: GazePlan, arms: Sequence[str]) -> None:
    """Add the table without pictures that are marked as bad crops (closed eyes, brows), if any are marked."""
    folder = ImageFolder(plan.labelled)
    if "bad_crop" not in folder.labels or not folder.labels["bad_crop"].any():
        return
    good = ~folder.labels["bad_crop"].astype(bool)
    rows: list[list[Entry]] = []
    for slug in arms:
        errors = [read_errors(trial.evaluation / "errors.csv")[good] for trial in report[slug].arm.trials]
        rows.append([report[slug].arm.name, spread([e.mean() for e in errors]),
                     spread([100 * (e <= 7).mean() for e in errors])])
    report.table("good_crops", Table(["trained on", ERROR.name, SHARE.name], rows,
                                     f"Without the {int((~good).sum())} of {len(good)} pictures marked bad_crop: "
                                     "closed eyes and crops that show a brow."))
