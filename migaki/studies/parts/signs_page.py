"""The page of the signs study: accuracies, what each step is worth, observers, drift, the blind choice, pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from migaki.core.files import read_json
from migaki.data.folder import ImageFolder
from migaki.judges.looks import ABOUT_CNN, OBSERVERS
from migaki.judges.observers import verdicts
from migaki.lab.pictures import show_training
from migaki.lab.study_report import StudyReport
from migaki.lab.verdict import verdict
from migaki.report.page import Number
from migaki.report.sheets import sheet
from migaki.report.statistics import trend_of
from migaki.report.tables import Entry, Rated, Table
from migaki.studies.parts.signs_steps import UNREFINED, regrets

_SHOWN = 10
_AUG, _SELF = "_aug", "_self"
_STEPS = (("drawn", "matched"), ("matched", "camera"), ("drawn", "simgan_drawn"), ("matched", "simgan_matched"))
"""Pairs of sets whose difference is what a step is worth."""

_PROTOCOL = """\
{count:,} signs of {classes} classes were drawn at {size} px. Matching, refiners and self-training saw the photographs \
of {photos} without labels, also those of signs that are not drawn, but for {copies} that are also among the labelled \
ones, pixel for pixel. Models are judged on {judged:,} photographs of \
{labelled}, those of the drawn classes, whose labels nothing else has read. Every classifier took {steps} updates of \
{batch} pictures, self-training as many, with as many photographs beside them; the last weights are judged. There are \
{refiners} refiners of each kind and {models} models of each set and way. Observers and drift look at up to \
{pictures} pictures of a set; the observers' photographs are those that judge, their labels unread. Drift is the share \
of drawn signs that an estimator, trained on drawn and matched signs with augmentation, reads as another class after \
refining: it includes pictures that have become unreadable."""


def compose_signs(report: StudyReport, config: Any, sets: Mapping[str, str]) -> None:
    """Compose the page; `config` is that of `studies.signs`, `sets` the names of its sets by slug."""
    arms = [f"{slug}{way}" for way in ("", _AUG, _SELF) for slug in sets if f"{slug}{way}" in report.outcomes]
    choices = _choices(report, config, sets)
    report.numbers(_cards(report, arms, choices))
    report.text(_summary(report, sets))
    report.section("Accuracy on photographs")
    report.compare("signs", arms)
    pairs = [(f"{one}{way}", f"{other}{way}") for way in ("", _AUG, _SELF) for one, other in _STEPS
             if f"{one}{way}" in arms and f"{other}{way}" in arms]
    pairs += [(f"{slug}{one}", f"{slug}{other}") for one, other in (("", _AUG), (_AUG, _SELF)) for slug in sets
              if f"{slug}{other}" in arms]
    report.contrasts("signs_differences", pairs, caption=_few(config))
    report.section("Told from photographs")
    _observers(report, config, sets)
    report.section("Label drift")
    report.table("drift", _drift(report.out, config, sets))
    report.section("The choice without labels")
    report.text(f"For each refiner of a kind: of the sets in which at most {config.tolerance:g} % of the classes flip "
                "beyond those that flip by matching, which cannot move a label, the one that the observers tell worst "
                "from photographs on average; within one standard error the one with the least drift.")
    report.table("choice", _choice_table(config, choices, sets))
    report.section("Pictures")
    _pictures(report, config, sets)
    refined = [slug for slug in sets if slug.startswith("simgan")]
    if refined:
        report.section(f"Training of {sets[refined[-1]]}")
        show_training(report.page, report.out / f"{refined[-1]}_refiner_0")
    report.section("Which data each model saw", is_folded=True)
    report.text(_PROTOCOL.format(
        copies=read_json(report.out / "photos" / "dataset.json").get("copies_left_out", 0),
        count=config.count, classes=len(config.classes), size=config.size, photos=config.photos,
        labelled=config.labelled, judged=len(ImageFolder(report.out / "judged")), steps=config.steps,
        batch=config.batch_size, refiners=config.refiners, models=config.models, pictures=config.pictures))


def _few(config: Any) -> str:
    few = [name for name, count in (("refiner", config.refiners), ("model", config.models)) if count < 3]
    return f"Fewer than three of a {' and a '.join(few)}: no interval for it." if few else ""


def _cards(report: StudyReport, arms: Sequence[str], choices: Sequence[dict[str, Any]]) -> list[Number]:
    measure = report.measures[0]
    first = report[arms[0]].spread(measure)
    shown = [slug for slug in ("drawn", f"drawn{_AUG}", "matched", f"simgan_matched{_AUG}",
                               f"matched{_SELF}", f"simgan_matched{_SELF}") if slug in arms]
    cards = [Number(report[slug].arm.name, measure.text(report[slug].spread(measure)),
                    "" if slug == arms[0] else f"{report[arms[0]].arm.name}: {measure.text(first)}",
                    trend_of(first.mean, report[slug].spread(measure).mean, measure.higher_is_better)
                    if slug != arms[0] else None) for slug in shown]
    cards += report.free_cards(arms[0], measure)
    if choices:
        regret = float(np.mean([one["regret"] for one in choices]))
        cards.append(Number("regret of the blind choice", f"{regret:.1f} points", "against the best set by labels"))
    return [*cards, report.time_card()]


