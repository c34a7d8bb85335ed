"""What the page of the gaze study says: cards, verdict, Tables 2 and 3, Figure 7, looks, ablations, protocol."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from migaki.core.files import read_json
from migaki.data.folder import ImageFolder
from migaki.judges.looks import FEATURES, TOLD
from migaki.lab.arms import Measure, Outcome, difference_by, pairs
from migaki.lab.pictures import show_before_after, show_training
from migaki.lab.study_report import StudyReport
from migaki.report.evaluation import read_errors
from migaki.report.figures import bars, error_curves
from migaki.report.page import Number
from migaki.report.sheets import sheet
from migaki.report.tables import Cell, Difference, Spread, Table, spread
from migaki.studies.gaze_ablations import GROUPS
from migaki.studies.gaze_recipe import GazeRecipe
from migaki.studies.gaze_road import ADAPTED, BOUNDS, DRIFT_ARMS, GazeRoad
from migaki.studies.gaze_words import adapted_words, differs, protocol

TABLE_2 = {"synthetic": 62.3, "synthetic_4x": 64.9, "refined": 69.4, "refined_4x": 87.2}
"""Share of MPIIGaze's test images within 7 degrees, per cent: Shrivastava et al., CVPR 2017, Table 2."""

TABLE_3 = {"knn": 9.9, "synthetic_4x": 11.2, "refined_4x": 7.8}
"""Mean error on MPIIGaze, degrees: the same, Table 3."""

TABLE_3_OTHERS = {"SVR (real)": 16.5, "ALR (real)": 16.4, "k-NN, UT-Multiview (real)": 16.2,
                  "random forest (real)": 15.4, "CNN, UT-Multiview (real)": 13.9}
"""The other rows of Table 3, trained on real images of other people."""

_SHARE = Measure(key="within_7_deg", name="within 7 deg, %", scale=100, higher_is_better=True)
_ERROR = Measure(key="mean_deg", name="mean error, deg")


def tell_gaze(report: StudyReport, config: GazeRecipe) -> None:
    """Compose the page."""
    road = GazeRoad(config, report.out)
    looks = _read_looks(road, config.refiner_seeds)
    called = "the stand-in camera's pictures" if config.is_stand_in else "the photographs"
    report.numbers(_cards(report, road, looks))
    report.text(_verdict(report, road) if config.is_judged else
                "There are no labelled pictures (--data), and without labels an error cannot be measured. The "
                "distances and drifts below say whether the refined eyes look like the photographs and whether their "
                "labels stayed where they were, not whether a model trained on them sees better.")
    report.section("Before and after")
    picture = show_before_after(report.page, road.large.folder, road.refined(road.large, 0), road.photos, called)
    report.keep("before_after", picture)
    if config.is_judged:
        _tables(report, road)
    _show_looks(report, looks, called, is_held_out=road.check != road.large.folder)
    if road.ablations:
        _show_ablations(report, road, looks)
    report.section("How the first refiner's training went")
    show_training(report.page, road.refiner(0))
    report.section("Who saw what")
    report.text(protocol(config, len(ImageFolder(road.photos)),
                         len(ImageFolder(road.labelled)) if config.is_judged else 0))


# ------------------------------------------------------------------------------------------- head


def _cards(report: StudyReport, road: GazeRoad, looks: dict[str, list[dict[str, Any]]]) -> list[Number]:
    cards = []
    wanted = {"synthetic": "trained on synthetic", "refined": "trained on refined"}
    for base, title in wanted.items():
        slug = base + road.large.suffix
        if slug in report.outcomes:
            cards.append(Number(title, f"{report[slug].mean(_ERROR):.1f}°", "mean error"))
    # Fixed beforehand: the best of all would be one picked by the test's labels.
    adapted = f"synthetic{road.large.suffix}_{'self' if road.config.self_training else 'prior'}"
    if adapted in report.outcomes:
        cards.append(Number("adapted to photos", f"{report[adapted].mean(_ERROR):.1f}°", report[adapted].arm.name))
    bounds = [report[f"bound_{kind}"].mean(_ERROR) for kind in BOUNDS if f"bound_{kind}" in report.outcomes]
    if bounds:
        low, high = sorted((min(bounds), max(bounds)))
        cards.append(Number("trained on real labels", f"{low:.1f}° to {high:.1f}°", "cross-validated"))
    told = [np.mean([row["spectrum"]["told_apart"] for row in looks[key]]) for key in ("synthetic", "refined")]
    cards.append(Number("told from photos", f"{told[0]:.0%} → {told[1]:.0%}", "by their spectrum, 50 % is chance"))
    minutes = sum(t.seconds for t in report.timings) / 60
    return [*cards, Number("the whole road", f"{minutes:.0f} min", f"on {os.cpu_count()} cores")]


