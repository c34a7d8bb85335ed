"""Rain: simulates rain on photographs shipped with libraries, and trains a network that removes it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from migaki.core.errors import UserError
from migaki.core.files import atomic_write, make_folder
from migaki.core.fit import Run
from migaki.core.log import read_rows
from migaki.judges.pairs import Pairs
from migaki.lab.chain import Phase, Step
from migaki.lab.demo import Demo
from migaki.lab.steps import apply_step, call_step, judge_step, option_words, train_step
from migaki.lab.study import Plan
from migaki.lab.study_report import StudyReport
from migaki.report.evaluation import read_figures
from migaki.report.figures import training_curves
from migaki.report.page import Number
from migaki.simulate.rain import Rain
from migaki.stages.apply import ApplyJob
from migaki.stages.damage import DamageJob, damage_folder
from migaki.systems.deep_detail import DeepDetail

_TRAINED_ON = ("chelsea", "rocket", "grass", "gravel", "brick", "china")
_JUDGED_BY = ("astronaut", "coffee", "flower")
_FROM_SKLEARN = ("china", "flower")


class RainDemo(Demo):
    """The defaults take about three minutes on two cores."""

    title = "Rain, removed by a network that only saw simulated rain"
    subtitle = "migaki added simulated rain to clean photographs, trained a network to remove it, and tested the " \
               "network on photographs and rain that it had not seen."
    measures = ()
    folder = Path("demo-rain")

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """How large the demo is."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "seed count steps"}

        seed: int = 0  # of all random draws
        count: int = 2  # kinds of rain on each test photograph
        steps: int = 800  # updates of the network

        def __post_init__(self) -> None:
            if min(self.count, self.steps) < 1:
                raise UserError("migaki demo rain: --count and --steps must be at least 1")

    config: Config

    def plan(self, out: Path, quiet: bool) -> Plan:
        """Returns the steps: take photographs, add rain to some, train on the others, restore, evaluate; no arms."""
        config = DeepDetail.Config(steps=self.config.steps, depth=12, features=48, fold=2, loss="l1",
                                   final_norm=False, vivid=0.4, learning_rate=2e-3, ema=0.99)
        run = Run(seed=self.config.seed, sample_every=0, checkpoint_every=100)
        pairs = DamageJob(input=out / "unseen", out=out / "pairs", count=self.config.count, seed=self.config.seed + 1)
        return Plan(arms=(), phases=(
            Phase(title="take photographs that libraries ship", steps=(
                _photos_step(out / "photos", _TRAINED_ON), _photos_step(out / "unseen", _JUDGED_BY))),
            Phase(title="add rain to the test photographs", steps=(_damage_step(pairs, quiet),)),
            Phase(title="train on other photographs in simulated rain", steps=(train_step(
                "deep_detail", DeepDetail.Data(photos=out / "photos"), config, run, out / "run", quiet),)),
            Phase(title="remove the rain", steps=(apply_step(
                out / "run", ApplyJob(input=out / "pairs" / "input", out=out / "restored"), quiet),)),
            Phase(title="judge", steps=(judge_step(
                Pairs(Pairs.Config(data=out / "pairs")), [out / "run"], quiet=quiet),)),
        ))

    def compose(self, report: StudyReport) -> None:
        """Compose the page: before and after, the training, and which data were used for what."""
        out = report.out
        figures = read_figures(out / "run" / "evaluation")
        note = "from the picture in rain to the restored one"
        report.numbers([
            Number.of_change("PSNR of brightness", figures["psnr_y_before"], figures["psnr_y"], "{:.1f} dB", note,
                             higher_is_better=True),
            Number.of_change("SSIM of brightness", figures["ssim_y_before"], figures["ssim_y"], "{:.3f}", note,
                             higher_is_better=True),
            report.time_card(),
        ])
        report.text(_verdict(figures))
        report.section("Before and after")
        for name in _JUDGED_BY:
            file = f"{name}_00.png" if self.config.count > 1 else f"{name}.png"
            report.page.pair((out / "pairs" / "input" / file).read_bytes(), (out / "restored" / file).read_bytes(),
                             f"{name}: {_decibels(out, file)}", names=("in rain", "restored"))
        report.section("Training")
        report.figure("training", training_curves(read_rows(out / "run" / "metrics.jsonl"),
                                                  keys=["net/psnr", "net/psnr_damaged"], smooth=5),
                      "PSNR (dB) of random patches, restored and in rain, while the network learned.", is_chart=True)
        report.section("Which data the network saw", is_folded=True)
        report.text(_PROTOCOL.format(taught=len(_TRAINED_ON), names=", ".join(_TRAINED_ON), steps=self.config.steps,
                                     judges=len(_JUDGED_BY), others=", ".join(_JUDGED_BY), count=self.config.count))


_PROTOCOL = """\
The network was trained on {taught} photographs ({names}) in rain that was drawn anew at every one of {steps} steps, \
and judged by {judges} others ({others}), {count} kinds of rain each. The photographs are those that scikit-image and \
scikit-learn ship. No picture of real rain was used. The rain of both halves comes from one simulator, so the figures \
say nothing about real rain.

Method: Fu et al., "Removing rain from single images via a deep detail network", CVPR 2017, in a small, fast form."""


def write_photos(folder: Path, names: Sequence[str]) -> None:
    """Write photographs of scikit-learn (china, flower) and scikit-image as PNG; UserError without scikit-image."""
    make_folder(folder)
    for name in names:
        path = folder / f"{name}.png"
        if not path.exists():
            picture = Image.fromarray(_photo(name)).convert("RGB")
            with atomic_write(path) as file:
                picture.save(file, "PNG")


def _photos_step(folder: Path, names: Sequence[str]) -> Step:
    return call_step(f"take the photographs {', '.join(names)} from scikit-image and scikit-learn",
                     lambda: write_photos(folder, names), folder / f"{names[-1]}.png", [])


def _photo(name: str) -> np.ndarray[Any, Any]:
    if name in _FROM_SKLEARN:
        from sklearn.datasets import load_sample_image

        image: np.ndarray[Any, Any] = load_sample_image(f"{name}.jpg")
        return image
    try:
        from skimage import data
    except ImportError as error:
        raise UserError("demo rain takes photographs from scikit-image: pip install 'migaki[photos]'") from error
    photo: np.ndarray[Any, Any] = np.asarray(getattr(data, name)())
    return photo


def _damage_step(job: DamageJob, quiet: bool) -> Step:
    return Step(words=("simulate", "rain", *option_words(job)), proof=job.out / "input" / "dataset.json",
                work=lambda command: damage_folder("rain", Rain(), job, command=command, quiet=quiet))


def _decibels(out: Path, file: str) -> str:
    """Returns the PSNR of brightness before and after, from the evaluation."""
    with open(out / "run" / "evaluation" / "images.csv", newline="", encoding="utf-8") as table:
        row = next(row for row in csv.DictReader(table) if row["name"] == PurePosixPath(file).stem)
    return f"{float(row['psnr_y_before']):.1f} dB before, {float(row['psnr_y']):.1f} dB after (PSNR of brightness)."


def _verdict(figures: dict[str, float]) -> str:
    """Returns what the numbers show, in words, be it good or bad."""
    gain = figures["psnr_y"] - figures["psnr_y_before"]
    if gain <= 0:
        return (f"It did not help: restored, the photographs are {-gain:.1f} dB farther from the clean ones than they "
                "are in rain. Train for longer (--steps).")
    return (f"Restoring took the photographs {gain:.1f} dB nearer to the clean ones, in brightness and in the mean of "
            f"{figures['num_images']:.0f} pictures.")
