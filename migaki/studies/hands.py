"""Hands: table 4 of Shrivastava et al., CVPR 2017, on a stand-in for a depth sensor or on imported real frames.

Five arms train the same hourglass network: on rendered depth, refined depth and labelled frames, the first two also
with three times as many images. Without `--photos` the "real" frames are a stand-in (`simulate/stand_in_depth.py`):
other poses of the same rendered hand, damaged by published models of a depth sensor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch

from migaki.core.errors import UserError
from migaki.core.files import atomic_write, make_folder
from migaki.core.fit import Run
from migaki.data.folder import ImageFolder
from migaki.data.sets.overlap import require_others
from migaki.lab.arms import Arm, Measure, Trial
from migaki.lab.chain import Phase, Step
from migaki.lab.steps import apply_step, call_step, evaluate_step, simulate_step, train_step
from migaki.lab.study import Plan, Study
from migaki.lab.study_report import StudyReport
from migaki.ops.depth import NYU_CAMERA, project
from migaki.simulate.hand_fit import read_joint_table
from migaki.simulate.hands import HandSimulator
from migaki.simulate.stand_in_depth import StandInDepth
from migaki.stages.apply import ApplyJob
from migaki.stages.evaluate import EvaluateJob
from migaki.stages.simulate import SimulateJob
from migaki.studies.parts.hands_page import SHOWN_AT, compose_hands
from migaki.systems.hourglass import HourglassSystem
from migaki.systems.simgan import SimGAN

PARTS = ("rendered_1", "rendered_2", "rendered_3")
"""Folders of equally many rendered hands: the first is "synthetic", all of them "synthetic 3x". No arm is called
"rendered": a network's folder is its arm's name with the seed."""

ARMS = (("synthetic", "synthetic", 1, False), ("refined", "refined", 1, True), ("real", "", 0, False),
        ("synthetic_3x", "synthetic 3x", 3, False), ("refined_3x", "refined 3x", 3, True))
"""Slug, name, number of parts (0: the real frames), refined or not; in the order of the paper's table."""


