"""The gaze study's options, and the configurations of simulator, refiner and CNN that follow from them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.lab.arms import Measure
from migaki.simulate.eye_model.scene import EyeConfig
from migaki.simulate.stand_in_camera import StandInCamera
from migaki.systems.gaze import Gaze
from migaki.systems.simgan import SimGAN

ERROR = Measure(key="mean_deg", name="mean error, deg", places=2)
SHARE = Measure(key="within_7_deg", name="within 7 deg, %", scale=100, higher_is_better=True, places=1)
"""The measures of the study."""

_SKINS = tuple(range(12))  # of the built-in eye's twenty skins; the stand-in camera's people have the others


@dataclass(frozen=True, kw_only=True, slots=True)
class GazeRecipe:
    """Options of `migaki study gaze`. By default about two hours on two cores, an hour more with the ablations."""

    GROUPS: ClassVar[dict[str, str]] = {
        "usual": "photos labelled synthetic assets equalise ablations seed refiner_seeds cnn_seeds count",
    }
    NAMES: ClassVar[dict[str, str]] = {"labelled": "data"}

    photos: Path | None = None  # unlabelled photographs of eyes; default: pictures of a stand-in camera
    labelled: Path | None = None  # other photographs with gaze labels, for the test; without them only distances
    synthetic: Path | None = None  # your own labelled synthetic eyes, instead of rendering
    assets: Path | None = None  # UnityEyes' Assets folder; without it the built-in eye
    equalise: bool = False  # equalise the histograms of the photographs; MPIIGaze's patches are already equalised
    ablations: bool = False  # also train refiners that differ from the default in one option each
    seed: int = 0  # of all random draws

    # Seeds
    refiner_seeds: int = 3  # refiners of each kind
    cnn_seeds: int = 3  # CNNs for each refiner
    ablation_seeds: int = 1  # refiners of each ablation
    ablation_cnn_seeds: int = 1  # CNNs for each refiner of an ablation
    bound_seeds: int = 1  # CNNs of the upper bound for each fold
    folds: int = 3  # of the cross-validation within the labelled pictures

    # Material
    count: int = 10_000  # rendered eyes of the small sets; the "4x" sets have four times as many
    stand_in: int = 1000  # pictures that the stand-in camera takes, of each kind
    head_roll: tuple[float, float] = (4.5, 2.0)  # deg, mean and sd; the mean is that of the unlabelled photographs
    gaze_prior: Literal["laptop", "wide"] = "laptop"  # where the rendered eyes look

    # Budgets, equal for all arms
    cnn_steps: int = 700  # updates of each CNN, with `cnn_batch` images each
    ablation_cnn_steps: int = 300  # updates of the CNNs of the ablations and of the default refiner beside them
    cnn_batch: int = 128  # images an update
    net: Literal["small", "paper"] = "small"  # our CNN, or the paper's
    rounds: int = 600  # rounds of Algorithm 1 for each refiner
    refiner_batch: int = 32  # synthetic images a round
    lambda_reg: float = 1.0  # weight of the self-regularisation
    consistency: float = 2.0  # weight of the label consistency; the estimator is the first CNN on synthetic eyes
    self_training: bool = True  # also CNNs that learn from predictions on photographs, and refiners with these
    drift_limit: float = 1.0  # deg; also CNNs without refined eyes that drift by more, or with less weight on them
    neighbours: int = 5  # k of the k-NN

    @classmethod
    def quick(cls) -> GazeRecipe:
        """One seed and a tenth of the budget, to see the page: about five minutes."""
        return cls(refiner_seeds=1, cnn_seeds=1, folds=2, count=1500, cnn_steps=150,
                   ablation_cnn_steps=150, rounds=100)

    def __post_init__(self) -> None:
        for name in ("refiner_seeds", "cnn_seeds", "ablation_seeds", "ablation_cnn_seeds", "bound_seeds", "count",
                     "stand_in", "cnn_steps", "ablation_cnn_steps", "cnn_batch", "rounds", "refiner_batch",
                     "neighbours"):
            if getattr(self, name) < 1:
                raise UserError(f"migaki study gaze: --{name.replace('_', '-')} must be at least 1")
        if not all(map(math.isfinite, self.head_roll)) or self.head_roll[1] < 0:
            raise UserError(f"migaki study gaze: --head-roll {self.head_roll[0]:g} {self.head_roll[1]:g}: must be a "
                            "mean and a standard deviation in degrees")
        if self.drift_limit < 0:
            raise UserError(f"migaki study gaze: --drift-limit {self.drift_limit} must be degrees, or 0 for no "
                            "such arms")
        if self.folds < 2:
            raise UserError(f"migaki study gaze: --folds {self.folds}: cross-validation needs at least 2")
        if self.labelled is not None and self.photos is None:
            raise UserError("migaki study gaze: --data pictures judge models of your --photos: give these too")
        if self.synthetic is not None and self.assets is not None:
            raise UserError("migaki study gaze: --synthetic takes the place of rendering: leave out --assets")

    @property
    def is_stand_in(self) -> bool:
        """Returns whether the pictures are the stand-in camera's."""
        return self.photos is None

    @property
    def is_judged(self) -> bool:
        """Returns whether there are labelled pictures for the test."""
        return self.is_stand_in or self.labelled is not None

    def eyes(self) -> EyeConfig:
        """The renderer."""
        # The stand-in camera shows another population of the built-in eye, so the skins must differ.
        identities = _SKINS if self.is_stand_in and self.assets is None else ()
        roll = (0.0, 2.0) if self.is_stand_in else self.head_roll
        return EyeConfig(assets=self.assets, equalise=True, head_roll=roll, gaze_prior=self.gaze_prior,
                         identities=identities)

    def camera(self, labelled: bool) -> StandInCamera.Config:
        """Returns the configuration of the stand-in camera."""
        return StandInCamera.Config(labelled=labelled, equalise=True)

    def cnn(self, steps: int, drift_scale: float = 0.0) -> Gaze.Config:
        """Returns the gaze model of all arms; with a scale (deg) images that have drifted weigh less."""
        config = Gaze.Config.paper() if self.net == "paper" else Gaze.Config()
        return replace(config, steps=steps, batch_size=self.cnn_batch, drift_scale=drift_scale)

    def refiner(self) -> SimGAN.Config:
        """Returns the refiner of all arms except the ablations."""
        return replace(SimGAN.Config.pixels(), steps=self.rounds, batch_size=self.refiner_batch,
                       lambda_reg=self.lambda_reg, consistency=self.consistency,
                       discriminator_pretraining=min(50, self.rounds // 10))

    def cnn_run(self, seed: int) -> Run:
        """Returns the run's options of a CNN."""
        return Run(seed=self.seed + seed, sample_every=0, checkpoint_every=400)

    def held_refiner(self) -> SimGAN.Config:
        """Returns the refiner for which a self-trained estimator must predict the labels themselves."""
        return replace(self.refiner(), hold="label")

    def refiner_run(self, seed: int) -> Run:
        """Returns the run's options of a refiner."""
        return Run(seed=self.seed + seed, sample_every=max(1, self.rounds // 4), checkpoint_every=400)

    # Seconds on two cores (Xeon with AMX, nothing else running), for the progress: rates measured in November 2026.

    def cnn_cost(self, config: Gaze.Config) -> float:
        """Returns the cost of training one CNN."""
        return 6 + config.steps * config.batch_size / 830

    def refiner_cost(self, config: SimGAN.Config) -> float:
        """Returns the cost of training one refiner."""
        descents = config.refiner_pretraining + config.discriminator_pretraining + (
            config.steps - config.refiner_pretraining - config.discriminator_pretraining
        ) * (config.num_refiner_steps + config.num_discriminator_steps)
        return 8 + descents * config.batch_size / 32 * (4 if config.scale == 1 else 1) / 7.8
