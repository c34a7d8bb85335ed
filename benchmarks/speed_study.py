"""Times the steps of a small study side by side against one after the other; the folders must hold the same bits."""

from __future__ import annotations

import itertools
from pathlib import Path

from speed_row import Row, in_turns

from migaki.core.engine import cores
from migaki.core.fit import Run
from migaki.lab.chain import Phase, run_chain
from migaki.lab.side_by_side import STEP_THREADS
from migaki.lab.steps import evaluate_step, simulate_step, train_step
from migaki.simulate.digits import DigitSimulator
from migaki.stages.evaluate import EvaluateJob
from migaki.stages.simulate import SimulateJob
from migaki.systems.classifier import Classifier

_MODELS = 4  # trainings that do not depend on each other


def measure(folder: Path, quick: bool) -> list[Row]:
    """Ratio = seconds one after the other / seconds side by side; 2 cores should come near 2."""
    number, many = itertools.count(), min(cores(), _MODELS)
    steps = 40 if quick else 120

    def study(parallel: int) -> None:
        _run(folder / f"{next(number)}", steps, parallel)

    pairs = in_turns(lambda: study(many), lambda: study(1), rounds=2 if quick else 3)
    _require_same(folder / "0", folder / "1")
    side, after = (min(values) for values in zip(*pairs, strict=True))
    return [Row(what=f"a study of {_MODELS} trainings, {many} steps side by side", figure=f"{side:.1f} s",
                baseline=f"one after the other: {after:.1f} s", wanted=">= 1.6" if many == 2 else "",
                ratios=tuple(slow / fast for fast, slow in pairs), baselines=tuple(slow for _, slow in pairs))]


def _run(out: Path, steps: int, parallel: int) -> None:
    digits = out / "digits"
    drawn = simulate_step("digits", DigitSimulator.Config(size=24), SimulateJob(out=digits, count=400), True)
    trained = []
    for seed in range(_MODELS):
        config = Classifier.Config(steps=steps, batch_size=64, features=16)
        trained += [train_step("classifier", Classifier.Data(data=(digits,)), config,
                               Run(seed=seed, sample_every=0, device="cpu"), out / f"model_{seed}", True),
                    evaluate_step(out / f"model_{seed}", EvaluateJob(data=digits, device="cpu"), True)]
    run_chain([Phase(title="draw", steps=(drawn,)), Phase(title="train", steps=tuple(trained))], out, last="",
              quiet=True, parallel=parallel, threads=STEP_THREADS)


def _require_same(one: Path, other: Path) -> None:
    """Raises RuntimeError unless the models of both studies are the same bytes."""
    for path in one.rglob("model.safetensors"):
        if path.read_bytes() != (other / path.relative_to(one)).read_bytes():
            raise RuntimeError(f"{path}: side by side gives other bits than one after the other")
