"""simulate and evaluate as functions: the same files however often interrupted, sums and not means of means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.simulate.digits import DigitSimulator
from migaki.stages.evaluate import EvaluateJob, evaluate, measure, open_for
from migaki.stages.simulate import SimulateJob, simulate
from migaki.stages.train import train
from migaki.systems.classifier import Classifier
from migaki.systems.gaze import Gaze
from migaki.systems.simgan import SimGAN

SMALL = DigitSimulator.Config(size=8)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_interrupted_or_extended_it_is_the_same_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migaki.stages.simulate._CHUNK", 4)
    whole = simulate("digits", DigitSimulator(SMALL), SimulateJob(out=tmp_path / "whole", count=11), quiet=True)

    class Dying(DigitSimulator):
        calls = 0

        def render(self, seed: int, indices: Sequence[int]) -> Batch:
            self.calls += 1
            if self.calls == 3:
                raise KeyboardInterrupt
            return super().render(seed, indices)

    job = SimulateJob(out=tmp_path / "killed", count=11)
    with pytest.raises(KeyboardInterrupt):
        simulate("digits", Dying(SMALL), job, quiet=True)
    assert tree(simulate("digits", DigitSimulator(SMALL), job, quiet=True)) == tree(whole)
    grown = tmp_path / "grown"
    for count in (3, 7, 11):
        simulate("digits", DigitSimulator(SMALL), SimulateJob(out=grown, count=count), quiet=True)
    assert tree(grown) == tree(whole)


def test_another_simulation_does_not_go_on_with_the_folder(tmp_path: Path) -> None:
    job = SimulateJob(out=tmp_path / "out", count=3)
    simulate("digits", DigitSimulator(SMALL), job, quiet=True)
    with pytest.raises(UserError, match="another seed"):
        simulate("digits", DigitSimulator(SMALL), replace(job, seed=1), quiet=True)
    with pytest.raises(UserError, match="another config"):
        simulate("digits", DigitSimulator(replace(SMALL, size=9)), job, quiet=True)
    with pytest.raises(UserError, match="at least 1"):
        simulate("digits", DigitSimulator(SMALL), replace(job, count=0), quiet=True)


@pytest.fixture
def gaze_run(image_folder: Callable[..., Path], tmp_path: Path) -> tuple[Path, Path]:
    """A briefly trained gaze model and its folder."""
    folder = image_folder("data", 7)
    config = replace(Gaze.tiny()[0], channels=0, height=0, width=0)
    run = Run(device="cpu", precision="fp32", log_every=1, sample_every=0)
    train(Gaze, Gaze.Data(data=(folder,)), config, run, tmp_path / "run", quiet=True)
    return tmp_path / "run", folder


def flat(figures: dict[str, Any]) -> list[float]:
    return [value for value in figures.values() if isinstance(value, float)]


def test_figures_do_not_depend_on_the_batch_size(gaze_run: tuple[Path, Path]) -> None:
    run, folder = gaze_run
    found = [evaluate(run, EvaluateJob(data=folder, batch_size=size, device="cpu", precision="fp32"), quiet=True)
             for size in (1, 3, 50)]
    for other in found[1:]:
        assert other.keys() == found[0].keys() and flat(other) == pytest.approx(flat(found[0]), rel=1e-4)


def test_rows_can_be_left_out(gaze_run: tuple[Path, Path]) -> None:
    run, folder = gaze_run
    job = EvaluateJob(data=folder, exclude=("label",), device="cpu", precision="fp32")  # 0 1 2 0 1 2 0: three stay
    from migaki.core.trained import load_system

    assert len(open_for(load_system(run), job)) == 3
    with pytest.raises(UserError, match="no_column"):
        evaluate(run, replace(job, exclude=("no_column",)), quiet=True)


def test_a_refiner_has_no_measure(image_folder: Callable[..., Path]) -> None:
    config, _ = SimGAN.tiny()
    system, job = SimGAN(config), EvaluateJob(data=image_folder("data", 2, (12, 16)))
    with pytest.raises(UserError, match="evaluate the task model"):
        measure(system, open_for(system, job), job, quiet=True)


def test_a_perfect_model_is_found_perfect(image_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """evaluate brings prediction and label of the same row together, in every batch."""
    folder = image_folder("data", 7, (8, 8))
    system = Classifier(Classifier.tiny()[0])
    answers = iter(torch.arange(7) % 3)
    monkeypatch.setattr(system, "predict", lambda batch: {"logits": torch.stack(
        [torch.nn.functional.one_hot(next(answers), 3).float() for _ in batch["image"]])})
    job = EvaluateJob(data=folder, batch_size=3, device="cpu", precision="fp32")
    figures = measure(system, open_for(system, job), job, quiet=True)
    assert 1.0 in flat(figures)