def _verdict(report: StudyReport, road: GazeRoad) -> str:
    """What the numbers say about refining, in words, whatever they say."""
    first, other = (report[base + road.large.suffix] for base in ("synthetic", "refined"))
    said = _said("Refining", first, other, report.factors)
    without = ["knn", *_plain(road), *_spared(report, road), *_adapted(road)]
    best = min((report[slug] for slug in without), key=lambda outcome: outcome.mean(_ERROR))
    if best in (first, other):
        return said
    return (f"{said} Of all arms without real labels, '{best.arm.name}' came out best with "
            f"{best.mean(_ERROR):.2f} degrees, which is known by the test's labels alone.")


def _said(what: str, first: Outcome, other: Outcome, factors: Sequence[str]) -> str:
    found = pairs(first, other, _ERROR)
    numbers = f"from {first.mean(_ERROR):.2f} to {other.mean(_ERROR):.2f} degrees"
    intervals = [gap for k in range(len(factors)) if (gap := difference_by(k, found)) is not None]
    known = [(gap.t_low, gap.t_high) for gap in intervals if gap.t_low is not None and gap.t_high is not None]
    if not known:
        return f"{what} took the mean error {numbers}: one seed, which proves nothing."
    fixed = [name for k, name in enumerate(factors) if (gap := difference_by(k, found)) is None or gap.t_low is None]
    sure = f", though with one {' and one '.join(fixed)} seed only: another might say otherwise." if fixed else \
        ", whichever seeds are drawn."
    if all(high < 0 for _, high in known):
        return f"{what} helped: the mean error fell {numbers}{sure}"
    if all(low > 0 for low, _ in known):
        return f"{what} did harm: the mean error rose {numbers}{sure}"
    return f"{what} made no difference that can be told from chance: the mean error went {numbers}."


def _adapted(road: GazeRoad) -> list[str]:
    suffix = road.large.suffix
    taught = [f"synthetic{suffix}_self", f"held{suffix}"] if road.config.self_training else []
    return [f"{base}{suffix}_{way}" for base in ("synthetic", "refined") for way in ADAPTED] + taught


def _plain(road: GazeRoad) -> list[str]:
    """The arms that are trained on a set as it is."""
    return [base + chosen.suffix for base in ("synthetic", "refined") for chosen in road.sets]


def _spared(report: StudyReport, road: GazeRoad) -> list[str]:
    """The arms that are spared labels that have moved; none where nothing was left of a set."""
    return [slug for slug in (f"{way}{road.large.suffix}" for way in DRIFT_ARMS) if slug in report.outcomes]


# ------------------------------------------------------------------------------------------- task


def _tables(report: StudyReport, road: GazeRoad) -> None:
    config = road.config
    plain = _plain(road)
    large = [base + road.large.suffix for base in ("synthetic", "refined")]
    shown = not config.is_stand_in  # the stand-in's figures have nothing to do with MPIIGaze's
    source = "SimGAN"
    report.section("Share within 7 degrees (the paper's Table 2)")
    report.compare("table2", plain, measures=(_SHARE,), published=TABLE_2 if shown and len(road.sets) > 1 else None,
                   source=source, caption="Mean ± standard deviation over all models of an arm.")
    report.figure("figure7", error_curves(report.errors(plain), limit=25.0),
                  "Share of test pictures whose error is at most so many degrees (the paper's Figure 7); each "
                  "picture's error is averaged over the models of the arm.")
    report.section("Mean error (the paper's Table 3)")
    arms = ["knn", *large, *_spared(report, road), *_adapted(road), *(f"bound_{kind}" for kind in BOUNDS)]
    report.compare("table3", arms, published=_published(road) if shown else None, source=source,
                   others=TABLE_3_OTHERS if shown else None,
                   caption="Below our arms: what the paper prints for models that learned from real images of "
                           "other people." if shown else "")
    report.text(adapted_words(config))
    _folds(report, road)
    report.figure("mean_error", bars({_short(report[slug].arm.name): report[slug].values(_ERROR) for slug in arms},
                                     ylabel="mean error in degrees"), "Lower is better; dots are single models.")
    if shown:
        report.text(differs(config))
    report.section("Differences and their intervals")
    chosen = [(f"synthetic{s}", f"refined{s}") for s in (x.suffix for x in road.sets)]
    chosen += [(f"synthetic{road.large.suffix}_{way}", f"refined{road.large.suffix}_{way}") for way in ADAPTED]
    if len(road.sets) > 1:
        chosen += [(base, base + road.large.suffix) for base in ("synthetic", "refined")]
    chosen += [(base, f"{base}_{way}") for base in large for way in ADAPTED]
    if config.self_training:
        chosen += [(base, other) for base in (large[0], f"{large[0]}_prior")
                   for other in (f"{large[0]}_self", f"held{road.large.suffix}")]
    chosen += [(large[1], slug) for slug in _spared(report, road)]
    report.contrasts("differences", chosen, caption="By refiner: would another refiner do it again? By CNN: another "
                     "training? By picture: would other pictures of this set show it? Believe what all three say.")
    _good_crops(report, road, [*large, *_adapted(road)])


