"""Forgery detectors that have seen no forgery but their own: what sub tasks and the adversarial choice bring.

    migaki study forgeries --photos REAL --held-out OTHER_REAL --judged LABELLED --out OUT

For each kind that is left out, detectors are trained on forgeries of the other kinds and judged on forgeries of that
kind that are made of photographs they have not seen. `judged`, a set by another hand, is judged by detectors of all
kinds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.data.folder import ImageFolder
from migaki.judges.forgeries import Forgeries as ForgeriesJudge
from migaki.judges.forgeries import labels_of
from migaki.lab.arms import Arm, Measure, Trial
from migaki.lab.chain import Phase, Step
from migaki.lab.steps import judge_step, option_words, train_step
from migaki.lab.study import Plan, Study
from migaki.lab.study_report import StudyReport
from migaki.ops.forgery import KINDS
from migaki.report.tables import Entry, Table
from migaki.simulate.forgery import Forgery
from migaki.stages.damage import DamageJob, damage_folder
from migaki.systems.forgery_detector import ForgeryDetector

_AUC = Measure(key="auc", name="AUC", higher_is_better=True, places=3)
_IOU = Measure(key="iou", name="IoU of the location", higher_is_better=True, places=3)
_VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "whole": ("sub tasks and adversarial choice", {}),
    "equal": ("sub tasks, every choice equally likely", {"adversarial": False}),
    "bare": ("real or forged alone, every choice equally likely",
             {"adversarial": False, "mask_weight": 0.0, "kind_weight": 0.0, "ratio_weight": 0.0}),
}
_ALL = "nothing"


class Forgeries(Study):
    """Detectors with and without sub tasks and adversarial choice, judged on kinds of forgery that were left out."""

    title = "Forgeries"
    subtitle = "Detectors that were trained on real photographs alone, judged on kinds of forgery they have not made."
    measures = (_AUC, _IOU)

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The photographs and the budget, the same for all detectors."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "judged left_out variants steps batch_size seed seeds"}

        photos: Path  # real photographs to train on
        held_out: Path  # real photographs of others, of which the judged forgeries are made
        judged: Path | None = None  # real and forged pictures by another hand, judged by detectors of all kinds
        left_out: tuple[str, ...] = KINDS  # kinds that are left out in turn
        variants: tuple[str, ...] = ("whole", "equal", "bare")  # equal: no adversarial choice; bare: nor sub tasks
        steps: int = 600  # updates of each detector
        batch_size: int = 12  # photographs of each update
        features: int = 12  # width of the network
        crop: int = 96  # px, side of the crops that are trained on
        seed: int = 0  # the first seed
        seeds: int = 3  # detectors of each arm

        def __post_init__(self) -> None:
            for name, values, known in (("left-out", self.left_out, KINDS), ("variants", self.variants, _VARIANTS)):
                strange = [value for value in values if value not in known]
                if strange:
                    raise UserError(f"migaki study forgeries: --{name} {' '.join(strange)}: known are "
                                    f"{', '.join(known)}")
                if len({*values}) < len(values):
                    raise UserError(f"migaki study forgeries: --{name} {' '.join(values)}: give each once")
            if not self.variants or min(self.steps, self.batch_size, self.features, self.seeds) < 1:
                raise UserError("migaki study forgeries: --variants, --steps, --batch-size, --features and --seeds "
                                "must be at least 1")
            if not self.left_out and self.judged is None:
                raise UserError("migaki study forgeries: nothing to judge: name kinds in --left-out, or give --judged")

    config: Config

    def plan(self, out: Path, quiet: bool) -> Plan:
        """Returns the steps: the sets to judge on, then all detectors seed by seed."""
        config = self.config
        for folder in (config.photos, config.held_out):  # a mistake shows before hours of work, not after them
            ImageFolder(folder)
        if config.judged is not None:
            labels_of(ImageFolder(config.judged))
        phases = [Phase(title="make the forgeries to judge on", steps=tuple(
            _forge_step(config.held_out, out / f"made_{kind}", kind, quiet) for kind in config.left_out))]
        trials: dict[tuple[str, str], list[Trial]] = {}
        for seed in range(config.seed, config.seed + config.seeds):
            steps: list[Step] = []
            for left in self._left():
                for variant in config.variants:
                    made, evaluation = self._train_and_judge(out, left, variant, seed, quiet)
                    steps += made
                    trials.setdefault((left, variant), []).append(Trial(seeds=(seed,), evaluation=evaluation))
            phases.append(Phase(title=f"train and judge, seed {seed}", steps=tuple(steps)))
        return Plan(phases=tuple(phases), arms=tuple(
            Arm(name=f"{_VARIANTS[variant][0]}; {left} left out", slug=f"{left}_{variant}", saw="photographs, no label",
                trials=tuple(found)) for (left, variant), found in trials.items()))

    def _left(self) -> list[str]:
        return [*self.config.left_out, *([_ALL] if self.config.judged is not None else [])]

    def _train_and_judge(self, out: Path, left: str, variant: str, seed: int, quiet: bool) -> tuple[list[Step], Path]:
        config = self.config
        run, evaluation = out / f"{left}_{variant}_{seed}", out / f"{left}_{variant}_{seed}_judged"
        detector = ForgeryDetector.Config(
            steps=config.steps, batch_size=config.batch_size, features=config.features, crop=config.crop,
            kinds=tuple(kind for kind in KINDS if kind != left), **_VARIANTS[variant][1])
        data = config.judged if left == _ALL else out / f"made_{left}" / "input"
        assert data is not None
        judge = ForgeriesJudge(ForgeriesJudge.Config(data=data))
        return [train_step("forgery_detector", ForgeryDetector.Data(data=(config.photos,)), detector,
                           Run(seed=seed, sample_every=0), run, quiet),
                judge_step(judge, [run], evaluation, quiet=quiet)], evaluation

    def compose(self, report: StudyReport) -> None:
        """Compose the page: AUC and IoU by the kind that was left out, and what each switch brings."""
        for slug, measure, heading in (("auc", _AUC, "Real or forged"), ("iou", _IOU, "Where")):
            report.section(heading)
            report.table(slug, self._table(report, measure))
        chosen = [name for name in self.config.variants if name != self.config.variants[0]]
        if chosen:
            report.section("What each switch brings")
            report.contrasts("differences", [(f"{left}_{self.config.variants[0]}", f"{left}_{name}")
                                             for name in chosen for left in self._left()])

    def _table(self, report: StudyReport, measure: Measure) -> Table:
        rows: list[list[Entry]] = []
        for left in self._left():
            outcomes = [report[f"{left}_{variant}"] for variant in self.config.variants]
            rows.append([left if left != _ALL else "nothing; judged on the set by another hand",
                         *(one.spread(measure) for one in outcomes), outcomes[0].free_spread(measure)])
        free = "sharpness" if measure is _AUC else "an ellipse in the middle"
        return Table(["left out of the training", *(_VARIANTS[name][0] for name in self.config.variants), free], rows,
                     f"Each detector took {self.config.steps} updates of {self.config.batch_size} photographs, each as "
                     "it is and forged; the last weights are judged. Forgeries of the kind that was left out are made "
                     "of photographs that no detector has seen.")


def _forge_step(photos: Path, out: Path, kind: str, quiet: bool) -> Step:
    """`migaki simulate forgery`, of one kind."""
    config, job = Forgery.Config(kinds=(kind,)), DamageJob(input=photos, out=out, count=2, seed=1)
    words = ("simulate", "forgery", *option_words(job), *option_words(config, Forgery.Config()))
    return Step(words=words, proof=out / "input" / "dataset.json",
                work=lambda command: damage_folder("forgery", Forgery(config), job, command=command, quiet=quiet))
