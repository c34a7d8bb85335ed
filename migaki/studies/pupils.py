"""Pupils in infrared: rendered eyes, matched, refined and self-trained, judged person by person on real photographs.

`migaki study pupils --photos PHOTOS --data LABELLED --out DIR`; without SimGAN the defaults take some ten minutes of
one quiet core. A labelled set has the pupil's place (`pupil_x`, `pupil_y`) and a column that says whose eye it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from migaki.changes.match import Match
from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.data.folder import ImageFolder
from migaki.data.sets.overlap import require_others
from migaki.judges.groups import groups_of
from migaki.lab.arms import Arm, Measure, Trial
from migaki.lab.chain import Phase, Step
from migaki.lab.steps import apply_step, change_step, evaluate_step, simulate_step, train_step
from migaki.lab.study import Plan, Study
from migaki.lab.study_report import StudyReport
from migaki.simulate.infrared_eyes import InfraredEyes
from migaki.stages.apply import ApplyJob
from migaki.stages.evaluate import EvaluateJob
from migaki.stages.simulate import SimulateJob
from migaki.studies.parts.pupils_page import compose_pupils
from migaki.systems.camera_refiner import CameraRefiner
from migaki.systems.keypoints import Keypoints
from migaki.systems.simgan import SimGAN

ARMS = {
    "rendered": ("rendered", "nothing"),
    "normed": ("rendered, AdaBN", "photographs, no label"),
    "matched": ("matched", "photographs, no label"),
    "matched_normed": ("matched, AdaBN", "photographs, no label"),
    "camera_refiner": ("matched, camera refiner", "photographs, no label"),
    "simgan": ("matched, SimGAN", "photographs, no label"),
    "self_trained": ("matched, self-trained", "photographs, no label"),
    "real": ("real labels", "labels of other people"),
}
"""Slug -> the arm's name, and what it saw of real data."""

KEY = "pupil_centre"
WIDTH = 100  # errors are told as if pictures were so wide: in per cent of a crop's width


