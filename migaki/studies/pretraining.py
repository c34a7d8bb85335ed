"""Is it worth pre-training here? Amount, domain, quality and grain on the reader's own pictures.

    migaki study pretraining --data PICTURES --train LABELLED --test TEST --out DIR
    migaki study pretraining --data PICTURES --train LABELLED --test TEST --others OTHER_PICTURES \\
        --groups animal:bird,cat vehicle:car,ship --out DIR --preset quick

The four axes are those of Cole et al., "When does contrastive visual representation learning work?", CVPR 2022, at the
size and the budget that are given. Each of their findings is reproduced or refuted with an interval, or left open.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.data.folder import ImageFolder
from migaki.data.sets.few_labels import require_every_class
from migaki.data.sets.overlap import require_others
from migaki.judges.described import classes_of
from migaki.judges.learning_curve import LearningCurve
from migaki.lab.arms import Arm, Measure, Trial
from migaki.lab.chain import Phase, Step
from migaki.lab.steps import call_step, evaluate_step, judge_step, train_step
from migaki.lab.study import Plan, Study
from migaki.lab.study_report import StudyReport
from migaki.stages.evaluate import EvaluateJob
from migaki.studies.parts.pretraining_page import compose_axes
from migaki.studies.parts.pretraining_sets import DAMAGES, damage, groups_of, regroup, take
from migaki.systems.parts.encoding import check_rivals
from migaki.systems.semi_supervised import SemiSupervised
from migaki.systems.simclr import SimCLR


class Pretraining(Study):
    """SimCLR on one's own pictures, fewer, others and damaged ones; says whether it is worth it and what it saves.

    The first line says by how much features with few labels beat the best of what costs nothing, and how many labels
    they save. `--others` adds the axis of the domain, `--groups` that of the grain.
    """

    title = "Is it worth pre-training here?"
    subtitle = "SimCLR without labels, on all pictures, fewer, others, damaged ones; its features judged with few " \
               "labels and many, beside what costs nothing."
    factors = ("seed",)
    measures = (
        Measure(key="accuracy", name="accuracy, most labels, %", scale=100, higher_is_better=True, places=1),
        Measure(key="accuracy_few", name="accuracy, fewest labels, %", scale=100, higher_is_better=True, places=1),
    )

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The sets and the budget, the same for all arms."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "others groups labels amounts damages pretraining steps mirrored seed seeds"}

        data: Path  # pictures to learn from; labels are not read
        train: Path  # labelled pictures that teach the probe; may be the same folder
        test: Path  # other labelled pictures to judge on
        others: Path | None = None  # pictures of another domain; none = that axis is left out
        groups: tuple[str, ...] = ()  # coarser classes, GROUP:CLASS,CLASS,... each; none = the grain is left out
        labels: tuple[int, ...] = (100, 1000)  # labels that teach the probe, ascending
        amounts: tuple[float, ...] = (0.1, 0.25, 0.5)  # shares of the pictures, ascending; all of them come anyway
        damages: tuple[str, ...] = ("jpeg", "small", "pepper")  # of the pictures that are learned from
        pretraining: int = 1500  # updates of SimCLR
        steps: int = 800  # updates of supervised training and of fine-tuning
        rivals: int = 128  # pictures of an update of SimCLR
        batch_size: int = 32  # pictures of an update of supervised training
        features: int = 16  # width of the network
        mirrored: float = 0.5  # share of mirrored views; 0 where left and right matter
        draws: int = 3  # of the labels, for each seed
        seed: int = 0  # the first seed
        seeds: int = 3  # repetitions; may be raised later, finished ones are kept

        @classmethod
        def quick(cls, data: Path = Path("DATA"), train: Path = Path("TRAIN"),
                  test: Path = Path("TEST")) -> Pretraining.Config:
            """One seed, one amount, one damage, few updates: the figures mean little."""
            return cls(data=data, train=train, test=test, seeds=1, draws=1, amounts=(0.25,), damages=("jpeg",),
                       pretraining=60, steps=40)

        def __post_init__(self) -> None:
            if list(self.labels) != sorted(set(self.labels)) or len(self.labels) < 2 or self.labels[0] < 2:
                raise UserError("migaki study pretraining: --labels: give two ascending numbers or more, from 2")
            if list(self.amounts) != sorted(set(self.amounts)) or not all(0 < one < 1 for one in self.amounts):
                raise UserError("migaki study pretraining: --amounts: give ascending shares between 0 and 1")
            if strange := [name for name in self.damages if name not in DAMAGES]:
                raise UserError(f"migaki study pretraining: --damages {' '.join(strange)}: known are "
                                f"{' '.join(DAMAGES)}")
            if min(self.pretraining, self.steps, self.draws, self.seeds) < 1 or self.batch_size < 2:
                raise UserError("migaki study pretraining: --pretraining, --steps, --draws and --seeds must be at "
                                "least 1, --batch-size at least 2")
            check_rivals("--rivals", self.rivals)
            groups_of(self.groups)

    config: Config

    def plan(self, out: Path, quiet: bool) -> Plan:
        """Returns the steps: make the sets once; then seed by seed pre-train, judge, and train with labels beside."""
        config = self.config
        own, known, tested = (ImageFolder(path) for path in (config.data, config.train, config.test))
        for folder in (known, tested):
            folder.require("label")
        require_others(tested, own, "--data")
        require_others(tested, known, "--train")
        if config.others is not None:
            require_others(tested, ImageFolder(config.others), "--others")
        classes = len(set(classes_of(known, tested)[0].tolist()))
        require_every_class(known)
        if config.labels[0] < classes:
            raise UserError(f"--labels {config.labels[0]}: {config.train} has {classes} classes, and each needs a "
                            "label: give at least as many")
        fewest = int(len(own) * min(config.amounts, default=1.0))
        if fewest < config.rivals:
            raise UserError(f"--rivals {config.rivals}: the smallest part of {config.data} has {fewest} pictures: "
                            "lower --rivals, or raise the first of --amounts")
        if config.others is not None and (count := len(ImageFolder(config.others))) < config.rivals:
            raise UserError(f"--rivals {config.rivals}: --others {config.others} has {count} pictures: lower --rivals, "
                            "or give more of them")
        if config.labels[-1] > len(known):
            raise UserError(f"--labels {config.labels[-1]}: {config.train} has {len(known)}: give at most as many")
        sets = self._sets(out, len(own))
        names = {"own": "all pictures"} | {slug: name for slug, (name, _) in sets.items()}
        supervised = {"supervised": "supervised, all labels"} | {
            f"supervised_{kind}": f"supervised, all labels, {DAMAGES[kind]}" for kind in config.damages} | (
            {"supervised_coarse": "supervised, all labels, coarse classes"} if config.groups else {})
        phases = [Phase(title="make the sets", steps=(*(step for _, step in sets.values()), *self._labelled_sets(out)))]
        for seed in range(config.seed, config.seed + config.seeds):
            phases.append(Phase(title=f"pre-train and judge, seed {seed}", steps=(
                *(step for slug in names for step in self._pretrain(out, slug, seed, quiet)),
                *(step for slug in supervised for step in self._supervised(out, slug, seed, quiet)))))
        judged = names | {"own_all": "all pictures, all labels"} | (
            {"coarse_all": "all pictures, all labels, coarse classes"} if config.groups else {}) | supervised | {
            f"probed_{slug}": f"features: {name}" for slug, name in supervised.items() if slug != "supervised_coarse"}
        return Plan(phases=tuple(phases), arms=tuple(
            Arm(name=name, slug=slug, saw="labels (upper bound)" if "supervised" in slug else
                "pictures, all labels" if slug.endswith("_all") else "pictures, few labels",
                trials=tuple(Trial(seeds=(seed,), evaluation=out / f"{slug}_{seed}_judged")
                             for seed in range(config.seed, config.seed + config.seeds)))
            for slug, name in judged.items()))

    def compose(self, report: StudyReport) -> None:
        """Compose the page: the verdict, the four axes, the findings of Cole et al."""
        config = self.config
        passes = config.steps * config.batch_size / len(ImageFolder(config.train))
        compose_axes(report, config.labels, config.damages, len(ImageFolder(config.test)), passes)

    # ---------------------------------------------------------------------------------------------- sets

    def _sets(self, out: Path, count: int) -> dict[str, tuple[str, Step]]:
        """Pictures to pre-train on beside all of one's own, by slug: their name and the step that writes them."""
        config = self.config
        found: dict[str, tuple[str, Step]] = {}
        for share in config.amounts:
            some = int(share * count)
            found[_amount(share)] = (f"{share:.0%} of the pictures", self._take(out, _amount(share),
                                                                                [(config.data, some)]))
        for kind in config.damages:
            found[kind] = (DAMAGES[kind], self._damage(out, kind, config.data, kind))
        if config.others is not None:
            many = min(count, len(ImageFolder(config.others)))
            parts = {"own_equal": ("as many of one's own", [(config.data, many)]),
                     "others": ("as many of another domain", [(config.others, many)]),
                     "half": ("half and half", [(config.data, many - many // 2), (config.others, many // 2)])}
            # Those of another domain are brought to one's own size, as they are read by the same network.
            found |= {slug: (name, self._take(out, slug, one)) for slug, (name, one) in parts.items()}
        return found

    def _labelled_sets(self, out: Path) -> list[Step]:
        """Steps that write labelled pictures damaged, and with coarse classes."""
        config = self.config
        steps: list[Step] = []
        for kind in config.damages:
            steps.append(self._damage(out, f"labelled_{kind}", config.train, kind))
        if config.groups:
            groups = groups_of(config.groups)
            for path, name in ((config.train, "coarse_train"), (config.test, "coarse_test")):
                place = out / name
                steps.append(call_step(f"give {path} the classes {' '.join(config.groups)}",
                                       partial(regroup, path, place, groups), place / "dataset.json", [path]))
        return steps

    def _take(self, out: Path, slug: str, parts: list[tuple[Path, int]]) -> Step:
        place, seed = out / f"set_{slug}", self.config.seed
        about = " and ".join(f"{count} pictures of {path}" for path, count in parts)
        return call_step(f"take {about} for '{slug}', seed {seed}", lambda: take(parts, place, seed, self.config.data),
                         place / "dataset.json", [path for path, _ in parts])

    def _damage(self, out: Path, slug: str, path: Path, kind: str) -> Step:
        place, seed = out / f"set_{slug}", self.config.seed
        return call_step(f"damage {path} by {kind} for '{slug}', seed {seed}", lambda: damage(path, place, kind, seed),
                         place / "dataset.json", [path])

    # ---------------------------------------------------------------------------------------------- runs

    def _pretrain(self, out: Path, slug: str, seed: int, quiet: bool) -> list[Step]:
        """Pre-train on a set and judge the features on clean labelled pictures; the own ones with all their floors."""
        config, run, is_own = self.config, out / f"{slug}_{seed}", slug == "own"
        channels, height, width = ImageFolder(config.data).shape
        simclr = SimCLR.Config(steps=config.pretraining, batch_size=config.rivals, features=config.features,
                               mirrored=config.mirrored, channels=channels, height=height, width=width)
        data = SimCLR.Data(data=(config.data if is_own else out / f"set_{slug}",))
        steps = [train_step("simclr", data, simclr, Run(seed=seed, sample_every=0), run, quiet,
                            cost=config.pretraining * config.rivals / 150),
                 self._judge(config.train, config.test, run, out / f"{slug}_{seed}_judged", quiet,
                             config.steps if is_own else 0)]
        if is_own:  # against supervised training with all labels it gets all of them too
            every = (len(ImageFolder(config.train)),)
            steps.append(self._judge(config.train, config.test, run, out / f"own_all_{seed}_judged", quiet,
                                     labels=every))
            if config.groups:
                steps.append(self._judge(out / "coarse_train", out / "coarse_test", run,
                                         out / f"coarse_all_{seed}_judged", quiet, labels=every))
        return steps

    def _judge(self, train: Path, test: Path, run: Path, place: Path, quiet: bool, steps: int = 0,
               labels: tuple[int, ...] = ()) -> Step:
        config = self.config
        judge = LearningCurve.Config(train=train, data=test, labels=labels or config.labels, draws=config.draws,
                                     steps=steps, batch_size=config.batch_size, mirrored=config.mirrored)
        return judge_step(LearningCurve(judge), [run], place, quiet=quiet,
                          cost=30 + 2 * len(config.labels) * config.draws * steps * config.batch_size / 300)

    def _supervised(self, out: Path, slug: str, seed: int, quiet: bool) -> list[Step]:
        """The same network on all labels, of pictures that are as they were, damaged, or of coarse classes.

        Its features are judged as those without labels are, on clean pictures: a head that learned from damaged ones
        loses more than the features do.
        """
        config, kind = self.config, slug.removeprefix("supervised").removeprefix("_")
        train = {"": config.train, "coarse": out / "coarse_train"}.get(kind, out / f"set_labelled_{kind}")
        test = out / "coarse_test" if kind == "coarse" else config.test
        channels, height, width = ImageFolder(config.data).shape
        learned = SemiSupervised.Config(
            method="none", steps=config.steps, batch_size=config.batch_size, features=config.features,
            mirrored=config.mirrored, channels=channels, height=height, width=width)
        run = out / f"{slug}_{seed}"
        steps = [train_step("semi_supervised", SemiSupervised.Data(data=train), learned, Run(seed=seed, sample_every=0),
                            run, quiet, cost=config.steps * config.batch_size / 300),
                 evaluate_step(run, EvaluateJob(data=test, out=out / f"{slug}_{seed}_judged"), quiet, cost=5)]
        if kind != "coarse":
            steps.append(self._judge(config.train, config.test, run, out / f"probed_{slug}_{seed}_judged", quiet))
        return steps


def _amount(share: float) -> str:
    return f"amount_{100 * share:g}".replace(".", "_")
