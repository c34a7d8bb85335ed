"""A chain of steps, each a command of migaki: run once, timed, not run again, and told to the reader word for word."""

from __future__ import annotations

import dataclasses
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migaki.core.discovery import find_class
from migaki.core.errors import UserError
from migaki.core.files import make_folder, read_json, write_json
from migaki.core.fit import Run
from migaki.core.progress import Bar
from migaki.core.simulator import Simulator
from migaki.core.system import System
from migaki.data.importer import Importer
from migaki.stages.apply import ApplyJob, apply
from migaki.stages.evaluate import EvaluateJob, evaluate_into
from migaki.stages.simulate import SimulateJob, simulate
from migaki.stages.train import train


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One command: its words after `migaki`, what it does, and the file that is there when it is done."""

    words: tuple[str, ...]
    work: Callable[[str], object]  # takes the command line, for the record
    proof: Path

    @property
    def command(self) -> str:
        """The command line that repeats the step."""
        return shlex.join(["migaki", *self.words])


@dataclass(frozen=True, kw_only=True, slots=True)
class Leg:
    """A part of the road, with its name for progress and report."""

    title: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """What a step cost when it was run."""

    title: str
    command: str
    seconds: float  # of the clock
    cpu_seconds: float  # of all cores together


def run_chain(legs: Sequence[Leg], out: Path, *, last: str, quiet: bool = False) -> list[Timing]:
    """Run the steps in order, leaving out those that an earlier call has done; the time each took, when it ran.

    `last` is the part of the road that the caller walks afterwards. A step is done if its proof is there and it was
    written by the same command (`out`/steps.json remembers).
    """
    path = make_folder(out) / "steps.json"
    done: dict[str, dict[str, Any]] = read_json(path) if path.exists() else {}
    if not isinstance(done, dict):
        raise UserError(f"{path}: not what a demo wrote: delete it, nothing else is lost")
    timings = []
    for number, leg in enumerate(legs, start=1):
        for place, step in enumerate(leg.steps, start=1):
            many = f" ({place}/{len(leg.steps)})" if len(leg.steps) > 1 else ""
            known = step.command in done and step.proof.exists()
            say(f"{number}/{len(legs) + 1} {leg.title}{many}{', done before' if known else ''}", quiet)
            if not known:
                done[step.command] = _timed(step)
                write_json(path, done)
            timings.append(Timing(title=leg.title, command=step.command, **done[step.command]))
    say(f"{len(legs) + 1}/{len(legs) + 1} {last}", quiet)
    return timings


def say(line: str, quiet: bool = False) -> None:
    """One line of progress on standard error."""
    if not quiet:
        print(line, file=sys.stderr, flush=True)


def _timed(step: Step) -> dict[str, float]:
    clock, cpu = time.monotonic(), time.process_time()
    step.work(step.command)
    return {"seconds": round(time.monotonic() - clock, 2), "cpu_seconds": round(time.process_time() - cpu, 2)}


def simulate_step(name: str, config: Any, job: SimulateJob, quiet: bool = False) -> Step:
    """`migaki simulate NAME`."""
    cls = find_class("simulate", name, Simulator)
    words = ("simulate", name, *option_words(job), *option_words(config, cls.Config()))
    return Step(words=words, proof=job.out / "dataset.json",
                work=lambda command: simulate(name, cls(config), job, command=command, quiet=quiet))


def import_step(name: str, path: Path, out: Path, config: Any, quiet: bool = False) -> Step:
    """`migaki import NAME PATH`."""
    cls = find_class("data", name, Importer)

    def work(command: str) -> None:
        importer = cls(config)
        with Bar(f"import {name}", 1, quiet=quiet) as bar:

            def report(done: int, total: int) -> None:
                bar.total = total
                bar.advance(done - bar.done)

            importer.run(path, out, command, report)

    words = ("import", name, str(path), "--out", str(out), *option_words(config, cls.Config()))
    return Step(words=words, proof=out / "dataset.json", work=work)


def train_step(name: str, data: Any, config: Any, run: Run, out: Path, quiet: bool = False) -> Step:
    """`migaki train NAME`."""
    cls = find_class("systems", name, System)
    words = ("train", name, *option_words(data), "--out", str(out), *option_words(run, Run()),
             *option_words(config, cls.Config()))
    return Step(words=words, proof=out / "model.safetensors",
                work=lambda _: train(cls, data, config, run, out, quiet=quiet))


def apply_step(run: Path, job: ApplyJob, quiet: bool = False) -> Step:
    """`migaki apply RUN`."""
    return Step(words=("apply", str(run), *option_words(job)), proof=job.out / "dataset.json",
                work=lambda command: apply(run, job, command=command, quiet=quiet))


def evaluate_step(run: Path, job: EvaluateJob, quiet: bool = False) -> Step:
    """`migaki evaluate RUN`."""
    return Step(words=("evaluate", str(run), *option_words(job)),
                proof=(job.out or run / "evaluation") / "evaluation.json",
                work=lambda command: evaluate_into(run, job, command=command, quiet=quiet))


def option_words(config: Any, defaults: Any = None) -> list[str]:
    """The options that turn `defaults` (default: those of the class) into `config`, as the command line wants them."""
    words: list[str] = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        usual = field.default if defaults is None else getattr(defaults, field.name)
        if value == usual or value is None:
            continue
        name = field.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        elif isinstance(value, tuple):
            words += [f"--{name}", *map(str, value)]
        else:
            words += [f"--{name}", str(value)]
    return words
