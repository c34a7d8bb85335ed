"""The steps of an adaptation: pictures made for the arms, models trained, judged and compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from migaki.changes.match import Match
from migaki.core.fit import Run
from migaki.core.judge import Judge
from migaki.core.log import read_rows
from migaki.data.folder import ImageFolder
from migaki.importers.part import Part
from migaki.judges.agreement import Agreement
from migaki.lab.adapt.budget import refiner_config
from migaki.lab.adapt.by_picture import write_rights
from migaki.lab.adapt.recipes import Recipe, model_folder
from migaki.lab.adapt.state import Adaptation
from migaki.lab.chain import Phase, Step
from migaki.lab.steps import apply_step, call_step, change_step, evaluate_step, import_step, judge_step, train_step
from migaki.metrics.watchmen import looks_warnings
from migaki.stages.apply import ApplyJob
from migaki.stages.evaluate import EvaluateJob
from migaki.systems.simgan import SimGAN

BOUND = "labels"
"""Slug of the arm that learns from the real labels of the first half alone."""


def match(work: Adaptation) -> None:
    """Give the simulated pictures the colours of the photographs, if that is still to be done."""
    if any(step.proof.parent == work.out / "matched" for phase in work.phases for step in phase.steps):
        return
    config = Match.Config(to=work.out / "photos")
    job = ApplyJob(input=work.out / "simulated", out=work.out / "matched", seed=work.options.seed)
    work.go(Phase(title="match the photographs' colours", steps=(change_step("match", config, job, work.quiet),)))


def train(work: Adaptation, arms: Sequence[Recipe]) -> list[Step]:
    """Returns the steps that train the models of these arms, seed by seed within an arm."""
    assert work.plan is not None
    budgeted = work.budgeted()
    found = []
    for arm in arms:
        cost = work.plan.costs.get(arm.slug, 0.0) / work.plan.seeds
        found += [budgeted.train(arm, number, work.out, cost=cost) for number in range(work.plan.seeds)]
    return found


def compare(work: Adaptation, arms: Sequence[Recipe]) -> list[Step]:
    """Returns the steps that judge models on held-out simulated pictures, compare what those of one arm read off the
    photographs, and judge them by the first half of the labelled photographs, if there are any."""
    assert work.plan is not None
    found: list[Step] = []
    for arm in arms:
        models = [model_folder(work.out, arm.slug, number) for number in range(work.plan.seeds)]
        for model in models:
            found.append(_judged(work, model, "held_out"))
            if work.options.is_halved:
                found.append(_judged(work, model, "first"))
        judge: Judge = Agreement(Agreement.Config(data=work.out / "photos"))
        found.append(judge_step(judge, models, models[0] / "agreement", quiet=work.quiet))
    return found


def _judged(work: Adaptation, model: Path, part: str) -> Step:
    return evaluate_step(model, EvaluateJob(data=work.out / part, out=model / part), work.quiet)


def prepare_later(work: Adaptation, arms: Sequence[Recipe], best: Recipe) -> list[Recipe]:
    """Make what the later arms learn from: what the best models read off the photographs, refined pictures. Returns
    the arms that can be trained; the others are `rejected`."""
    assert work.plan is not None
    left = list(arms)
    if any("matched" in arm.needs for arm in left):
        match(work)
    if any(arm.source for arm in left):
        work.go(Phase(title="read the photographs", steps=tuple(
            apply_step(model_folder(work.out, best.slug, number),
                       ApplyJob(input=work.out / "photos", out=work.out / f"read_{number}"), work.quiet)
            for number in range(work.plan.seeds))))
    if any("refined" in arm.needs for arm in left):
        work.go(Phase(title="refine", steps=_refine(work)))
        if why := _fault(work.out / "refiner"):
            lost = [arm for arm in left if "refined" in arm.needs]
            work.rejected |= {arm.slug: f"the refiner's watchmen object: {why}" for arm in lost}
            left = [arm for arm in left if arm not in lost]
    return left


def _refine(work: Adaptation) -> tuple[Step, ...]:
    """Returns the steps of refining: it starts from the matched pictures, and a model of theirs holds the labels."""
    assert work.plan is not None
    out, trained = work.out, {arm.slug for arm in work.arms}
    start = next(slug for slug in ("matched", "matched_plain", "augmented", "plain", *trained) if slug in trained)
    is_matched = any(step.proof.parent == out / "matched" for phase in work.phases for step in phase.steps)
    source = out / ("matched" if is_matched else "simulated")
    config = refiner_config(work.plan.rounds, work.options.tolerance, is_matched=is_matched)
    data = SimGAN.Data(synthetic=source, real=out / "photos", estimator=model_folder(out, start, 0))
    run = Run(seed=work.options.seed, sample_every=max(1, work.plan.rounds // 4))
    return (train_step("simgan", data, config, run, out / "refiner", work.quiet,
                       work.plan.costs.get("refined", 0.0)),
            apply_step(out / "refiner", ApplyJob(input=source, out=out / "refined"), work.quiet))


def _fault(refiner: Path) -> str:
    """Returns what the watchmen say of the last state of the refiner; "" if nothing.

    What they say of looks alone (grain, checkerboards) is no fault here: the arm's models are judged like all others.
    """
    rows = read_rows(refiner / "metrics.jsonl")
    looks = looks_warnings(rows[-1]) if rows else []
    return next((str(line) for line in (rows[-1].get("watch", []) if rows else []) if line not in looks), "")


def prove(work: Adaptation) -> list[Step]:
    """Returns the steps that judge every arm on the second half of the labelled photographs, and measure what real
    labels are worth: some of the first half beside the chosen arm's pictures, and all of them alone."""
    assert work.plan is not None and work.chosen is not None
    found = [_judged(work, model_folder(work.out, arm.slug, number), "test")
             for arm in work.arms for number in range(work.plan.seeds)]
    if work.sets.task.name == "label":
        found.append(_by_picture(work))
    if not work.options.is_halved:
        return found
    chosen, budgeted = work.recipe(work.chosen.slug), work.budgeted()
    if chosen.system or chosen.source:  # labels are added to an arm of the task's own system
        chosen = next(arm for arm in reversed(work.arms) if not arm.system and not arm.source)
    total = len(ImageFolder(work.out / "first"))
    for count in worths(work, total):
        part = work.out / f"labels_{count}"
        found.append(import_step("part", work.out / "first", part, Part.Config(limit=count), work.quiet))
        for number in range(work.plan.seeds):
            found.append(budgeted.train(chosen, number, work.out, (part,), slug=f"{BOUND}_{count}"))
            found.append(_judged(work, model_folder(work.out, f"{BOUND}_{count}", number), "test"))
    bound = Recipe(slug=BOUND, name="", data=("first",))
    for number in range(work.plan.seeds):
        found += [budgeted.train(bound, number, work.out), _judged(work, model_folder(work.out, BOUND, number), "test")]
    return found


def _by_picture(work: Adaptation) -> Step:
    """Returns the step that compares all arms picture by picture on the second half of the labelled photographs."""
    assert work.plan is not None
    models = {arm.slug: [model_folder(work.out, arm.slug, number) for number in range(work.plan.seeds)]
              for arm in work.arms}
    every = [run for runs in models.values() for run in runs]
    return call_step(f"tell for {len(every)} models which test pictures they read rightly",
                     lambda: write_rights(models, work.out / "test", work.out / "by_picture"),
                     work.out / "by_picture" / "right.json", [work.out / "test", *every])


def worths(work: Adaptation, total: int) -> list[int]:
    """Returns how many real labels are tried of `total`."""
    return [count for count in work.options.worths if count < total]
