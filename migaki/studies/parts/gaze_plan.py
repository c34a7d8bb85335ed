"""The gaze study's steps: which folder is made from which, and which evaluations belong to which arm."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from migaki.judges.folds import Kind, join_evaluations, write_folds
from migaki.lab.arms import Arm, Seeds, Trial
from migaki.lab.chain import Phase, Step
from migaki.lab.steps import apply_step, call_step
from migaki.stages.apply import ApplyJob
from migaki.studies.parts.gaze_ablations import Ablation, ablations
from migaki.studies.parts.gaze_material import GazeMaterial
from migaki.studies.parts.gaze_recipe import GazeRecipe
from migaki.studies.parts.gaze_steps import adapt_step, judge_neighbours

ADAPTED = {"adabn": "AdaBN", "prior": "prior"}
"""Ways to adapt a trained model to unlabelled photographs, by slug; `prior` is AdaBN and the prior of gaze."""

BOUNDS: dict[Kind, str] = {"blocks": "real, folds in order", "lookalikes": "real, folds of look-alikes"}
"""Upper bounds by the kind of their folds."""

DRIFT_ARMS = {"kept": "without what drifts over {:g} deg", "weighed": "what drifts {:g} deg weighs half"}
"""Ways to treat images whose labels have moved, by slug."""


class GazePlan(GazeMaterial):
    """All steps of the study in order, and the arms that they produce. The engine runs them."""

    def __init__(self, config: GazeRecipe, out: Path, quiet: bool = True) -> None:
        super().__init__(config, out, quiet)
        self.ablations = ablations(config) if config.ablations else []
        self._planned: set[str] = set()
        self._arms: list[Arm] = []

    def complete(self) -> tuple[tuple[Phase, ...], tuple[Arm, ...]]:
        """Returns all steps in order, and the arms that they produce."""
        config = self.config
        seeds = range(config.refiner_seeds)
        phases = [
            ("render eyes", self.render()),
            ("take pictures with the stand-in camera" if config.is_stand_in else "read the photographs",
             self.photograph()),
            ("train the estimators that preserve labels and measure drift",
             [step for k in (0, 1)
              for step in self._new(self.train("synthetic" + self.large.suffix, (self.large.folder,), k))]),
            ("train the refiners", [self.polish(config.refiner(), seed) for seed in seeds]),
            ("refine", [step for seed in seeds for step in self.apply_refiner(seed, self.sets)]),
            ("measure looks and drift", [self.measure(None), *(self.measure(seed) for seed in seeds)]),
        ]
        if config.is_judged:
            phases += [("train and judge on synthetic eyes", self._synthetic_arms()),
                     ("train and judge on refined eyes", self._refined_arms()),
                     ("leave out what drifted, or reduce its weight", self._drift_arms()),
                     ("adapt to the photographs", self._adapted_arms()),
                     *self._self_training(),
                     ("k-NN on synthetic eyes", [self._neighbours()]),
                     ("train on real labels, cross-validated", self._bounds())]
        if self.ablations and config.is_judged:
            phases.append(("ablation: the default refiner", self._default_ablation()))
        for variant in self.ablations:
            phases.append((f"ablation: {variant.name}", self._ablation(variant)))
        found = tuple(Phase(title=title, steps=tuple(steps)) for title, steps in phases if steps)
        return found, tuple(self._arms)

    def _new(self, step: Step) -> list[Step]:
        """Returns the step, unless the plan has it already."""
        if step.command in self._planned:
            return []
        self._planned.add(step.command)
        return [step]

    # ---------------------------------------------------------------------------------- arms

    def _arm(self, name: str, slug: str, saw: str, runs: Sequence[tuple[Seeds, Path]]) -> None:
        trials = tuple(Trial(seeds=seeds, evaluation=run / "evaluation") for seeds, run in runs)
        self._arms.append(Arm(name=name, slug=slug, saw=saw, trials=trials))

    def _synthetic_arms(self) -> list[Step]:
        steps: list[Step] = []
        for chosen in self.sets:
            slug = "synthetic" + chosen.suffix
            for k in range(self.config.cnn_seeds):
                steps += [*self._new(self.train(slug, (chosen.folder,), k)), self.evaluate(self.cnn(slug, k))]
            self._arm(f"{chosen.title}synthetic", slug, "nothing",
                      [((None, k), self.cnn(slug, k)) for k in range(self.config.cnn_seeds)])
        return steps

    def _refined_arms(self) -> list[Step]:
        steps: list[Step] = []
        seeds = [(r, k) for r in range(self.config.refiner_seeds) for k in range(self.config.cnn_seeds)]
        for chosen in self.sets:
            slug = "refined" + chosen.suffix
            for r, k in seeds:
                steps += [self.train(slug, (self.refined(chosen, r),), r, k), self.evaluate(self.cnn(slug, r, k))]
            self._arm(f"{chosen.title}refined", slug, "photographs",
                      [((r, k), self.cnn(slug, r, k)) for r, k in seeds])
        return steps

    def _drift_arms(self) -> list[Step]:
        """Returns the steps of one CNN per refiner, without the images that drifted far or with less weight on them."""
        limit, steps = self.config.drift_limit, list[Step]()
        if not limit or not self.config.consistency:
            return []
        runs: dict[str, list[tuple[Seeds, Path]]] = {"kept": [], "weighed": []}
        for r in range(self.config.refiner_seeds):
            kept = self.out / f"kept{self.large.suffix}_{r}"
            job = ApplyJob(input=self.large.folder, out=kept, reject_drift=f"{limit:g}deg")
            steps.append(apply_step(self.refiner(r), job, self.quiet, (self.large.count or 10_000) / 450))
            for way, data, scale in (("kept", kept, 0.0), ("weighed", self.refined(self.large, r), limit)):
                run = self.cnn(f"{way}{self.large.suffix}", r, 0)
                steps += [self.train(f"{way}{self.large.suffix}", (data,), r, 0, drift_scale=scale), self.evaluate(run)]
                runs[way].append(((r, 0), run))
        for way, name in DRIFT_ARMS.items():
            self._arm(f"{self.large.title}refined, {name.format(limit)}", f"{way}{self.large.suffix}", "photographs",
                      runs[way])
        return steps

    def _adapted_arms(self) -> list[Step]:
        steps: list[Step] = []
        bases = {arm.slug: arm for arm in self._arms}
        for base in ("synthetic" + self.large.suffix, "refined" + self.large.suffix):
            for way, title in ADAPTED.items():
                runs: list[tuple[Seeds, Path]] = []
                for trial in bases[base].trials:
                    run, data = trial.evaluation.parent, self.large.folder
                    if trial.seeds[0] is not None:
                        data = self.refined(self.large, trial.seeds[0])
                    adapted = self.cnn(f"{base}_{way}", *(seed for seed in trial.seeds if seed is not None))
                    steps += [self._adapt(run, data, adapted, way), self.evaluate(adapted)]
                    runs.append((trial.seeds, adapted))
                self._arm(f"{bases[base].name} + {title}", f"{base}_{way}", "photographs", runs)
        return steps

    def _adapt(self, run: Path, data: Path, out: Path, way: str) -> Step:
        return adapt_step(run, data, self.photos, out, ADAPTED[way], match_prior=way == "prior")

    def _self_training(self) -> list[tuple[str, list[Step]]]:
        """Returns the steps of CNNs trained on synthetic eyes and on an adapted CNN's predictions for the photographs,
        and of refiners whose estimator is the first of these CNNs."""
        if not self.config.self_training:
            return []
        return [("predict the gaze of the photographs, and train on it", self._read_arms()),
                ("train refiners that are held to the labels, and judge", self._held_arms())]

    def _read_arms(self) -> list[Step]:
        steps: list[Step] = []
        base, runs = "synthetic" + self.large.suffix, []
        for k in range(self.config.cnn_seeds):
            read, run = self.out / f"photos_read_{k}", self.cnn(f"{base}_self", k)
            steps += [apply_step(self.cnn(f"{base}_prior", k), ApplyJob(input=self.photos, out=read), self.quiet, 3),
                      self.train(f"{base}_self", (self.large.folder, read), k), self.evaluate(run)]
            runs.append(((None, k), run))
        self._arm(f"{self.large.title}synthetic + self-training", f"{base}_self", "photographs", runs)
        return steps

    def _held_arms(self) -> list[Step]:
        steps: list[Step] = []
        slug, teacher, runs = f"held{self.large.suffix}", self.cnn(f"synthetic{self.large.suffix}_self", 0), []
        for r in range(self.config.refiner_seeds):
            steps += [self.polish(self.config.held_refiner(), r, "held", teacher),
                      *self.apply_refiner(r, [self.large], "held"), self.measure(r, "held")]
            run = self.cnn(slug, r, 0)
            steps += [self.train(slug, (self.refined(self.large, r, "held"),), r, 0), self.evaluate(run)]
            runs.append(((r, 0), run))
        self._arm(f"{self.large.title}refined, held to labels", slug, "photographs", runs)
        return steps

    def _neighbours(self) -> Step:
        out, k = self.out / "knn" / "evaluation", self.config.neighbours
        self._arm(f"{self.large.title}synthetic ({k}-NN)", "knn", "nothing", [((None, None), out.parent)])
        return call_step(f"judge {k} nearest neighbours of {self.large.folder} on {self.labelled}",
                         partial(judge_neighbours, self.large.folder, self.labelled, k, out),
                         out / "evaluation.json", [self.large.folder, self.labelled], 30)

    def _bounds(self) -> list[Step]:
        steps: list[Step] = []
        for kind, title in BOUNDS.items():
            folds, count = self.out / "folds" / kind, self.config.folds
            steps.append(call_step(f"cut {self.labelled} into {count} folds ({kind})",
                                   partial(write_folds, self.labelled, folds, count, kind), folds / "folds.json",
                                   [self.labelled], 5))
            joined: list[tuple[Seeds, Path]] = []
            for k in range(self.config.bound_seeds):
                runs = [self.cnn(f"bound_{kind}", fold, k) for fold in range(count)]
                steps += [self.train(f"bound_{kind}", (folds / str(fold) / "train",), fold, k)
                          for fold in range(count)]
                out = self.out / f"bound_{kind}_{k}"
                steps.append(call_step(f"judge {self.labelled}, each picture by the run of its fold ({kind}, CNN {k})",
                                       partial(join_evaluations, self.labelled, folds, runs, out / "evaluation"),
                                       out / "evaluation" / "evaluation.json", [folds, *runs], 3))
                joined.append(((None, k), out))
            self._arm(title, f"bound_{kind}", "labels, other folds", joined)
        return steps

    def _default_ablation(self) -> list[Step]:
        """Returns the steps of the default refiners' CNNs, trained as long as the ablations'."""
        small, slug, steps = self.sets[0], "ablation_default", list[Step]()
        runs: list[tuple[Seeds, Path]] = []
        for r in range(min(self.config.ablation_seeds, self.config.refiner_seeds)):
            steps += self._short(slug, self.refined(small, r), r)
            runs += self._short_runs(slug, r)
        self._arm("default", slug, "photographs", runs)
        return steps

    def _short(self, slug: str, data: Path, refiner: int) -> list[Step]:
        steps: list[Step] = []
        for (_, k), run in self._short_runs(slug, refiner):
            steps += [self.train(slug, (data,), refiner, k, steps=self.config.ablation_cnn_steps), self.evaluate(run)]
        return steps

    def _short_runs(self, slug: str, refiner: int) -> list[tuple[tuple[int, int], Path]]:
        return [((refiner, k), self.cnn(slug, refiner, k)) for k in range(self.config.ablation_cnn_seeds)]

    def _ablation(self, variant: Ablation) -> list[Step]:
        """Returns the steps of the first refiners' CNNs on the small set; without labels only looks and drift."""
        steps: list[Step] = []
        small, slug, runs = self.sets[0], f"ablation_{variant.slug}", list[tuple[Seeds, Path]]()
        for r in range(self.config.ablation_seeds):
            steps += [self.polish(variant.config, r, variant.slug), *self.apply_refiner(r, [small], variant.slug),
                      self.measure(r, variant.slug)]
            if self.config.is_judged:
                steps += self._short(slug, self.refined(small, r, variant.slug), r)
                runs += self._short_runs(slug, r)
        if runs:
            self._arm(variant.name, slug, "photographs", runs)
        return steps