def _short(name: str) -> str:
    """An arm's name that fits below a bar."""
    return name.removeprefix("4x ").replace("real, folds ", "real, ")


def _published(road: GazeRoad) -> dict[str, float]:
    """Table 3 by our slugs; the user's own set stands where the large set stands."""
    return {slug.replace("_4x", road.large.suffix): value for slug, value in TABLE_3.items()}


def _folds(report: StudyReport, road: GazeRoad) -> None:
    alike = {kind: read_json(road.out / "folds" / kind / "folds.json")["nearest"] for kind in BOUNDS}
    report.text(f"The upper bound is cross-validated in {road.config.folds} folds of the labelled pictures, twice. If "
                f"folds are blocks in the folder's order, a test picture's pixels correlate with those of the nearest "
                f"training picture by {alike['blocks']:.3f} (median); if similar pictures are kept in one fold, by "
                f"{alike['lookalikes']:.3f}. The first flatters the bound where near-duplicates lie on both sides, the "
                "second is hard on it, since whole regions of gaze and light are then unseen: the truth lies between.")


def _good_crops(report: StudyReport, road: GazeRoad, arms: Sequence[str]) -> None:
    """Without pictures that are marked as bad crops (closed eyes, brows), where they are."""
    folder = ImageFolder(road.labelled)
    if "bad_crop" not in folder.labels or not folder.labels["bad_crop"].any():
        return
    good = ~folder.labels["bad_crop"].astype(bool)
    rows: list[list[Cell | Spread | Difference]] = []
    for slug in arms:
        errors = [read_errors(trial.evaluation / "errors.csv")[good] for trial in report[slug].arm.trials]
        rows.append([report[slug].arm.name, spread([e.mean() for e in errors]),
                     spread([100 * (e <= 7).mean() for e in errors])])
    report.table("good_crops", Table(["trained on", _ERROR.name, _SHARE.name], rows,
                                     f"Without the {int((~good).sum())} of {len(good)} pictures marked bad_crop: "
                                     "closed eyes and crops that show a brow."))


# ------------------------------------------------------------------------------------------- looks


def _read_looks(road: GazeRoad, seeds: int) -> dict[str, list[dict[str, Any]]]:
    """Looks and drift by variant, one record a refiner."""
    found = {"synthetic": [read_json(road.looks(None))],
             "refined": [read_json(road.looks(seed)) for seed in range(seeds)]}
    for variant in road.ablations:
        found[variant.slug] = [read_json(road.looks(seed, variant.slug))
                               for seed in range(road.config.ablation_seeds)]
    return found