def _summary(report: StudyReport, sets: Mapping[str, str]) -> str:
    """Returns what each step is worth, in words, be it good or bad."""
    measure, said = report.measures[0], []
    for one, other, what in (("drawn", "matched", "Matching"), ("matched", "simgan_matched", "SimGAN after matching"),
                             ("drawn", f"drawn{_AUG}", "Augmentation of drawn signs"),
                             ("matched", f"matched{_AUG}", "Augmentation of matched signs"),
                             (f"matched{_AUG}", f"simgan_matched{_AUG}", "SimGAN after matching, augmented,"),
                             (f"matched{_AUG}", f"matched{_SELF}", "Self-training from matched signs"),
                             (f"matched{_SELF}", f"simgan_matched{_SELF}", "SimGAN before self-training")):
        if one in report.outcomes and other in report.outcomes:
            said.append(verdict(what, report[one], report[other], measure, report.factors))
    return "\n\n".join(said)


def _seeds(slug: str, config: Any) -> list[str]:
    """Returns the names of a set's folders, one for each refiner."""
    return [slug] if slug in ("drawn", "matched") else [f"{slug}_{k}" for k in range(config.refiners)]


def _observers(report: StudyReport, config: Any, sets: Mapping[str, str]) -> None:
    """Add the table of observers, each with photographs against photographs and the unrefined set beside."""
    found = {slug: [read_json(report.out / "observed" / name / "observers.json") for name in _seeds(slug, config)]
             for slug in dict.fromkeys(("drawn", "matched", *sets))}
    halves = read_json(report.out / "observed" / "halves" / "observers.json")
    names = [name for name in OBSERVERS if name in found["drawn"][0]]
    rows: list[list[Entry]] = []
    for slug, each in found.items():
        row: list[Entry] = [sets.get(slug, slug)]
        for name in names:
            value, first = _mean(each, name), _mean(found["drawn"], name)
            row.append(value if slug == "drawn" else Rated(value=value, trend=trend_of(first, value, False)))
        rows.append(row)
    rows.append(["photographs against photographs", *(100 * halves[name]["told_apart"] if name in halves else None
                                                      for name in names)])
    report.table("told_apart", Table(["set", *(f"{OBSERVERS[name]}, %" for name in names)], rows,
                                     f"Accuracy of observers that tell a set from photographs, 50 % is chance; the "
                                     f"mean over the refiners. Better and worse: against drawn. {ABOUT_CNN}"))
    for slug, each in found.items():
        if slug in ("drawn", "matched"):
            continue
        for k, one in enumerate(each):
            lines = verdicts(found["drawn"][0], one, {name: OBSERVERS[name] for name in names if name in one})
            if lines[0].startswith("Easier"):
                report.page.warning(" ".join(lines), f"{sets[slug]}, refiner {config.seed + k}")


def _mean(each: Sequence[dict[str, Any]], name: str) -> float:
    return 100 * float(np.mean([one[name]["told_apart"] for one in each]))


def _drift(out: Path, config: Any, sets: Mapping[str, str]) -> Table:
    rows: list[list[Entry]] = []
    for slug in dict.fromkeys(("matched", *(slug for slug in sets if slug != "drawn"))):
        each = [read_json(out / "drift" / name / "drift.json")["rows"][0] for name in _seeds(slug, config)]
        after = [one["error_after"]["mean"] for one in each if one["error_after"]]
        rows.append([sets.get(slug, slug), float(np.mean([one["drift"]["mean"] for one in each])),
                     float(np.mean(after)) if after else None])
    before = read_json(out / "drift" / "matched" / "drift.json")["rows"][0]["error_before"]
    error = f" On drawn signs it errs in {before['mean']:.2f} %." if before else ""
    return Table(["set", "classes that flip, %", "the estimator's error there, %"], rows,
                 f"The estimator reads each drawn sign before and after; mean over the refiners.{error}")


def _choices(report: StudyReport, config: Any, sets: Mapping[str, str]) -> list[dict[str, Any]]:
    """Returns the blind choice of each refiner with its regret, by augmented models of that refiner."""
    measure, known = report.measures[0], []
    if not {"drawn", "matched"} <= set(sets):
        return []
    for k in range(config.refiners):
        accuracies = {}
        for slug in sets:
            outcome = report[f"{slug}{_AUG}"]
            values = [value for value, trial in zip(outcome.values(measure), outcome.arm.trials, strict=True)
                      if trial.seeds[0] in (None, k)]
            accuracies[UNREFINED if slug == "drawn" else slug] = float(np.mean(values))
        known.append(accuracies)
    return regrets([report.out / "choice" / str(k) for k in range(config.refiners)], known)


def _choice_table(config: Any, choices: Sequence[dict[str, Any]], sets: Mapping[str, str]) -> Table:
    def called(name: str) -> str:
        return sets["drawn"] if name == UNREFINED else sets[name]

    rows: list[list[Entry]] = [[config.seed + k, called(one["chosen"]), one["accuracy"], called(one["best"]),
                                one["best_accuracy"], one["regret"]] for k, one in enumerate(choices)]
    return Table(["refiners' seed", "chosen without labels", "accuracy, %", "best by labels", "accuracy, % ",
                  "regret, points"], rows, "Accuracies are those of the augmented models. Labels are read for this "
                 "table alone. Without the arms drawn and matched it is empty.")


def _pictures(report: StudyReport, config: Any, sets: Mapping[str, str]) -> None:
    rows = []
    for slug in dict.fromkeys(("drawn", "matched", *sets)):
        rows.append((sets.get(slug, slug), _first(report.out / _seeds(slug, config)[0])))
    rows.append(("photographs", _first(report.out / "judged", spread=True)))
    report.figure("signs", sheet(rows, min_side=72), "The first drawn signs, none chosen; columns of all rows but the "
                  "last belong together.")


def _first(folder: Path, spread: bool = False) -> Any:
    images = ImageFolder(folder)
    count = min(_SHOWN, len(images))
    places = [number * len(images) // count for number in range(count)] if spread else list(range(count))
    return images.read(places, ("image",))["image"]
