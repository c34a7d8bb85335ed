"""The calls of `import migaki as mg`: each is a command, and records the command line that repeats it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from migaki.api.evaluation import Evaluation
from migaki.api.folder import Folder, refuse_film
from migaki.api.options import build
from migaki.api.run import Run
from migaki.commands.recipes import Recipe
from migaki.core.change import Change
from migaki.core.discovery import find_class, names_in, reference
from migaki.core.errors import UserError
from migaki.core.judge import Judge
from migaki.core.outline import load as load_class
from migaki.core.trained import applied_by
from migaki.lab.steps import judge_step, option_words, simulate_step, train_step

Path_ = str | os.PathLike[str]


def simulate(name: str, out: Path_, *, count: int | None = None, quiet: bool = False, **options: Any) -> Folder:
    """Render `count` labelled images of the simulator `name` into the folder `out`, as `migaki simulate` does.

    With `input`, a folder of clean photographs, `name` is a damage (rain, noise, ...): `out` then holds pairs, and the
    damaged ones are returned. An interrupted call goes on when it is repeated. Raises UserError.
    """
    given = {"out": out, "count": count, **options}
    if name in names_in("simulate", "Damage"):
        return _damaged(name, given, quiet)
    cls = reference("simulate", name, "Simulator")
    parts = build(f"simulate {name}", given, job="migaki.stages.simulate:SimulateJob",
                  config=Recipe(reference=f"{cls}.Config", section="config", system=name, file="dataset.json",
                                made_by="simulator", offers=True))
    step = simulate_step(name, parts["config"], parts["job"], quiet)
    step.work(step.command)
    return Folder(out)


def _damaged(name: str, given: dict[str, Any], quiet: bool) -> Folder:
    from migaki.stages.damage import damage_folder

    cls = reference("simulate", name, "Damage")
    parts = build(f"simulate {name}", given, job="migaki.stages.damage:DamageJob", config=f"{cls}.Config")
    damage = load_class(cls)(parts["config"])
    words = ["simulate", name, *option_words(parts["job"]), *option_words(parts["config"], type(parts["config"])())]
    place = damage_folder(name, damage, parts["job"], command=shlex.join(["migaki", *words]), quiet=quiet)
    return Folder(place / "input")


def read(path: Path_) -> Folder:
    """Open a folder of images (or shards, or one picture) with its labels. Raises UserError for what is no set."""
    return Folder(path)


def train(system: str, data: Path_ | Sequence[Path_] | None = None, *, out: Path_, quiet: bool = False,
          **options: Any) -> Run:
    """Train the method `system` into the folder `out`, as `migaki train` does; returns the run.

    `data` is the labelled folder, or several. All options of `migaki train SYSTEM` are keyword arguments; `preset`
    and `config` (the config.json of an earlier run) give the values to begin from. An interrupted call goes on when
    it is repeated. Raises UserError, and `migaki.core.errors.Interrupted` after Ctrl-C.
    """
    cls = reference("systems", system, "System")
    parts = build(f"train {system}", {"data": data, **options},
                  data=Recipe(reference=f"{cls}.Data", section="data"),
                  run=Recipe(reference="migaki.core.fit:Run", section="run"),
                  config=Recipe(reference=f"{cls}.Config", section="config", system=system, offers=True))
    step = train_step(system, parts["data"], parts["config"], parts["run"], Path(out), quiet)
    step.work(step.command)
    return Run(out)


def load(path: Path_, *, token: str | None = None, endpoint: str | None = None) -> Run:
    """Open a trained run: a folder, or `hf://org/name` (also `hf://org/name@revision`) on the Hugging Face hub.

    Nothing of a run is unpickled and no code of it is run. `token` and `endpoint` are those of the hub. Raises
    UserError.
    """
    text = os.fspath(path)
    if isinstance(text, str) and text.startswith("hf://"):
        from migaki.api.hub import fetch

        return Run(fetch(text.removeprefix("hf://"), token=token, endpoint=endpoint))
    return Run(path)


def apply(what: Path_, input: Path_ | None = None, out: Path_ | None = None, *, quiet: bool = False,
          **options: Any) -> Any:
    """Apply a trained run (a folder or a `Run`), or the change of that name, to a folder of images.

    Returns the `Folder` that was written, or the path of what is no set: a film of `orbit`, which takes no `input`, the
    folder of a `mesh`, of a `microphone`'s sound, of an `index` and of what `find_copies` found. Raises UserError.
    """
    changes = names_in("changes", "Change")
    if (not isinstance(what, str) or what not in changes) and (by := applied_by(Path(what))):
        options, what = {"run": Path(what), **options}, by
    if not isinstance(what, str) or what not in changes:
        if isinstance(what, str) and not Path(what).exists():
            raise UserError(f"apply: '{what}' is neither a run nor a change: changes are {', '.join(changes)}")
        if input is None or out is None:
            raise UserError(f"apply {os.fspath(what)}: missing: {'input' if input is None else 'out'}=")
        return Run(what).apply(input, out, quiet=quiet, **options)
    from migaki.stages.apply import apply_alone, apply_change

    cls = find_class("changes", what, Change)
    if input is not None and not cls.by_itself and not cls.stage:
        refuse_film(input)
    job = "migaki.stages.apply_job:AloneJob" if cls.by_itself else "migaki.stages.apply_job:ApplyJob"
    parts = build(f"apply {what}", {"input": input, "out": out, **options}, job=job,
                  config=f"{reference('changes', what, 'Change')}.Config")
    change = cls(parts["config"])
    if change.by_itself:
        return apply_alone(what, change, parts["job"], quiet=quiet)
    words = ["migaki", "apply", what, *option_words(parts["job"]), *option_words(parts["config"])]
    made = apply_change(what, change, parts["job"], command=shlex.join(words), quiet=quiet)
    return made if change.stage else Folder(made)


def judge(name: str, *runs: Path_, out: Path_ | None = None, quiet: bool = False, **options: Any) -> Evaluation:
    """Judge sets, or trained runs, by the judge `name` (drift, looks, ...), as `migaki evaluate NAME` does.

    Writes figures and a page to `out` and returns the figures. Raises UserError.
    """
    from migaki.stages.evaluate import judge_into

    cls = find_class("judges", name, Judge)
    config = build(f"evaluate {name}", options, config=f"{reference('judges', name, 'Judge')}.Config")["config"]
    judged, paths = cls(config), [Path(run) for run in runs]
    place = None if out is None else Path(out)
    if place is None and judged.default_out(paths) is None:
        raise UserError(f"evaluate {name}: missing: out=, the folder for the figures and the page")
    step = judge_step(judged, paths, place, quiet=quiet)
    written, findings = judge_into(judged, paths, place, command=step.command, quiet=quiet)
    return Evaluation(findings, written, written / f"{judged.file_name}.html")


def adapt(simulated: Path_, photos: Path_, *, out: Path_, quiet: bool = False, **options: Any) -> Path:
    """Bring a model trained on `simulated` images to `photos`, and prove whether that helped: `migaki adapt`.

    The options are those of `migaki adapt` (`labelled`, `budget`, `task`, ...). Returns the page; beside it lie the
    model, the figures and the decision. An interrupted call goes on when it is repeated. Raises UserError.
    """
    try:
        adapts = load_class("migaki.lab.adapt.run:adapt")
    except ModuleNotFoundError as error:
        raise UserError("adapt: this installation of migaki has no `migaki adapt`: update it") from error
    chosen = build("adapt", options, options="migaki.lab.adapt.options:Options")["options"]
    page: Path = adapts(Path(simulated), Path(photos), Path(out), chosen, quiet=quiet)
    return page