class Hands(Study):
    """Table 4: share of hands found within 5 px, trained on rendered, refined and "real" depth."""

    title = "Hands: rendered, refined, real"
    subtitle = "One network that finds 14 joints in depth images, trained on five sets and judged on real frames, or " \
               "on a stand-in for them."
    factors = ("seed",)
    measures = (
        Measure(key="mean_px", name="mean error, px", places=2),
        Measure(key="images_within_5_px", name="images within 5 px, %", scale=100, higher_is_better=True, places=1),
        Measure(key="within_5_px", name="joints within 5 px, %", scale=100, higher_is_better=True, places=1),
    )

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The sets and the budget, which is the same for all arms; the defaults take about 40 minutes of one core."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "real test poses kind size count seed seeds"}
        NAMES: ClassVar[dict[str, str]] = {"real": "photos", "test": "data"}

        real: Path | None = None  # labelled real frames for training (`migaki import nyu`); None: the stand-in
        test: Path | None = None  # labelled real test frames, of other poses; needs --photos
        poses: Path | None = None  # table of measured joints: the first half for training, the second for testing
        synthetic_poses: Literal["table", "made_up"] = "table"  # of the rendered hands; made up if there is no table
        kind: Literal["structured_light", "time_of_flight"] = "structured_light"  # of the stand-in
        size: int = 64  # px, sides of the images
        count: int = 2000  # rendered hands; three times as many in the 3x arms
        real_count: int = 2000  # frames of the stand-in for training
        test_count: int = 1000  # test frames of the stand-in
        seed: int = 0  # the first seed
        seeds: int = 2  # refiners, and networks of each arm; may be raised later, finished ones are kept
        steps: int = 800  # updates of each network
        batch_size: int = 48  # images; a third from each part in the 3x arms
        features: int = 64  # of the network
        refiner_steps: int = 1500  # rounds of Algorithm 1
        recipe: Literal["pixels", "defaults"] = "pixels"  # the refiner's: of the first tables, or simgan's own
        lambda_reg: float = 0.2  # the refiner's
        refiner_features: int = 24  # of the refiner
        hold: bool = True  # a network trained on rendered hands holds the joints in place while refining
        noise_channels: int = 1  # the refiner's noise input, since a sensor loses readings by chance
        lost_readings: bool = True  # the refiner may drop pixels at random instead of painting the losses

        @classmethod
        def quick(cls) -> Hands.Config:
            """One seed and a small part of the budget: about five minutes of one core."""
            return cls(seeds=1, steps=200, batch_size=36, refiner_steps=500, count=1000, real_count=1000,
                       test_count=600)

        def __post_init__(self) -> None:
            for name in ("count", "real_count", "test_count", "seeds", "steps", "features", "refiner_steps"):
                if getattr(self, name) < 1:
                    raise UserError(f"migaki study hands: --{name.replace('_', '-')} must be at least 1")
            if self.size < 24 or self.batch_size < 3:
                raise UserError("migaki study hands: --size must be at least 24, --batch-size at least 3")
            if (self.real is None) != (self.test is None):
                raise UserError("migaki study hands: --photos and --data go together: frames to learn from, and frames "
                                "of other poses to judge on, each imported by migaki import nyu")

    config: Config

    def plan(self, out: Path, quiet: bool) -> Plan:
        """Returns the steps: render, make stand-in frames, then refine and train, one whole seed after the other."""
        config = self.config
        if config.real is not None and config.test is not None:
            require_others(ImageFolder(config.test), ImageFolder(config.real), "--photos")
        phases = [Phase(title="render hands", steps=(*self._split(out), *self._synthetic(out, quiet)))]
        if config.real is None:
            phases.append(Phase(title="stand in for a depth sensor", steps=self._stand_in(out, quiet)))
        for k in range(config.seeds):
            seed = config.seed + k
            networks = [self._train_and_judge(out, slug, self._data(out, parts, refined, seed), seed, quiet)
                        for slug, _, parts, refined in ARMS]
            phases += [Phase(title=f"network on rendered hands, seed {seed}", steps=tuple(networks[0])),
                     Phase(title=f"refiner, seed {seed}", steps=self._refine(out, seed, quiet)),
                     Phase(title=f"other networks, seed {seed}", steps=tuple(
                         step for steps in networks[1:] for step in steps))]
        return Plan(phases=tuple(phases), arms=tuple(
            Arm(name=name or self.called_real, slug=slug, saw=_saw(parts, refined), trials=tuple(
                Trial(seeds=(config.seed + k,), evaluation=out / f"{slug}_{config.seed + k}" / "evaluation")
                for k in range(config.seeds)))
            for slug, name, parts, refined in ARMS))

    def compose(self, report: StudyReport) -> None:
        """Compose the page: the table, the curve, refined images and the networks' predictions."""
        compose_hands(report, self.config, [slug for slug, *_ in ARMS], self._real(report.out), self._test(report.out))

    @property
    def called_real(self) -> str:
        """Returns the name of the arm trained on labelled frames."""
        return "real" if self.config.real else "stand-in for real"

    def _real(self, out: Path) -> Path:
        return self.config.real or out / "stand_in"

    def _test(self, out: Path) -> Path:
        return self.config.test or out / "stand_in_test"

    def _data(self, out: Path, parts: int, refined: bool, seed: int) -> tuple[Path, ...]:
        if parts == 0:
            return (self._real(out),)
        return tuple(out / (f"refined_{name[-1]}_{seed}" if refined else name) for name in PARTS[:parts])

    def _table(self, out: Path, part: str) -> Path | None:
        return out / "poses" / f"{part}.npy" if self.config.poses else None

    def _split(self, out: Path) -> tuple[Step, ...]:
        """Returns steps that halve the table of poses in its order, so that consecutive frames stay together."""
        table = self.config.poses
        if table is None:
            return ()

        def work() -> None:
            points = torch.from_numpy(read_joint_table(table))
            joints = project(points, torch.tensor(NYU_CAMERA, dtype=points.dtype)).numpy()
            half = len(joints) // 2
            for part, rows in (("train", joints[:half]), ("test", joints[half:])):
                with atomic_write(make_folder(out / "poses") / f"{part}.npy") as file:
                    np.save(file, rows)

        return (call_step("split the table of poses into two halves", work, out / "poses" / "test.npy", [table]),)

    def _synthetic(self, out: Path, quiet: bool) -> tuple[Step, ...]:
        config = self.config
        poses = self._table(out, "train") if config.synthetic_poses == "table" else None
        hands = HandSimulator.Config(height=config.size, width=config.size, poses=poses)
        return tuple(simulate_step("hands", hands, SimulateJob(
            out=out / name, count=config.count, seed=100 * config.seed + number), quiet, cost=config.count / 200)
            for number, name in enumerate(PARTS))

    def _stand_in(self, out: Path, quiet: bool) -> tuple[Step, ...]:
        config = self.config
        return tuple(simulate_step("stand_in_depth", StandInDepth.Config(
            height=config.size, width=config.size, kind=config.kind, poses=self._table(out, part)), SimulateJob(
                out=out / name, count=count, seed=100 * config.seed + number), quiet, cost=count / 150)
            for name, part, count, number in (("stand_in", "train", config.real_count, 50),
                                              ("stand_in_test", "test", config.test_count, 51)))

    def _refine(self, out: Path, seed: int, quiet: bool) -> tuple[Step, ...]:
        """Returns steps that train this seed's refiner on the first part and refine all three parts.

        Depth is never matched to frames beforehand: its grey values are millimetres.
        """
        config = self.config
        recipe = SimGAN.Config.pixels() if config.recipe == "pixels" else SimGAN.Config(match=False)
        refiner = replace(
            recipe, height=config.size, width=config.size, channels=1, steps=config.refiner_steps, batch_size=32,
            features=config.refiner_features, blocks=3, lambda_reg=config.lambda_reg, scale=1,
            noise_channels=config.noise_channels, lost_readings=config.lost_readings,
            discriminator_width=0.5, history=1600,
            # Most patches show only background; the discriminator needs a while to find the others.
            discriminator_pretraining=min(300, 2 * config.refiner_steps // 5), augment=False, instance_noise=0.02,
            ema=0.98)
        data = SimGAN.Data(synthetic=out / PARTS[0], real=self._real(out),
                           estimator=out / f"{ARMS[0][0]}_{seed}" if config.hold else None)
        steps = [train_step("simgan", data, refiner, Run(seed=seed, sample_every=max(1, config.refiner_steps // 4)),
                            out / f"refiner_{seed}", quiet, cost=config.refiner_steps / 8)]
        steps += [apply_step(out / f"refiner_{seed}", ApplyJob(
            input=out / name, out=out / f"refined_{name[-1]}_{seed}", seed=seed), quiet, cost=config.count / 300)
            for name in PARTS]
        return tuple(steps)

    def _train_and_judge(self, out: Path, slug: str, data: tuple[Path, ...], seed: int, quiet: bool) -> list[Step]:
        config, folder = self.config, out / f"{slug}_{seed}"
        network = HourglassSystem.Config(
            height=config.size, width=config.size, channels=1, steps=config.steps, batch_size=config.batch_size,
            features=config.features, error_width=SHOWN_AT)
        return [train_step("hourglass", HourglassSystem.Data(data=data), network, Run(seed=seed, sample_every=0),
                           folder, quiet, cost=config.steps * config.batch_size / 300),
                evaluate_step(folder, EvaluateJob(data=self._test(out)), quiet, cost=5)]


def _saw(parts: int, refined: bool) -> str:
    if parts == 0:
        return "frames with labels"
    return "frames, no label" if refined else "nothing"

