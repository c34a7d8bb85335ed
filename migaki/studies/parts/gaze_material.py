"""The folders of the gaze study and the steps that make them: images, refiners, CNNs, looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from migaki.importers.photos import Photos
from migaki.judges.looks import measure_looks
from migaki.lab.chain import Step
from migaki.lab.steps import apply_step, call_step, evaluate_step, import_step, simulate_step, train_step
from migaki.stages.apply import ApplyJob
from migaki.stages.evaluate import EvaluateJob
from migaki.stages.simulate import SimulateJob
from migaki.studies.parts.gaze_recipe import GazeRecipe
from migaki.systems.gaze import Gaze
from migaki.systems.simgan import SimGAN

_CHECKED = 1000  # rendered eyes that no model trains on, for the drift of labels
_PHOTOS, _TEST, _CHECK = 1000, 2000, 3000  # seeds are shifted so that no two folders share an image


@dataclass(frozen=True, kw_only=True, slots=True)
class SyntheticSet:
    """Synthetic images of one size."""

    suffix: str  # end of slugs and folder names
    title: str  # beginning of arms' names
    folder: Path
    count: int  # 0: the user's own set


class GazeMaterial:
    """Names every folder of the study and makes the steps of which its arms consist."""

    def __init__(self, config: GazeRecipe, out: Path, quiet: bool = True) -> None:
        self.config, self.out, self.quiet = config, out, quiet
        if config.synthetic is not None:
            self.sets = [SyntheticSet(suffix="", title="", folder=config.synthetic, count=0)]
            self.check = config.synthetic
        else:
            self.sets = [
                SyntheticSet(suffix="", title="", folder=out / "synthetic", count=config.count),
                SyntheticSet(suffix="_4x", title="4x ", folder=out / "synthetic_4x", count=4 * config.count)]
            self.check = out / "check"
        self.large = self.sets[-1]
        copied = config.is_stand_in or config.equalise
        self.photos = out / "photos" if copied or config.photos is None else config.photos
        self.labelled = out / "labelled" if copied or config.labelled is None else config.labelled
        self.estimator, self.judge = self.cnn("synthetic" + self.large.suffix, 0), self.cnn(
            "synthetic" + self.large.suffix, 1)

    # ---------------------------------------------------------------------------------- folders

    def cnn(self, slug: str, *seeds: int) -> Path:
        """Returns the folder of one gaze model's run."""
        return self.out / "_".join(["cnn", slug, *map(str, seeds)])

    def refiner(self, seed: int, variant: str = "") -> Path:
        """Returns the folder of one refiner's run; `variant` is the slug of an ablation."""
        return self.out / f"refiner{f'_{variant}' if variant else ''}_{seed}"

    def refined(self, synthetic: SyntheticSet, seed: int, variant: str = "") -> Path:
        """Returns the folder of the refined images of `synthetic`."""
        return self.out / f"refined{synthetic.suffix}{f'_{variant}' if variant else ''}_{seed}"

    def refined_check(self, seed: int, variant: str = "") -> Path:
        """Returns the folder of the refined images of `check`."""
        return self.out / f"check{f'_{variant}' if variant else ''}_{seed}"

    def looks(self, seed: int | None, variant: str = "") -> Path:
        """Returns the file of distances and drift of one refiner; with None, of the unrefined synthetic images."""
        name = "synthetic" if seed is None else f"refined{f'_{variant}' if variant else ''}_{seed}"
        return self.out / "looks" / name / "looks.json"

    # ---------------------------------------------------------------------------------- steps

    def render(self) -> list[Step]:
        config = self.config
        if config.synthetic is not None:
            return []
        wanted = [(s.folder, s.count, config.seed) for s in self.sets]
        wanted.append((self.check, min(_CHECKED, config.count), config.seed + _CHECK))
        return [simulate_step("eyes", config.eyes(), SimulateJob(out=folder, count=count, seed=seed), self.quiet,
                              count / 550) for folder, count, seed in wanted]

    def photograph(self) -> list[Step]:
        config = self.config
        if config.is_stand_in:
            return [simulate_step("stand_in_camera", config.camera(labelled),
                                  SimulateJob(out=folder, count=config.stand_in, seed=config.seed + shift),
                                  self.quiet, config.stand_in / 300)
                    for folder, labelled, shift in ((self.photos, False, _PHOTOS), (self.labelled, True, _TEST))]
        if not config.equalise or config.photos is None:
            return []
        steps = [import_step("photos", config.photos, self.photos, Photos.Config(labelled=False, equalise=True),
                             self.quiet, 2)]
        if config.labelled is not None:
            steps.append(import_step("photos", config.labelled, self.labelled, Photos.Config(equalise=True),
                                     self.quiet, 2))
        return steps

    def train(self, slug: str, data: Sequence[Path], *seeds: int, steps: int = 0, drift_scale: float = 0.0) -> Step:
        config = self.config.cnn(steps or self.config.cnn_steps, drift_scale)
        return train_step("gaze", Gaze.Data(data=tuple(data)), config, self.config.cnn_run(seeds[-1]),
                          self.cnn(slug, *seeds), self.quiet, self.config.cnn_cost(config))

    def evaluate(self, run: Path) -> Step:
        return evaluate_step(run, EvaluateJob(data=self.labelled), self.quiet, 3)

    def polish(self, config: SimGAN.Config, seed: int, variant: str = "", teacher: Path | None = None) -> Step:
        data = SimGAN.Data(synthetic=self.large.folder, real=self.photos,
                           estimator=teacher or self.estimator if config.consistency else None)
        return train_step("simgan", data, config, self.config.refiner_run(seed), self.refiner(seed, variant),
                          self.quiet, self.config.refiner_cost(config))

    def apply_refiner(self, seed: int, sets: Sequence[SyntheticSet], variant: str = "") -> list[Step]:
        jobs = [(s.folder, self.refined(s, seed, variant), s.count or 10_000) for s in sets]
        if self.check != self.large.folder:
            jobs.append((self.check, self.refined_check(seed, variant), _CHECKED))
        return [apply_step(self.refiner(seed, variant), ApplyJob(input=before, out=after), self.quiet, count / 450)
                for before, after, count in jobs]

    def measure(self, seed: int | None, variant: str = "") -> Step:
        after = None
        if seed is not None:
            is_own = self.check == self.large.folder
            after = self.refined(self.large, seed, variant) if is_own else self.refined_check(seed, variant)
        proof = self.looks(seed, variant)
        return call_step(f"measure the looks of {after or self.check} against {self.photos}",
                         partial(measure_looks, self.check, after, self.photos, self.judge, proof), proof,
                         [self.check, self.photos, self.judge, *([after] if after else [])], 8)
