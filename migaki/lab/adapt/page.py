"""The page of an adaptation, and its decision as JSON: the verdict first, then pictures, one table, the rest folded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from migaki import __version__
from migaki.core.config import to_dict
from migaki.core.files import write_json
from migaki.data.folder import ImageFolder
from migaki.lab.adapt import choice
from migaki.lab.adapt.by_picture import with_rights
from migaki.lab.adapt.found import show_found, show_gap
from migaki.lab.adapt.leave import chosen_folder, write_script
from migaki.lab.adapt.making import BOUND, worths
from migaki.lab.adapt.recipes import Recipe, model_folder
from migaki.lab.adapt.state import Adaptation
from migaki.lab.adapt.verdict import Verdict, judge
from migaki.lab.arms import Arm, Measure, Outcome, Trial, read_outcomes
from migaki.lab.pictures import mosaic
from migaki.lab.study import results
from migaki.lab.study_report import StudyReport
from migaki.report.page import Number
from migaki.report.sheets import image_png
from migaki.report.statistics import trend_of
from migaki.report.tables import Entry, Rated, Table

_MEASURES = {
    "accuracy": Measure(key="accuracy", name="accuracy, %", scale=100, higher_is_better=True, places=1),
    "mean_deg": Measure(key="mean_deg", name="mean error, deg"),
    "mean_px": Measure(key="mean_px", name="mean error, px"),
    "ap50": Measure(key="ap50", name="average precision at an overlap of 0.5, %", scale=100, higher_is_better=True,
                    places=1),
    "miou": Measure(key="miou", name="mean overlap, %", scale=100, higher_is_better=True, places=1),
    "mean_average_precision": Measure(key="mean_average_precision", name="mean average precision, %", scale=100,
                                      higher_is_better=True, places=1),
}


def measure_of(work: Adaptation) -> Measure:
    """Returns the main figure of the task and how it is shown."""
    metric = work.metric
    column, unit = metric.main.removesuffix("_mae"), ""
    if column != metric.main:
        unit = getattr(metric, "units", {}).get(column, "")
        return Measure(key=metric.main, name=f"mean error of {column}{', ' + unit if unit else ''}")
    return _MEASURES.get(metric.main) or Measure(key=metric.main, name=metric.main.replace("_", " "),
                                                 higher_is_better=metric.higher_is_better)


TITLE = "What the photographs ask for"


def write(work: Adaptation, title: str = TITLE) -> Path:
    """Write `decision.json`, `results.json`, `infer.py` and `report.html`; returns the path of the page."""
    measure, out = measure_of(work), work.out
    outcomes = with_rights(read_outcomes(_arms(work)), out / "by_picture" / "right.json")
    found = judge(work, outcomes, measure)
    write_json(out / "decision.json", _decision(work, outcomes, found, measure))
    write_json(out / "results.json", results(("seed",), list(outcomes.values())))
    if (out / "onnx" / "model.onnx").exists():
        write_script(out / "model", out)
    report = StudyReport(out, title, _subtitle(work), factors=("seed",), measures=(measure,),
                         outcomes=outcomes, timings=work.timings)
    report.text(found.text)
    report.numbers(_cards(work, report, found, measure))
    _pictures(work, report)
    _table(work, report, measure)
    report.section("What was found", is_folded=True)
    show_found(work, report)
    show_gap(work, report)
    report.section("How it was chosen", is_folded=True)
    report.text(f"The arm was chosen {choice.BY_AGREEMENT if work.is_blind else choice.BY_LABELS}")
    report.table("scores", _scores_table(work, measure))
    _left_out(work, report)
    return report.write()


def _subtitle(work: Adaptation) -> str:
    sets = work.sets
    real = f", {len(sets.real):,} others with labels" if sets.real is not None else ""
    return f"{len(sets.simulated):,} simulated pictures that teach {sets.task.about}, {len(sets.photos):,} " \
           f"photographs{real}: what brings one to the other."


def _arms(work: Adaptation) -> list[Arm]:
    """Returns the arms with their evaluations: on real labels where there are some, else on held-out simulated ones."""
    assert work.plan is not None
    part = "test" if work.has_real else "held_out"

    def arm(slug: str, name: str, saw: str) -> Arm:
        return Arm(name=name, slug=slug, saw=saw, trials=tuple(
            Trial(seeds=(work.options.seed + number,), evaluation=model_folder(work.out, slug, number) / part)
            for number in range(work.plan.seeds if work.plan is not None else 0)))

    found = [arm(one.slug, one.name, one.saw) for one in work.arms]
    if work.options.is_halved:
        total = len(ImageFolder(work.out / "first"))
        found += [arm(f"{BOUND}_{count}", f"the same and {count} real labels", f"{count} labels")
                  for count in worths(work, total)]
        found.append(arm(BOUND, f"{total} real labels alone (upper bound)", f"{total} labels"))
    return found


def _cards(work: Adaptation, report: StudyReport, found: Verdict, measure: Measure) -> list[Number]:
    assert work.chosen is not None
    start, best = report[work.arms[0].slug], report[work.chosen.slug]
    where = "on real photographs" if work.has_real else "on held-out simulated pictures"
    cards = [Number(start.arm.name, measure.text(start.spread(measure)), f"{measure.noun} {where}")]
    trend = trend_of(start.spread(measure).mean, best.spread(measure).mean, measure.higher_is_better)
    if best is not start:
        cards.append(Number(best.arm.name, measure.text(best.spread(measure)), "chosen",
                            trend if work.has_real else None))
    cards.append(Number("agreement about the photographs", f"{work.chosen.agreement:.1%}",
                        "of the chosen arm's models, beyond chance"))
    return [*cards, *report.free_cards(start.arm.slug, measure), report.time_card()]


def _pictures(work: Adaptation, report: StudyReport) -> None:
    """Show simulated pictures beside what the chosen arm learned from, and photographs."""
    assert work.chosen is not None
    report.section("Pictures")
    folder = work.out / chosen_folder(work) if chosen_folder(work) != "simulated" else None
    first = ImageFolder(work.out / "simulated")
    columns = 4 if first.shape[2] > 32 else 10
    count = min(len(first), 3 * columns)

    def show(path: Path, *, spaced: bool = False) -> bytes:
        one = ImageFolder(path)
        places = np.linspace(0, len(one) - 1, min(count, len(one))).round().astype(int) if spaced else range(count)
        return image_png(mosaic(one.read(list(map(int, places)), ("image",))["image"], columns), min_side=320)

    pictures = show(work.out / "simulated"), show(folder or work.out / "photos", spaced=folder is None)
    names = ("simulated", folder.name if folder else "photographs")
    caption = "The first pictures, none picked. Click to enlarge; an arrow key then puts the other one in the same " \
              "place."
    report.page.pair(*pictures, caption, names=names)
    report.keep("simulated", pictures[0])
    report.keep(names[1], pictures[1])
    if folder:
        report.figure("photographs", show(work.out / "photos", spaced=True), "Photographs, evenly spaced.")


def _table(work: Adaptation, report: StudyReport, measure: Measure) -> None:
    assert work.chosen is not None
    report.section("All arms")
    slugs = list(report.outcomes)
    caption = "" if work.has_real else "On held-out simulated pictures: without real labels nobody can say how good " \
                                       "a model is on photographs."
    chosen = f"Chosen: {work.recipe(work.chosen.slug).name}."
    report.compare("arms", slugs, caption=f"{chosen} {caption}".strip())
    if work.has_real and len(work.arms) > 1:
        report.section("Differences", is_folded=True)
        report.differences("differences", work.arms[0].slug, [arm.slug for arm in work.arms[1:]])


def _scores_table(work: Adaptation, measure: Measure) -> Table:
    assert work.chosen is not None
    rows: list[list[Entry]] = []
    for one in work.scores:
        is_chosen = one.slug == work.chosen.slug
        agreement: Entry = Rated(value=100 * one.agreement, trend="better", word="chosen") if is_chosen else \
            100 * one.agreement
        rows.append([work.recipe(one.slug).name, agreement, measure.scale * one.held_out,
                     None if one.first is None else measure.scale * one.first, one.is_out or None])
    return Table(["arm", "agreement about the photographs, %", f"held-out simulated: {measure.name}",
                  f"first half of the labelled: {measure.name}", "out"], rows)


def _left_out(work: Adaptation, report: StudyReport) -> None:
    assert work.plan is not None
    lines = [f"{work.names.get(slug, slug)}: {why}." for slug, why in work.rejected.items()]
    if text := work.plan.left_out_text(work.names):
        lines.append(f"The budget of {work.options.budget} did not allow: {text}. The same command with a larger "
                     "--budget adds them.")
    lines += dict.fromkeys(work.left_out.values())
    if lines:
        report.section("Left out")
        report.text("\n\n".join(lines))


def _decision(work: Adaptation, outcomes: dict[str, Outcome], found: Verdict, measure: Measure) -> dict[str, Any]:
    assert work.chosen is not None and work.plan is not None
    chosen: Recipe = work.recipe(work.chosen.slug)
    return {
        "verdict": found.text, "helped": found.helped, "chosen": chosen.slug, "name": chosen.name,
        "rule": choice.BY_AGREEMENT if work.is_blind else choice.BY_LABELS, "measure": measure.key,
        "higher_is_better": measure.higher_is_better, "judged_on": "test" if work.has_real else "held_out",
        "regret": found.regret, "without_labels": choice.by_agreement(work.scores).slug,
        "task": work.sets.task.name, "size": list(work.sets.size), "channels": work.sets.channels,
        "unknown_classes": list(work.sets.unknown),
        "arms": [{"slug": one.slug, "name": work.recipe(one.slug).name, "agreement": one.agreement,
                  "held_out": one.held_out, "first": one.first, "out": one.is_out, **(one.more or {}),
                  "values": outcomes[one.slug].values(measure)} for one in work.scores],
        "left_out": work.plan.left_out, "rejected": work.rejected, "options": to_dict(work.options),
        "commands": [timing.command for timing in work.timings], "version": __version__,
    }
