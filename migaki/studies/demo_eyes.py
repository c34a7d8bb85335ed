"""Eyes (the default): refines rendered eyes towards your photographs (--photos DIR) or a stand-in camera's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.data.folder import ImageFolder
from migaki.importers.photos import Photos
from migaki.lab.arms import Arm, Measure, Trial
from migaki.lab.chain import Phase, Step
from migaki.lab.demo import BOUND, Demo, compose_refining
from migaki.lab.steps import apply_step, evaluate_step, import_step, simulate_step, train_step
from migaki.lab.study import Plan
from migaki.lab.study_report import StudyReport
from migaki.simulate.eyes import EyeSimulator
from migaki.simulate.stand_in_camera import StandInCamera
from migaki.stages.apply import ApplyJob
from migaki.stages.evaluate import EvaluateJob
from migaki.stages.simulate import SimulateJob
from migaki.studies.parts.demo_eyes_words import protocol
from migaki.studies.parts.gaze_steps import adapt_step
from migaki.systems.gaze import Gaze
from migaki.systems.simgan import SimGAN

SKINS = tuple(range(12))  # of the simulator's twenty skins; the stand-in camera uses the others
FEWEST_PHOTOS = 64

ARMS = (("synthetic", "synthetic eyes", "nothing"),
        ("synthetic_adabn", "synthetic + AdaBN", "pictures, no label"),
        ("synthetic_prior", "synthetic + AdaBN, prior", "pictures, no label"),
        ("self", "synthetic + self-training", "pictures, no label"),
        ("refined", "refined eyes", "pictures, no label"),
        ("refined_prior", "refined + AdaBN, prior", "pictures, no label"),
        (BOUND, "real labels (upper bound)", "labels"))
"""Slug, name, what was seen of the real data."""

_NO_TABLE = """\
There is no table of errors: your photos have no gaze labels (columns gaze_pitch and gaze_yaw in metadata.jsonl), and \
without labels an error cannot be measured. The distances below show whether the refined eyes look like your photos, \
not whether a model trained on them is better."""


class EyesDemo(Demo):
    """The defaults take less than six minutes on two cores."""

    title = "Eyes, from rendered to refined"
    subtitle = "migaki rendered eyes with known gaze, learned the look of a camera's pictures without their labels, " \
               "gave the rendered eyes that look, and trained gaze models on the result."
    measures = (Measure(key="mean_deg", name="mean error, deg", places=2),
                Measure(key="median_deg", name="median, deg", places=2),
                Measure(key="within_7_deg", name="within 7 deg, %", scale=100, higher_is_better=True, places=1))
    folder = Path("demo-eyes")

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """How large the demo is."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "real seed seeds count steps refiner_steps"}
        NAMES: ClassVar[dict[str, str]] = {
            "real": "photos",
            "photos": "num_photos",
            "labelled": "num_labelled",
            "test": "num_test",
        }

        real: Path | None = None  # a folder of your own photographs of eyes; default: a stand-in camera
        seed: int = 0  # of all random draws; runs of an arm take seed, seed + 1, ...
        seeds: int = 2  # runs of each arm
        count: int = 6000  # rendered eyes
        photos: int = 1500  # unlabelled pictures for the refiner
        labelled: int = 4000  # labelled pictures for the upper bound
        test: int = 1000  # labelled pictures for the evaluation
        refiner_steps: int = 500  # rounds of Algorithm 1
        steps: int = 700  # updates of each gaze model, of 64 images

        def __post_init__(self) -> None:
            for name in ("seeds", "count", "photos", "labelled", "test", "refiner_steps", "steps"):
                if getattr(self, name) < 1:
                    raise UserError(f"migaki demo eyes: --{name.replace('_', '-')} must be at least 1")

    config: Config

    def plan(self, out: Path, quiet: bool) -> Plan:
        """Returns the steps: render, train the model that holds labels, take pictures, refine, train, evaluate."""
        is_judged = self.config.real is None or _has_gaze(self.config.real)
        return _Steps(self.config, out, quiet, is_judged).plan()

    def compose(self, report: StudyReport) -> None:
        """Compose the page of a refining demo."""
        is_judged = bool(report.outcomes)
        photos = "the stand-in camera's pictures" if self.config.real is None else "your photos"
        compose_refining(report, photos=photos, no_table=_NO_TABLE, protocol=protocol(
            is_stand_in=self.config.real is None, is_judged=is_judged, count=self.config.count,
            photos=self.config.photos, test=self.config.test, labelled=self.config.labelled, steps=self.config.steps))


def _has_gaze(real: Path) -> bool:
    """Returns whether the user's folder has gaze labels; UserError if it is not a folder of enough pictures."""
    folder = ImageFolder(real, size=(36, 60), channels=1)
    if len(folder) < FEWEST_PHOTOS:
        raise UserError(f"{real}: holds {len(folder)} pictures, too few to learn a look from: give at least "
                        f"{FEWEST_PHOTOS}")
    if "gaze" not in folder.labels:
        return False
    folder.require("gaze")
    return True


def _camera(*, labelled: bool) -> StandInCamera.Config:
    return replace(StandInCamera.Config.infrared(), labelled=labelled, gaze_prior="wide")


