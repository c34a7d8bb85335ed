"""The demo on rain: photographs that are shipped with libraries, simulated rain, a network that takes it off again."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from migaki import __version__
from migaki.core.errors import UserError
from migaki.core.files import atomic_write, make_folder
from migaki.core.fit import Run
from migaki.core.log import read_rows
from migaki.judges.pairs import Pairs
from migaki.lab.chain import Leg, Step, Timing, apply_step, judge_step, option_words, run_chain, train_step
from migaki.report.evaluation import read_figures
from migaki.report.figures import training_curves
from migaki.report.page import Number, Page
from migaki.report.tables import Table
from migaki.simulate.rain import Rain
from migaki.stages.apply import ApplyJob
from migaki.stages.damage import DamageJob, damage_folder
from migaki.systems.deep_detail import DeepDetail

_TRAINED_ON = ("chelsea", "rocket", "grass", "gravel", "brick", "china")
_JUDGED_BY = ("astronaut", "coffee", "flower")
_FROM_SKLEARN = ("china", "flower")


@dataclass(frozen=True, kw_only=True, slots=True)
class RainDemo:
    """How large the demo is. The defaults take about three minutes on two cores."""

    GROUPS: ClassVar[dict[str, str]] = {"usual": "out seed count steps"}

    out: Path = Path("demo-rain")  # everything goes there; what is there already is not made again
    seed: int = 0  # of everything
    count: int = 2  # kinds of rain on each photograph that judges
    steps: int = 800  # updates of the network

    def __post_init__(self) -> None:
        if min(self.count, self.steps) < 1:
            raise UserError("migaki demo rain: --count and --steps must be at least 1")


def demo_rain(options: RainDemo, *, quiet: bool = False) -> Path:
    """Walk the whole road in `options.out`, or what is left of it; returns the path of report.html."""
    out = options.out
    write_photos(out / "photos", _TRAINED_ON)
    write_photos(out / "unseen", _JUDGED_BY)
    config = DeepDetail.Config(steps=options.steps, depth=12, features=48, fold=2, loss="l1", final_norm=False,
                               vivid=0.4, learning_rate=2e-3, ema=0.99)
    run = Run(seed=options.seed, sample_every=0, checkpoint_every=100)
    pairs = DamageJob(input=out / "unseen", out=out / "pairs", count=options.count, seed=options.seed + 1)
    legs = [
        Leg(title="let it rain on photographs that judge", steps=(_damage_step(pairs, quiet),)),
        Leg(title="train on other photographs in simulated rain", steps=(train_step(
            "deep_detail", DeepDetail.Data(photos=out / "photos"), config, run, out / "run", quiet),)),
        Leg(title="take off the rain", steps=(apply_step(
            out / "run", ApplyJob(input=out / "pairs" / "input", out=out / "restored"), quiet),)),
        Leg(title="judge", steps=(judge_step(Pairs(Pairs.Config(data=out / "pairs")), [out / "run"], quiet=quiet),)),
    ]
    timings = run_chain(legs, out, last="write the report", quiet=quiet)
    return _write_page(out, options, timings)


def write_photos(folder: Path, names: Sequence[str]) -> None:
    """Photographs that scikit-learn (china, flower) and scikit-image ship, as PNG; UserError without scikit-image."""
    make_folder(folder)
    for name in names:
        path = folder / f"{name}.png"
        if not path.exists():
            picture = Image.fromarray(_photo(name)).convert("RGB")
            with atomic_write(path) as file:
                picture.save(file, "PNG")


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


def _write_page(out: Path, options: RainDemo, timings: Sequence[Timing]) -> Path:
    figures = read_figures(out / "run" / "evaluation")
    page = Page("Rain, taken off by a network that only saw simulated rain",
                "migaki let simulated rain fall on clean photographs, taught a network the way back, and tried it on "
                "photographs and rain that it had not seen.")
    page.numbers([
        Number("PSNR of brightness", f"{figures['psnr_y_before']:.1f} → {figures['psnr_y']:.1f} dB", "more is better"),
        Number("SSIM of brightness", f"{figures['ssim_y_before']:.3f} → {figures['ssim_y']:.3f}", "1 is perfect"),
        Number("the whole road", f"{sum(t.seconds for t in timings) / 60:.1f} min", f"on {os.cpu_count()} cores"),
    ])
    page.text(_verdict(figures))
    page.section("Before and after")
    for name in _JUDGED_BY:
        file = f"{name}_00.png" if options.count > 1 else f"{name}.png"
        page.slider((out / "pairs" / "input" / file).read_bytes(), (out / "restored" / file).read_bytes(),
                    f"{name}: pull the handle; left in rain, right restored. "
                    f"{_decibels(out, file)}", names=("rain", "restored"))
    page.section("How the training went")
    rows = read_rows(out / "run" / "metrics.jsonl")
    page.figure(training_curves(rows, keys=["net/psnr", "net/psnr_damaged"], smooth=5),
                "PSNR (dB) of random patches, restored and in rain, while the network learned.")
    page.section("Who saw what")
    page.text(f"""\
The network was trained on {len(_TRAINED_ON)} photographs ({', '.join(_TRAINED_ON)}) in rain that was drawn anew at \
every one of {options.steps} steps, and judged by {len(_JUDGED_BY)} others ({', '.join(_JUDGED_BY)}), \
{options.count} kinds of rain each. The photographs are those that scikit-image and scikit-learn ship. No picture of \
real rain was used; the rain of both halves comes from one simulator, so the figures say nothing yet about real rain.

Method: Fu et al., "Removing rain from single images via a deep detail network", CVPR 2017, in a small, fast form.""")
    page.section("Repeat it")
    page.code([timing.command for timing in timings])
    page.table(Table(["step", "seconds", "seconds of one core"],
                     [[t.title, t.seconds, t.cpu_seconds] for t in timings], f"migaki {__version__}"))
    return page.write(out / "report.html")


def _decibels(out: Path, file: str) -> str:
    """PSNR of brightness before and after, as `evaluate` found it."""
    with open(out / "run" / "evaluation" / "images.csv", newline="", encoding="utf-8") as table:
        row = next(row for row in csv.DictReader(table) if row["name"] == PurePosixPath(file).stem)
    return f"{float(row['psnr_y_before']):.1f} dB before, {float(row['psnr_y']):.1f} dB after (PSNR of brightness)."


def _verdict(figures: dict[str, float]) -> str:
    """What the numbers say, whatever they say."""
    gain = figures["psnr_y"] - figures["psnr_y_before"]
    if gain <= 0:
        return (f"It did not help: restored, the photographs are {-gain:.1f} dB farther from the clean ones than they "
                "are in rain. Train for longer (--steps).")
    return (f"Restoring took the photographs {gain:.1f} dB nearer to the clean ones, in brightness and in the mean of "
            f"{figures['num_images']:.0f} pictures.")
