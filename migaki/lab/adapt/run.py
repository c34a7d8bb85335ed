"""adapt: from simulated pictures and photographs to a model, with the proof of what helped; see `docs/adapt.md`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from migaki.core.files import apart, exclusive, read_json
from migaki.data.folder import ImageFolder
from migaki.lab.adapt import budget, choice, gap, making, page, recipes
from migaki.lab.adapt.leave import leave
from migaki.lab.adapt.options import Options
from migaki.lab.adapt.reading import brought
from migaki.lab.adapt.recipes import Recipe
from migaki.lab.adapt.sets import open_sets, part_steps
from migaki.lab.adapt.state import Adaptation
from migaki.lab.chain import Phase, run_chain
from migaki.lab.side_by_side import STEP_THREADS, choose_parallel, side_by_side_line
from migaki.lab.steps import call_step

_USUAL = 12  # phases, before it is known how many there will be


def adapt(simulated: Path, photos: Path, out: Path, options: Options, *, quiet: bool = False,
          before: Sequence[Phase] = (), title: str = page.TITLE, parallel: str = "1") -> Path:
    """Adapt to `photos` what `simulated` teaches; returns the path of report.html.

    A demo makes its sets `before`, below `out`. `parallel` is the number of steps that run side by side, or auto.

    An interrupted call goes on where it stopped, and a finished one changes nothing. Raises UserError, in one line,
    where it cannot go on.
    """
    given = {"simulated": simulated, "photos": photos}
    given |= {"labelled": options.labelled} if options.labelled is not None else {}
    apart(out, *given.values())
    many, why = choose_parallel(parallel)
    _make(before, out, quiet)
    found = {name: brought(path, name, out, quiet) for name, path in given.items()}
    if imports := tuple(step for _, steps in found.values() for step in steps):
        before = (*before, Phase(title="import", steps=imports))
        _make(before, out, quiet)
    options = replace(options, labelled=found["labelled"][0] if "labelled" in found else None)
    simulated, photos = found["simulated"][0], found["photos"][0]
    sets = open_sets(simulated, photos, options)
    recipes.require_known(options.arms, sets.task)
    with exclusive(out):
        work = Adaptation(sets=sets, options=options, out=out, quiet=quiet, phases=list(before), before=len(before),
                          parallel=many, announcement=side_by_side_line(many, why))
        carry_out(work)
        return page.write(work, title)


def _make(phases: Sequence[Phase], out: Path, quiet: bool) -> None:
    """Carry out what comes before the sets can be opened."""
    if phases:
        with exclusive(out):
            run_chain(phases, out, last="", quiet=quiet, total=len(phases) + _USUAL, threads=STEP_THREADS)


def carry_out(work: Adaptation) -> None:
    """Carry out all phases up to the report."""
    work.go(part_steps(work.sets, work.options, work.out, work.quiet), _look(work))
    everything = _all_recipes(work)
    work.names = {arm.slug: arm.name for arm in everything}
    _plan(work, everything)
    assert work.plan is not None
    allowed = [arm for arm in everything if arm.slug in work.plan.arms]
    first = [arm for arm in allowed if arm.slug in {one.slug for one in _first(work)}]
    if any("matched" in arm.needs for arm in allowed):
        making.match(work)
    _train(work, first, "train the first arms")
    work.scores = _scores(work)
    best = work.recipe(choice.by_agreement(work.scores).slug)
    later = [arm for arm in recipes.later_arms(work.sets.task, best) if arm.slug in work.plan.arms]
    work.names |= {arm.slug: arm.name for arm in later}
    later = making.prepare_later(work, later, best)
    _train(work, later, "train the arms that build on them")
    work.scores = _scores(work)
    work.chosen = choice.choose(work.scores, higher_is_better=work.metric.higher_is_better, is_blind=work.is_blind)
    if work.has_real:
        work.go(Phase(title="judge on real labels", steps=tuple(making.prove(work))))
    work.go(Phase(title="leave the model", steps=tuple(leave(work))))


def _first(work: Adaptation) -> list[Recipe]:
    return recipes.first_arms(work.sets.task, is_writing=work.is_writing)


def _all_recipes(work: Adaptation) -> list[Recipe]:
    """Returns all arms, or those that are asked for; the plan needs them before it is known on what the last build."""
    first = _first(work)
    every = [*first, *recipes.later_arms(work.sets.task, first[0])]
    return [arm for arm in every if not work.options.arms or arm.slug in work.options.arms]


def _plan(work: Adaptation, everything: Sequence[Recipe]) -> None:
    budgeted, out = work.budgeted(), work.out
    work.go(Phase(title="measure the speed", steps=(call_step(
        "measure how long an update of each system takes", lambda: budget.measure_speed(
            budgeted, _first(work), out), out / "speed" / "speed.json",
        [out / "simulated", out / "photos"], alone=True),)))
    counts = {name: len(ImageFolder(out / name)) for name in ("simulated", "photos")}
    work.plan = budget.plan(work.options, read_json(out / "speed" / "speed.json"), everything, budgeted, counts, out,
                            work.parallel)


def _look(work: Adaptation) -> Phase:
    out = work.out
    first = out / ("first" if work.options.is_halved else "test") if work.has_real else None
    needs = [out / "simulated", out / "photos", *([first] if first is not None else [])]
    return Phase(title="look at what differs", steps=(call_step(
        "measure what differs between the sets", lambda: gap.look(out / "simulated", out / "photos", first,
                                                                  out / "look"), out / "look" / "look.json", needs),))


def _train(work: Adaptation, arms: Sequence[Recipe], title: str) -> None:
    """Train the models of the arms, judge them on held-out simulated pictures, and compare what they read."""
    if arms:
        work.arms += arms
        work.go(Phase(title=title, steps=tuple(making.train(work, arms))),
                Phase(title="compare what they read", steps=tuple(making.compare(work, arms))))


def _scores(work: Adaptation) -> list[choice.Scores]:
    assert work.plan is not None
    metric = work.metric
    return choice.read_scores([arm.slug for arm in work.arms], work.plan.seeds, work.out, metric.main,
                              higher_is_better=metric.higher_is_better, has_first=work.options.is_halved)