@dataclass(frozen=True)
class _Steps:
    """Builds the demo's steps in the folder `out`; without test labels it trains only the refiner's estimator."""

    config: EyesDemo.Config
    out: Path
    quiet: bool
    is_judged: bool

    def plan(self) -> Plan:
        """Returns all steps in order, and the arms that they produce."""
        seeds = range(self.config.seeds)
        phases = [
            Phase(title="render eyes", steps=(self._render(),)),
            Phase(title="train gaze models on them", steps=tuple(
                self._train("synthetic", ("synthetic",), k) for k in (seeds if self.is_judged else range(1)))),
            self._photograph(), Phase(title="train the refiner", steps=(self._polish(),)),
            Phase(title="refine the rendered eyes", steps=(apply_step(self.out / "refiner", ApplyJob(
                input=self.out / "synthetic", out=self.out / "refined"), self.quiet, self.config.count / 1000),)),
        ]
        if not self.is_judged:
            return Plan(phases=tuple(phases), arms=())
        # All of the user's labels are for testing: a part would be too small to train on, and would share its people.
        arms = [arm for arm in ARMS if self.config.real is None or arm[0] != BOUND]
        phases += [
            self._label(),
            Phase(title="train the other gaze models", steps=tuple(
                step for slug, *_ in arms if slug != "synthetic" for k in seeds for step in self._make(slug, k))),
            Phase(title="judge the gaze models", steps=tuple(
                evaluate_step(self._run(slug, k), EvaluateJob(data=self.out / "test"), self.quiet, 2)
                for slug, *_ in arms for k in seeds)),
        ]
        return Plan(phases=tuple(phases), arms=tuple(
            Arm(name=name, slug=slug, saw=saw, trials=tuple(
                Trial(seeds=(self.config.seed + k,), evaluation=self._run(slug, k) / "evaluation") for k in seeds))
            for slug, name, saw in arms))

    def _run(self, slug: str, number: int) -> Path:
        return self.out / f"gaze_{slug}_{number}"

    def _render(self) -> Step:
        # The user's photographs are equalised, as published gaze data sets are, and then the renderings are too.
        # The stand-in's people look about more widely: the demo tests the gap in looks, so gaze should be easy to see.
        config = EyeSimulator.Config(mask=False, equalise=True) if self.config.real else EyeSimulator.Config(
            mask=False, identities=SKINS, gaze_prior="wide")
        job = SimulateJob(out=self.out / "synthetic", count=self.config.count, seed=self.config.seed)
        return simulate_step("eyes", config, job, self.quiet, self.config.count / 1000)

    def _photograph(self) -> Phase:
        options, out = self.config, self.out / "photos"
        if options.real is not None:
            config = Photos.Config(labelled=False, equalise=True, half="first" if self.is_judged else "all",
                                   limit=options.photos)
            return Phase(title="read your photos",
                         steps=(import_step("photos", options.real, out, config, self.quiet, 3),))
        job = SimulateJob(out=out, count=options.photos, seed=options.seed + 1000)
        return Phase(title="take photos with the stand-in camera", steps=(simulate_step(
            "stand_in_camera", _camera(labelled=False), job, self.quiet, options.photos / 500),))

    def _label(self) -> Phase:
        """Makes labelled pictures for the test and for the upper bound."""
        options, out = self.config, self.out
        if options.real is not None:
            config = Photos.Config(equalise=True, half="second", limit=options.test)
            return Phase(title="read your labelled photos",
                         steps=(import_step("photos", options.real, out / "test", config, self.quiet, 3),))
        # Each folder has its own seed, so that no picture is in two folders.
        parts = (("test", options.test, 2000), ("labelled", options.labelled, 3000))
        return Phase(title="take labelled photos with the stand-in camera", steps=tuple(
            simulate_step("stand_in_camera", _camera(labelled=True),
                          SimulateJob(out=out / name, count=count, seed=options.seed + shift), self.quiet, count / 500)
            for name, count, shift in parts))

    def _polish(self) -> Step:
        options, out = self.config, self.out
        # The run is short: the learning rate is twice the default, and the averaged refiner must follow faster.
        config = replace(SimGAN.Config.pixels(), steps=options.refiner_steps, batch_size=32, history=1600,
                         discriminator_pretraining=30,
                               lambda_reg=0.3, learning_rate=4e-4, scale=2, ema=0.98)
        run = Run(seed=options.seed, sample_every=max(1, options.refiner_steps // 4))
        # The first model trained on synthetic eyes: its prediction for an image must not change by refining.
        data = SimGAN.Data(synthetic=out / "synthetic", real=out / "photos", estimator=self._run("synthetic", 0))
        return train_step("simgan", data, config, run, out / "refiner", self.quiet, 5 + options.refiner_steps / 12)

    def _make(self, slug: str, number: int) -> list[Step]:
        """Returns the steps for one gaze model; an arm that adapts another arm's model does not train it again."""
        photos, (base, _, way) = self.out / "photos", slug.partition("_")
        if way:
            return [adapt_step(self._run(base, number), self.out / base, photos, self._run(slug, number),
                               "AdaBN" if way == "adabn" else "AdaBN and prior", match_prior=way == "prior")]
        if slug != "self":
            return [self._train(slug, (slug,), number)]
        read = f"photos_read_{number}"
        return [apply_step(self._run("synthetic_prior", number), ApplyJob(input=photos, out=self.out / read),
                           self.quiet, 2), self._train(slug, ("synthetic", read), number)]

    def _train(self, slug: str, data: tuple[str, ...], number: int) -> Step:
        # The network is narrower and the batches smaller than by default, equally for every arm, so that all arms take
        # only minutes. Augmentation and equalisation by themselves bridge much of a gap in looks. The stand-in differs
        # in looks only, so they would leave nothing to show; they are used only with your own photographs.
        is_yours = self.config.real is not None
        config = Gaze.Config(steps=self.config.steps, features=16, batch_size=64, augment=is_yours, equalise=is_yours)
        run = Run(seed=self.config.seed + number, sample_every=0)
        return train_step("gaze", Gaze.Data(data=tuple(self.out / name for name in data)), config, run,
                          self._run(slug, number), self.quiet, 3 + self.config.steps / 30)
