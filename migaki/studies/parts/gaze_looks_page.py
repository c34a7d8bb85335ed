"""The second half of the gaze study's page: distances of looks, drift of labels, ablations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from migaki.core.files import read_json
from migaki.data.folder import ImageFolder
from migaki.judges.looks import ABOUT_DISTANCES, FEATURES
from migaki.lab.arms import difference_by, pairs
from migaki.lab.study_report import StudyReport
from migaki.report.sheets import sheet
from migaki.report.statistics import spread, trend_of
from migaki.report.tables import Entry, Rated, Table
from migaki.studies.parts.gaze_ablations import GROUPS
from migaki.studies.parts.gaze_plan import GazePlan
from migaki.studies.parts.gaze_recipe import ERROR, SHARE


def read_looks(plan: GazePlan, seeds: int) -> dict[str, list[dict[str, Any]]]:
    """Returns looks and drift by variant, one record per refiner."""
    found = {"synthetic": [read_json(plan.looks(None))],
             "refined": [read_json(plan.looks(seed)) for seed in range(seeds)]}
    for variant in plan.ablations:
        found[variant.slug] = [read_json(plan.looks(seed, variant.slug))
                               for seed in range(plan.config.ablation_seeds)]
    return found


def show_looks(report: StudyReport, looks: dict[str, list[dict[str, Any]]], called: str, *, is_held_out: bool) -> None:
    report.section("Looks and label drift")
    rows = [_looks_row("synthetic", looks["synthetic"]), _looks_row("refined", looks["refined"], looks["synthetic"])]
    report.table("looks", Table(_LOOKS, rows, f"Against {called}, over the refiners; lower is better. "
                                f"{ABOUT_DISTANCES} "
                                f"Features: {'; '.join(FEATURES.values())}. Change: mean absolute change of a pixel "
                                "in [0, 1]."))
    error = looks["synthetic"][0]["judge_error_deg"]
    which = "other synthetic eyes" if is_held_out else "the synthetic eyes, which it was trained on"
    report.text(f"Drift is the change of the gaze that a CNN predicts for an eye when the eye is refined. The CNN was "
                f"trained on synthetic eyes and is not the refiner's estimator; its own error is {error:.2f} "
                f"degrees on {which}. The part that differs from image to image is noise in the labels, and includes "
                "the CNN's reaction to a mere change of looks. The part that all images share (\"in common\") "
                "biases a model that is trained on them, even if it is small beside the CNN's own error.")


_TAIL = "95 %"
_LOOKS = ("images", "apart, %: pixels", "spectrum", "MMD²: pixels", "spectrum ", "drift, deg", _TAIL, "in common",
          "change")


def _looks_row(name: str, records: Sequence[dict[str, Any]], plain: Sequence[dict[str, Any]] = ()) -> list[Entry]:
    """Returns a row by `_LOOKS`; `plain` are the records of the unrefined images, the free baseline."""
    row: list[Entry] = [name]
    for figure in ("told_apart", "kid"):
        for feature in FEATURES:
            scale = 100 if figure == "told_apart" else 1
            value, *before = (spread([scale * record[feature][figure] for record in some])
                              for some in (records, plain) if some)
            row.append(Rated(value=value, trend=trend_of(before[0].mean, value.mean, higher_is_better=False))
                       if before else value)
    if "drift" not in records[0]:
        return [*row, None, None, None, None]
    return [*row, *(spread([r["drift"][key] for r in records]) for key in ("mean_deg", "p95_deg", "common_deg")),
            spread([r["change"] for r in records])]


# ------------------------------------------------------------------------------------------- ablations


def show_ablations(report: StudyReport, plan: GazePlan, looks: dict[str, list[dict[str, Any]]]) -> None:
    report.section("One change at a time")
    report.text(f"Every refiner below differs from the default one in one thing and had the same budget: as many "
                f"gradient steps of both networks together, without pre-training. Refiners each: "
                f"{plan.config.ablation_seeds}; CNNs of {plan.config.ablation_cnn_steps} updates for each refiner, on "
                f"the small set: {plan.config.ablation_cnn_seeds}. The pictures are the first refiner's.")
    for group, title in GROUPS.items():
        variants = [variant for variant in plan.ablations if variant.group == group]
        if not variants:
            continue
        rows = [_ablation_row(report, plan, "default", "ablation_default", looks["refined"])]
        rows += [_ablation_row(report, plan, v.name, f"ablation_{v.slug}", looks[v.slug]) for v in variants]
        columns = ["refiner", "rounds", *([] if not report.outcomes else [ERROR.name, SHARE.name,
                                                                          "against the default"]),
                   *(name for name in _LOOKS[1:] if name != _TAIL)]
        report.table(f"ablation_{group}", Table(columns, rows, title))
        pictures = [("default", plan.refined(plan.sets[0], 0))]
        pictures += [(v.name, plan.refined(plan.sets[0], 0, v.slug)) for v in variants]
        report.figure(f"ablation_{group}", _strip(plan.sets[0].folder, pictures), f"{title}: the first eight eyes.")


def _ablation_row(report: StudyReport, plan: GazePlan, name: str, slug: str,
                  records: Sequence[dict[str, Any]]) -> list[Entry]:
    is_default = slug == "ablation_default"
    rounds = plan.config.rounds if is_default else next(
        v.config.steps for v in plan.ablations if f"ablation_{v.slug}" == slug)
    row: list[Entry] = [name, rounds]
    if report.outcomes:
        outcome = report[slug]
        factor = 0 if plan.config.ablation_seeds > 1 or plan.config.ablation_cnn_seeds == 1 else 1
        gap = None if is_default else difference_by(factor, pairs(report["ablation_default"], outcome, ERROR))
        row += [outcome.spread(ERROR), outcome.spread(SHARE), gap and gap.judged(higher_is_better=False)]
    # Without the tail of the drift, so that the table fits the page.
    return row + [cell for column, cell in zip(_LOOKS, _looks_row(name, records), strict=True) if column != _TAIL][1:]


def _strip(synthetic: Path, refined: Sequence[tuple[str, Path]], count: int = 8) -> bytes:
    """Returns the first images as rendered and as refined by each refiner."""

    def read(folder: Path) -> torch.Tensor:
        return ImageFolder(folder).read(range(count), ("image",))["image"]

    return sheet([("rendered", read(synthetic)), *((name, read(folder)) for name, folder in refined)])