class Pupils(Study):
    """Place of the pupil in infrared crops: what matching, refining and self-training bring, person by person."""

    title = "Pupils in infrared"
    subtitle = "One network that finds the pupil, trained on rendered eyes and judged on photographs of people who " \
               "are in none of its sets."
    factors = ("seed",)
    measures = (
        Measure(key="mean_px", name="mean error, % of the crop's width", places=2),
        Measure(key="group_mean", name="mean over people, %", places=2),
        Measure(key="pck_5_percent", name="within 5 %, % of pictures", scale=100, higher_is_better=True, places=1),
    )

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The photographs and the budget, which is the same for all arms."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "real test labelled person arms count seed seeds steps"}
        NAMES: ClassVar[dict[str, str]] = {"real": "photos", "test": "data"}

        real: Path = Path("photos")  # unlabelled photographs of eyes, of other people than those of the test
        test: Path = Path("labelled")  # labelled photographs to judge on
        labelled: Path | None = None  # labelled photographs of other people, for the arm `real`
        person: str = "person"  # the column of the test set that says whose eye it is
        arms: tuple[str, ...] = ()  # lines of the table to make, by slug; none = all that can be made
        count: int = 6000  # rendered eyes
        size: int = 48  # px, sides of the pictures
        seed: int = 0  # the first seed
        seeds: int = 2  # networks of each arm, and refiners; may be raised later, finished ones are kept
        steps: int = 600  # updates of each network
        batch_size: int = 32  # pictures
        features: int = 24  # of the network
        refiner_steps: int = 1500  # rounds of Algorithm 1
        camera_steps: int = 200  # updates of the camera refiner

        @classmethod
        def quick(cls) -> Pupils.Config:
            """One seed and a part of the budget, without SimGAN."""
            return cls(seeds=1, count=2000, steps=150,
                       arms=("rendered", "matched", "camera_refiner", "self_trained"))

        def __post_init__(self) -> None:
            for name in ("count", "seeds", "steps", "batch_size", "features", "refiner_steps", "camera_steps"):
                if getattr(self, name) < 1:
                    raise UserError(f"migaki study pupils: --{name.replace('_', '-')} must be at least 1")
            if self.size < 16 or self.size % 16:
                raise UserError(f"migaki study pupils: --size {self.size} must be a multiple of 16")
            unknown = [slug for slug in self.arms if slug not in ARMS]
            if unknown:
                raise UserError(f"migaki study pupils: --arms {' '.join(unknown)}: known are {', '.join(ARMS)}")
            if "real" in self.arms and self.labelled is None:
                raise UserError("migaki study pupils: --arms real: give labelled photographs of other people with "
                                "--labelled")

        @property
        def chosen(self) -> tuple[str, ...]:
            """The arms that are made, in the order of the table."""
            known = [slug for slug in ARMS if slug != "real" or self.labelled is not None]
            return tuple(slug for slug in known if not self.arms or slug in self.arms)

    config: Config

    def plan(self, out: Path, quiet: bool) -> Plan:
        """Returns the steps: render and match once, then one whole seed after the other."""
        config = self.config
        test = ImageFolder(config.test)
        test.require(KEY)  # before anything is trained that could not be judged
        groups_of(test, (config.person,))
        for name, folder in (("--photos", config.real), ("--labelled", config.labelled)):
            if folder is not None:
                require_others(test, ImageFolder(folder), name)
        eyes = InfraredEyes.Config(size=config.size)
        matching = ApplyJob(input=out / "rendered", out=out / "matched", seed=config.seed)
        phases = [Phase(title="render and match", steps=(
            simulate_step("infrared_eyes", eyes, SimulateJob(out=out / "rendered", count=config.count,
                                                             seed=config.seed), quiet, cost=config.count / 200),
            change_step("match", Match.Config(to=config.real), matching, quiet, cost=config.count / 500)))]
        for k in range(config.seeds):
            phases.append(Phase(title=f"seed {config.seed + k}", steps=self._seed(out, config.seed + k, quiet)))
        return Plan(phases=tuple(phases), arms=tuple(
            Arm(name=ARMS[slug][0], slug=slug, saw=ARMS[slug][1], trials=tuple(
                Trial(seeds=(config.seed + k,), evaluation=_run(out, slug, config.seed + k) / "evaluation")
                for k in range(config.seeds)))
            for slug in config.chosen))

    def compose(self, report: StudyReport) -> None:
        """Compose the page: the table, people by people, and the pictures."""
        compose_pupils(report, self.config)

    def _seed(self, out: Path, seed: int, quiet: bool) -> tuple[Step, ...]:
        """Returns the steps of a seed. SimGAN and self-training build on the network of the arm `matched`."""
        chosen, steps = self.config.chosen, list[Step]()
        for slug in chosen:
            if slug in ("simgan", "self_trained") and "matched" not in chosen and not any(
                    step.proof.parent == _run(out, "matched", seed) for step in steps):
                steps += self._train(out, "matched", seed, quiet)
            if slug in ("camera_refiner", "simgan"):
                steps += self._refine(out, slug, seed, quiet)
            if slug == "self_trained":
                steps.append(apply_step(_run(out, "matched", seed), ApplyJob(
                    input=self.config.real, out=out / f"read_{seed}"), quiet, cost=20))
            steps += self._train(out, slug, seed, quiet)
        return tuple(steps)

    def _refine(self, out: Path, slug: str, seed: int, quiet: bool) -> list[Step]:
        """Returns steps that train a refiner from matched pictures and refine them."""
        config, matched = self.config, out / "matched"
        place, run = out / f"{slug}_model_{seed}", Run(seed=seed, sample_every=0)
        if slug == "camera_refiner":
            data = CameraRefiner.Data(synthetic=matched, real=config.real)
            camera = CameraRefiner.Config(channels=1, height=config.size, width=config.size, match=False,
                                          steps=config.camera_steps)
            step = train_step("camera_refiner", data, camera, run, place, quiet, cost=config.camera_steps / 3)
        else:
            refiner = SimGAN.Config(channels=1, height=config.size, width=config.size, steps=config.refiner_steps,
                                    features=32, blocks=3, scale=1, discriminator_width=0.5, instance_noise=0.02,
                                    ema=0.98)
            step = train_step("simgan", SimGAN.Data(synthetic=matched, real=config.real,
                                                    estimator=_run(out, "matched", seed)),
                              refiner, run, place, quiet, cost=config.refiner_steps / 4)
        return [step, apply_step(place, ApplyJob(input=matched, out=out / f"{slug}_pictures_{seed}", seed=seed), quiet,
                                 cost=config.count / 300)]

    def _train(self, out: Path, slug: str, seed: int, quiet: bool) -> list[Step]:
        """Returns the steps that train a network on the arm's pictures and judge it by person."""
        config, folder = self.config, _run(out, slug, seed)
        pictures = {"rendered": (out / "rendered",), "normed": (out / "rendered",),
                    "camera_refiner": (out / f"camera_refiner_pictures_{seed}",),
                    "simgan": (out / f"simgan_pictures_{seed}",),
                    "self_trained": (out / "matched", out / f"read_{seed}"),
                    "real": (config.labelled or out,)}.get(slug, (out / "matched",))
        network = Keypoints.Config(channels=1, height=config.size, width=config.size, key=KEY, steps=config.steps,
                                   batch_size=config.batch_size, features=config.features, error_width=WIDTH,
                                   validate=0.0)
        photos = config.real if slug in ("normed", "matched_normed", "self_trained") else None
        return [train_step("keypoints", Keypoints.Data(data=pictures, photos=photos), network,
                           Run(seed=seed, sample_every=0), folder, quiet,
                           cost=config.steps * config.batch_size / 120),
                evaluate_step(folder, EvaluateJob(data=config.test, by=(config.person,)), quiet, cost=10)]


def _run(out: Path, slug: str, seed: int) -> Path:
    return out / f"{slug}_{seed}"
