"""Makes steps of a chain, each from a command of migaki and its options or from a Python call without a command."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from migaki.core.change import Change
from migaki.core.discovery import find_class
from migaki.core.files import make_folder, write_json
from migaki.core.fit import Run
from migaki.core.judge import Judge
from migaki.core.reduction import Reduction
from migaki.core.simulator import Simulator
from migaki.core.system import System
from migaki.importers.importer import Importer
from migaki.lab.chain import Step
from migaki.stages.apply import AloneJob, ApplyJob, apply, apply_alone, apply_change
from migaki.stages.evaluate import EvaluateJob, evaluate_into, judge_into
from migaki.stages.export import export
from migaki.stages.export_labels import write_as
from migaki.stages.simulate import SimulateJob, simulate
from migaki.stages.train import train


def simulate_step(name: str, config: Any, job: SimulateJob, quiet: bool = False, cost: float = 0.0) -> Step:
    """`migaki simulate NAME`."""
    cls = _class("simulate", name, Simulator)
    words = ("simulate", name, *option_words(job), *option_words(config, cls.Config()))
    return Step(words=words, cost=cost, proof=job.out / "dataset.json",
                work=lambda command: simulate(name, cls(config), job, command=command, quiet=quiet))


def import_step(name: str, path: Path, out: Path, config: Any, quiet: bool = False, cost: float = 0.0) -> Step:
    """`migaki import NAME PATH`."""
    cls = _class("importers", name, Importer)

    words = ("import", name, str(path), "--out", str(out), *option_words(config, cls.Config()))
    return Step(words=words, cost=cost, proof=out / "dataset.json",
                work=lambda command: cls(config).run(path, out, command, quiet=quiet))


def train_step(name: str, data: Any, config: Any, run: Run, out: Path, quiet: bool = False, cost: float = 0.0) -> Step:
    """`migaki train NAME`."""
    cls = _class("systems", name, System)
    words = ("train", name, *option_words(data), "--out", str(out), *option_words(run, Run()),
             *option_words(config, cls.Config()))
    return Step(words=words, cost=cost, proof=out / "model.safetensors",
                work=lambda _: train(cls, data, config, run, out, quiet=quiet))


def apply_step(run: Path, job: ApplyJob, quiet: bool = False, cost: float = 0.0) -> Step:
    """`migaki apply RUN`."""
    return Step(words=("apply", str(run), *option_words(job)), cost=cost, proof=job.out / "dataset.json",
                work=lambda command: apply(run, job, command=command, quiet=quiet))


def change_step(name: str, config: Any, job: ApplyJob, quiet: bool = False, cost: float = 0.0) -> Step:
    """`migaki apply NAME`."""
    change = _class("changes", name, Change)(config)
    proof = f"{change.record_name}.json" if isinstance(change, Reduction) else "dataset.json"
    return Step(words=("apply", name, *option_words(job), *option_words(config)), cost=cost, proof=job.out / proof,
                work=lambda command: apply_change(name, change, job, command=command, quiet=quiet))


def alone_step(name: str, config: Any, out: Path, quiet: bool = False, cost: float = 0.0) -> Step:
    """`migaki apply NAME` of a change that reads no set; the folder of the file `out` is made if need be."""
    change = _class("changes", name, Change)(config)

    def work(_: str) -> object:
        make_folder(out.parent)
        return apply_alone(name, change, AloneJob(out=out), quiet=quiet)

    return Step(words=("apply", name, "--out", str(out), *option_words(config)), cost=cost, proof=out, work=work)


def export_step(run: Path, out: Path, quiet: bool = False) -> Step:
    """`migaki export RUN`; the folder of the file `out` is made if need be."""

    def work(command: str) -> object:
        make_folder(out.parent)
        return export(run, out, quiet=quiet)

    return Step(words=("export", str(run), "--out", str(out)), proof=out, work=work)


def export_set_step(folder: Path, form: str, out: Path, proof: Path) -> Step:
    """`migaki export DIR --format FORM`: the labels of a set in a format of others; `proof` gets the counts at the end,
    as what a format writes last depends on the set."""

    def work(command: str) -> object:
        make_folder(out.parent)
        counts = write_as(form, folder, out)
        write_json(proof, counts)
        return counts

    return Step(words=("export", str(folder), "--format", form, "--out", str(out)), proof=proof, work=work)


def evaluate_step(run: Path, job: EvaluateJob, quiet: bool = False, cost: float = 0.0) -> Step:
    """`migaki evaluate RUN`."""
    return Step(words=("evaluate", str(run), *option_words(job)), cost=cost,
                proof=(job.out or run / "evaluation") / "evaluation.json",
                work=lambda command: evaluate_into(run, job, command=command, quiet=quiet))


def judge_step(judge: Judge, runs: Sequence[Path] = (), out: Path | None = None, *, quiet: bool = False,
               cost: float = 0.0) -> Step:
    """`migaki evaluate JUDGE [RUN ...]`."""
    name = type(judge).__module__.rsplit(".", 1)[-1]
    place = out or judge.default_out(runs)
    assert place is not None
    words = ("evaluate", name, *map(str, runs), *(("--out", str(out)) if out else ()), *option_words(judge.config))
    return Step(words=words, cost=cost, proof=place / f"{judge.file_name}.json",
                work=lambda command: judge_into(judge, runs, out, command=command, quiet=quiet))


def call_step(about: str, work: Callable[[], object], proof: Path, needs: Sequence[Path], cost: float = 0.0,
              alone: bool = False) -> Step:
    """A step without a command: `work()` reads the folders `needs` and writes the file `proof`, atomically and last.

    `about` begins with a verb and contains every number on which the outcome depends, since it identifies the step.
    `needs` names everything that it reads of other steps: steps that are not named may run at the same time.
    """
    return Step(about=about, work=lambda _: work(), proof=proof, needs=tuple(needs), cost=cost, alone=alone)


@cache
def _class(package: str, name: str, base: type[Any]) -> type[Any]:
    """Cached `find_class`, which otherwise reads every file of the package for each step of a long chain."""
    return find_class(package, name, base)


def option_words(config: Any, defaults: Any = None) -> list[str]:
    """Returns the command-line options that turn `defaults` (default: those of the class) into `config`."""
    words: list[str] = []
    names = getattr(type(config), "NAMES", {})
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        usual = field.default if defaults is None else getattr(defaults, field.name)
        if value == usual or value is None:
            continue
        name = names.get(field.name, field.name).replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        elif isinstance(value, tuple):
            words += [f"--{name}", *map(str, value)]
        else:
            words += [f"--{name}", str(value)]
    return words