def _show_looks(report: StudyReport, looks: dict[str, list[dict[str, Any]]], called: str, *, is_held_out: bool) -> None:
    report.section("Do they look alike, and did the labels stay?")
    rows = [_looks_row(name, looks[key]) for key, name in (("synthetic", "synthetic"), ("refined", "refined"))]
    report.table("looks", Table(_LOOKS, rows, f"Against {called}; mean ± standard deviation over refiners. {TOLD} "
                                f"Features: {'; '.join(FEATURES.values())}. Change: mean absolute change of a pixel "
                                "in [0, 1]."))
    error = looks["synthetic"][0]["judge_error_deg"]
    which = "other synthetic eyes" if is_held_out else "the synthetic eyes, which it was trained on"
    report.text(f"Drift is how far the gaze that a CNN reads off an eye moves when the eye is refined. The CNN was "
                f"trained on synthetic eyes and is not the one that held the labels; it errs itself by {error:.2f} "
                f"degrees on {which}. What differs from image to image is noise in the labels, and what the CNN would "
                "read as moved for a mere change of looks is in it. What all images move in common (\"in common\") "
                "misleads a model that is trained on them, however small it is beside the CNN's own error.")


_TAIL = "95 %"
_LOOKS = ("images", "apart: pixels", "spectrum", "MMD²: pixels", "spectrum ", "drift, deg", _TAIL, "in common",
          "change")


def _looks_row(name: str, records: Sequence[dict[str, Any]]) -> list[Cell | Spread | Difference]:
    row: list[Cell | Spread | Difference] = [name]
    row += [spread([record[f][figure] for record in records]) for figure in ("told_apart", "kid") for f in FEATURES]
    if "drift" not in records[0]:
        return [*row, None, None, None, None]
    return [*row, *(spread([r["drift"][key] for r in records]) for key in ("mean_deg", "p95_deg", "common_deg")),
            spread([r["change"] for r in records])]


# ------------------------------------------------------------------------------------------- ablations


def _show_ablations(report: StudyReport, road: GazeRoad, looks: dict[str, list[dict[str, Any]]]) -> None:
    report.section("One change at a time")
    report.text(f"Every refiner below differs from the default one in one thing and had the same budget: as many "
                f"gradient steps of both networks together, pre-training aside. Refiners each: "
                f"{road.config.ablation_seeds}; CNNs of {road.config.ablation_cnn_steps} updates for each refiner, on "
                f"the small set: {road.config.ablation_cnn_seeds}. In the pictures the first refiner's.")
    default = Measure(key="mean_deg", name="error, deg")
    for group, title in GROUPS.items():
        variants = [variant for variant in road.ablations if variant.group == group]
        if not variants:
            continue
        rows = [_ablation_row(report, road, "default", "ablation_default", looks["refined"], default)]
        rows += [_ablation_row(report, road, v.name, f"ablation_{v.slug}", looks[v.slug], default) for v in variants]
        columns = ["refiner", "rounds", *([] if not report.outcomes else [_ERROR.name, _SHARE.name,
                                                                          "against the default"]),
                   *(name for name in _LOOKS[1:] if name != _TAIL)]
        report.table(f"ablation_{group}", Table(columns, rows, title))
        pictures = [("default", road.refined(road.sets[0], 0))]
        pictures += [(v.name, road.refined(road.sets[0], 0, v.slug)) for v in variants]
        report.figure(f"ablation_{group}", _strip(road.sets[0].folder, pictures), f"{title}: the first eight eyes.")


def _ablation_row(report: StudyReport, road: GazeRoad, name: str, slug: str, records: Sequence[dict[str, Any]],
                  measure: Measure) -> list[Cell | Spread | Difference]:
    is_default = slug == "ablation_default"
    rounds = road.config.rounds if is_default else next(
        v.config.steps for v in road.ablations if f"ablation_{v.slug}" == slug)
    row: list[Cell | Spread | Difference] = [name, rounds]
    if report.outcomes:
        outcome = report[slug]
        factor = 0 if road.config.ablation_seeds > 1 or road.config.ablation_cnn_seeds == 1 else 1
        row += [spread(outcome.values(measure)), spread(outcome.values(_SHARE)),
                None if is_default else difference_by(factor, pairs(report["ablation_default"], outcome, measure))]
    # Without the tail of the drift, so that the table fits the page.
    return row + [cell for column, cell in zip(_LOOKS, _looks_row(name, records), strict=True) if column != _TAIL][1:]


def _strip(synthetic: Path, refined: Sequence[tuple[str, Path]], count: int = 8) -> bytes:
    """The first images as rendered and as each refiner makes them."""

    def read(folder: Path) -> torch.Tensor:
        return ImageFolder(folder).read(range(count), ("image",))["image"]

    return sheet([("rendered", read(synthetic)), *((name, read(folder)) for name, folder in refined)])
