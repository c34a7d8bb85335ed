"""Attacks on a classifier: what survives a change of view, and how large a patch must be; each beside its control.

    migaki study attacks --model RUN --data PICTURES --patch-data OTHERS --target CLASS --out OUT

Plain attacks (FGSM, PGD) are compared with EOT on 200 views that none of them has drawn, and with noise of equal norm.
Patches of several sizes are made on OTHERS and judged on PICTURES, beside patches of random colours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from migaki.changes.attack import Attack
from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.core.view_ranges import Views
from migaki.data.folder import ImageFolder
from migaki.judges.attacks import Attacks as AttacksJudge
from migaki.judges.patches import Patches
from migaki.lab.arms import Arm, Measure, Trial
from migaki.lab.chain import Phase, Step
from migaki.lab.steps import change_step, judge_step, train_step
from migaki.lab.study import Plan, Study
from migaki.lab.study_report import StudyReport
from migaki.nets.scorer import open_single
from migaki.report.tables import Entry, Table
from migaki.stages.apply import ApplyJob
from migaki.systems.patch import Patch

_NAMES = {"fgsm": "FGSM", "pgd": "PGD", "eot": "EOT", "lbfgs": "L-BFGS"}
_SUCCESS = Measure(key="success", name="success under views, %", scale=100, higher_is_better=True, places=1)
_FLAT = Measure(key="success_flat", name="as written, %", scale=100, higher_is_better=True, places=1)
_L2 = Measure(key="l2", name="L2, of the range", places=4)
_LINF = Measure(key="linf", name="Linf, of the range", places=4)
_LAB = Measure(key="lab", name="LAB", places=4)


class Attacks(Study):
    """Plain attacks against EOT under held-out views, and patches of several sizes, each beside its control."""

    title = "Attacks on a classifier"
    subtitle = "Pictures changed a little, and patches, judged under views that they were not made with."
    measures = (_SUCCESS, _FLAT, _L2, _LINF, _LAB)

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The classifier, the pictures and the budget, the same for all attacks."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "target methods epsilon step steps samples transforms patch_data shares patch_steps seed seeds",
        }

        model: Path  # the folder of a trained classifier, a file of weights, or the name of a published network
        data: Path  # pictures to attack, and to judge patches on
        patch_data: Path | None = None  # other pictures, on which patches are made; none = no patches
        target: str = ""  # class to lead to, by name or number; none = away from what the model says
        methods: tuple[str, ...] = ("fgsm", "pgd", "eot")  # fgsm, pgd, eot, lbfgs
        epsilon: str = "8/255"  # largest change of fgsm, pgd and eot
        step: str = "1/255"  # length of a step of pgd and eot
        steps: int = 40  # of pgd and eot
        samples: int = 8  # eot: views of each step
        transforms: int = 200  # held-out views of each picture
        shares: tuple[float, ...] = (0.05, 0.1, 0.2)  # of the picture's area that a patch covers
        patch_steps: int = 300  # updates of each patch
        patch_batch: int = 16  # pictures of each update
        repeats: int = 4  # placements of a patch in each picture that is judged
        seed: int = 0  # the first seed
        seeds: int = 3  # repetitions: random starts, views of EOT, and patches
        views: Views = field(default_factory=lambda: Views())  # of EOT and of the judge

        def __post_init__(self) -> None:
            strange = [name for name in self.methods if name not in _NAMES]
            if strange:
                raise UserError(f"migaki study attacks: --methods {' '.join(strange)}: known are {', '.join(_NAMES)}")
            if len({*self.methods}) < len(self.methods) or len({*map(_slug, self.shares)}) < len(self.shares):
                raise UserError("migaki study attacks: --methods and --shares: give each once")
            if not all(0 < share < 1 for share in self.shares):
                raise UserError("migaki study attacks: --shares: give shares of the picture's area, between 0 and 1")
            if min(self.steps, self.samples, self.transforms, self.patch_steps, self.repeats, self.seeds) < 1:
                raise UserError("migaki study attacks: --steps, --samples, --transforms, --patch-steps, --repeats and "
                                "--seeds must be at least 1")
            if self.patch_data is not None and not self.target:
                raise UserError("migaki study attacks: --target: a patch needs the class that the classifier shall say")
            if not self.methods and self.patch_data is None:
                raise UserError("migaki study attacks: nothing to do: name --methods, or give --patch-data")

    config: Config

    def plan(self, out: Path, quiet: bool) -> Plan:
        """Returns the steps: attacks seed by seed, then patches; each is judged at once."""
        config = self.config
        scorer = open_single(config.model)  # and the rest: a mistake shows before hours of work, not after them
        if config.target:
            scorer.class_number(config.target)
        for folder in (config.data, *([config.patch_data] if config.patch_data is not None else [])):
            ImageFolder(folder)
        phases, trials = [], {name: list[Trial]() for name in (*config.methods, *map(_slug, self._shares))}
        for seed in range(config.seed, config.seed + config.seeds):
            steps: list[Step] = []
            for name in config.methods:
                made, evaluation = self._attack(out, name, seed, quiet)
                steps += made
                trials[name].append(Trial(seeds=(seed,), evaluation=evaluation))
            for share in self._shares:
                made, evaluation = self._patch(out, share, seed, quiet)
                steps += made
                trials[_slug(share)].append(Trial(seeds=(seed,), evaluation=evaluation))
            phases.append(Phase(title=f"attack and judge, seed {seed}", steps=tuple(steps)))
        names = _NAMES | {_slug(share): f"patch, {share:.0%} of the area" for share in self._shares}
        return Plan(phases=tuple(phases), arms=tuple(
            Arm(name=names[slug], slug=slug, saw="no label", trials=tuple(found)) for slug, found in trials.items()))

    @property
    def _shares(self) -> tuple[float, ...]:
        return self.config.shares if self.config.patch_data is not None else ()

    def _attack(self, out: Path, name: str, seed: int, quiet: bool) -> tuple[list[Step], Path]:
        config = self.config
        folder, evaluation = out / f"{name}_{seed}", out / f"{name}_{seed}_judged"
        change = Attack.Config(model=config.model, method=name, target=config.target,  # type: ignore[arg-type]
                               epsilon=config.epsilon, step=config.step, steps=config.steps, samples=config.samples,
                               views=config.views)
        judge = AttacksJudge(AttacksJudge.Config(
            data=config.data, attacked=folder, model=config.model, target=config.target, transforms=config.transforms,
            seed=seed, views=config.views))
        return [change_step("attack", change, ApplyJob(input=config.data, out=folder, seed=seed), quiet),
                judge_step(judge, out=evaluation, quiet=quiet)], evaluation

    def _patch(self, out: Path, share: float, seed: int, quiet: bool) -> tuple[list[Step], Path]:
        config = self.config
        assert config.patch_data is not None
        folder, evaluation = out / f"{_slug(share)}_{seed}", out / f"{_slug(share)}_{seed}_judged"
        patch = Patch.Config(target=config.target, share=share, steps=config.patch_steps, batch_size=config.patch_batch)
        judge = Patches(Patches.Config(data=config.data, model=config.model, repeats=config.repeats, seed=seed))
        return [train_step("patch", Patch.Data(model=config.model, data=(config.patch_data,)), patch,
                           Run(seed=seed, sample_every=0), folder, quiet),
                judge_step(judge, [folder], evaluation, quiet=quiet)], evaluation

    def compose(self, report: StudyReport) -> None:
        """Compose the page: attacks under views beside noise, EOT against PGD, patches beside random colours."""
        methods = [name for name in self.config.methods if name in report.outcomes]
        if methods:
            report.section("Attacks under views")
            report.table("attacks", self._attacks_table(report, methods))
            if {"pgd", "eot"} <= set(methods):
                report.differences("eot_minus_pgd", "pgd", ["eot"], caption=_BY_SEED)
        if self._shares:
            report.section("Patches")
            report.table("patches", self._patches_table(report))

    def _attacks_table(self, report: StudyReport, methods: list[str]) -> Table:
        rows: list[list[Entry]] = []
        for name in methods:
            outcome = report[name]
            rows += [[_NAMES[name], *(outcome.spread(measure) for measure in self.measures)],
                     [f"noise with the L2 norm of {_NAMES[name]}",
                      *(outcome.free_spread(measure) for measure in self.measures)]]
        plain = Measure(key="untouched_success", name="", scale=100, places=1)
        flat = Measure(key="untouched_success_flat", name="", scale=100, places=1)
        rows.append(["the pictures as they were", report[methods[0]].spread(plain), report[methods[0]].spread(flat),
                     None, None, None])
        return Table(["pictures", *(measure.name for measure in self.measures)], rows, _CAPTION.format(
            transforms=self.config.transforms, seeds=self.config.seeds,
            goal=f"the target {self.config.target}" if self.config.target else "another class than before"))

    def _patches_table(self, report: StudyReport) -> Table:
        rows: list[list[Entry]] = [
            [report[_slug(share)].arm.name, report[_slug(share)].spread(_SUCCESS),
             report[_slug(share)].free_spread(_SUCCESS)] for share in self._shares]
        return Table(["", "success, %", "patch of random colours, %"], rows,
                     f"The share of {self.config.repeats} placements in each picture in which the model says the "
                     f"target {self.config.target}, of pictures of which it does not say it by itself. The patch was "
                     "made on other pictures.")


_CAPTION = "The share of {transforms} views of each picture in which the model says {goal}, and the same of the " \
           "picture as it was written; {seeds} seeds. Distances are means over pictures: root mean square and " \
           "largest change in units of the range, mean distance in CIE L*a*b* (1 is white from black)."
_BY_SEED = "Seeds differ in random starts and drawn views, not in pictures."


def _slug(share: float) -> str:
    return f"patch_{share:g}"
