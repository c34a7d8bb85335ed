"""Copy detection, one ingredient after the other: views, mixing, the spread of descriptors, what the network knew.

`migaki study copies --data PICTURES --references ORIGINALS --queries ALTERED --out DIR [--pretrained FILE]`, PICTURES
being others than the originals: six trainings a seed, of 1,000 updates each about an hour of a quiet core on 128 px;
`--preset quick` some minutes each.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.fit import Run
from migaki.data.folder import ImageFolder
from migaki.data.sets.overlap import require_others
from migaki.judges.copies import Copies, truth_of
from migaki.lab.arms import Arm, Measure, Trial
from migaki.lab.chain import Phase
from migaki.lab.steps import judge_step, train_step
from migaki.lab.study import Plan, Study
from migaki.lab.study_report import StudyReport
from migaki.report.tables import Entry, Table
from migaki.systems.copy_detector import CopyDetector


class CopiesStudy(Study):
    """muAP of copy detectors that differ by one ingredient, beside what needs no training."""

    title = "What finds copies"
    subtitle = "Every row adds one thing to the row above; all see the same pictures, as often. Decoys count."
    measures = (
        Measure(key="micro_ap", name="muAP", higher_is_better=True, places=3),
        Measure(key="micro_ap_plain", name="muAP of plain cosines", higher_is_better=True, places=3),
        Measure(key="recall", name="recall at 90 % precision", higher_is_better=True, places=3),
        Measure(key="first", name="first match right", higher_is_better=True, places=3),
    )

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The sets and the training."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "data references queries pretrained steps seeds",
                                            "network": "side features size"}

        data: Path = Path("pictures")  # to train on; none of the originals
        references: Path = Path("references")  # the originals
        queries: Path = Path("queries")  # altered pictures: columns reference and operators
        pretrained: Path | None = None  # weights of EfficientNet-Lite0: two more rows
        side: int = 128  # px, of the pictures
        features: int = 24  # width of our own network
        size: int = 512  # numbers in a descriptor
        steps: int = 1000  # updates
        batch_size: int = 48  # pictures; each is seen in two views
        seeds: int = 3  # trainings of each row

        @classmethod
        def quick(cls) -> CopiesStudy.Config:
            """A narrow network on small pictures, 150 updates, one seed."""
            return cls(side=64, features=8, steps=150, batch_size=32, seeds=1)

    config: Config

    def plan(self, out: Path, quiet: bool) -> Plan:
        """Returns a training and a judgement for each row and seed."""
        config = self.config
        if min(config.seeds, config.steps) < 1:
            raise UserError("study copies: --seeds and --steps are at least 1")
        self._check()
        phases, arms = [], []
        for slug, (name, detector, with_file) in self._rows().items():
            steps, trials = [], []
            for seed in range(config.seeds):
                place = out / f"{slug}_{seed}"
                data = CopyDetector.Data(data=(config.data,), pretrained=config.pretrained if with_file else None)
                steps.append(train_step("copy_detector", data, detector, Run(seed=seed, sample_every=0), place, quiet,
                                        cost=3600))
                judged = Copies.Config(references=config.references, data=config.queries)
                steps.append(judge_step(Copies(judged), [place], place / "copies", quiet=quiet, cost=60))
                trials.append(Trial(seeds=(seed,), evaluation=place / "copies", file="copies.json"))
            phases.append(Phase(title=name, steps=tuple(steps)))
            arms.append(Arm(name=name, slug=slug, saw="pictures, no label", trials=tuple(trials)))
        return Plan(phases=tuple(phases), arms=tuple(arms))

    def _check(self) -> None:
        """UserError for sets that would stop the study after its first training, or for originals that are learned."""
        config = self.config
        pictures, references, queries = (ImageFolder(path) for path in (config.data, config.references, config.queries))
        if len(pictures) < config.batch_size:
            raise UserError(f"--batch-size {config.batch_size}: {show(config.data)} has {len(pictures)} pictures: "
                            "lower --batch-size or add pictures")
        truth_of(queries, references)
        require_others(references, pictures, "--data")

    def compose(self, report: StudyReport) -> None:
        """Compose the page: a row for each ingredient, what needs no training, and which alterations are found."""
        names = {slug: name for slug, (name, *_) in self._rows().items()}
        free: dict[str, dict[str, float]] = {}
        for slug in names:  # rows that started from weights have more of these
            for found, figures in report[slug].figures[0]["without_training"].items():
                free.setdefault(found, figures)
        report.section("The answer")
        report.text(self._answer(report, free))
        report.section("Ingredients")
        report.compare("ingredients", list(names), measures=self.measures, caption="Scores are less each query's "
                       "likeness to its next best originals, but for plain cosines. The last row is the best of what "
                       "needs no training.")
        if self.config.seeds > 1:
            report.contrasts("against_the_row_above", list(pairwise(names)))
        report.section("What needs no training")
        report.table("without_training", Table(["descriptors", *(one.name for one in self.measures)], [
            [name, *(f"{figures[one.key]:.3f}" for one in self.measures)] for name, figures in free.items()]))
        operators = [Measure(key=key, name=key.removeprefix("micro_ap_").replace("_", " "), places=3)
                     for key in next(iter(free.values())) if key.startswith("micro_ap_") and key != "micro_ap_plain"]
        if not operators:  # the queries do not say how they were altered
            return
        report.section("Which alterations are found")
        copies = report[next(iter(names))].figures[0]["copies_by_operator"]
        rows: list[list[Entry]] = [
            [one.name, copies[one.key.removeprefix("micro_ap_")], *(report[slug].spread(one) for slug in names),
             *(f"{figures[one.key]:.3f}" for figures in free.values())] for one in operators]
        report.table("operators", Table(["muAP", "copies", *names.values(), *free], rows,
                                        "Of the queries that were altered so, among all those without an original."))

    def _answer(self, report: StudyReport, free: dict[str, dict[str, float]]) -> str:
        """One sentence: the best row, and the best of what needs no training."""
        found = {name: report[slug].spread(self.measures[0]) for slug, (name, *_) in self._rows().items()}
        best, plain = max(found, key=lambda name: found[name].mean), max(free, key=lambda name: free[name]["micro_ap"])
        return (f"The best row is '{best}', with a muAP of {found[best].mean_text}; the best of what needs no "
                f"training is '{plain}', with {free[plain]['micro_ap']:.3f}.")

    def _rows(self) -> dict[str, tuple[str, CopyDetector.Config, bool]]:
        """The rows: slug -> name, training, and whether it starts from the file of weights."""
        config = self.config
        first = CopyDetector.Config(
            channels=3, height=config.side, width=config.side, steps=config.steps, batch_size=config.batch_size,
            features=config.features, size=config.size, views="usual", mixing=0.0, entropy=0.0)
        wide = replace(first, views="wide")
        spread = replace(wide, entropy=CopyDetector.Config().entropy)
        mixed = replace(spread, mixing=CopyDetector.Config().mixing)
        rows = {"contrastive": ("contrastive loss, usual views", first, False),
                "wide": ("+ wide views", wide, False), "entropy": ("+ spread of descriptors", spread, False),
                "mixing": ("+ mixing", mixed, False)}
        if config.pretrained is not None:
            rows |= {"frozen": ("+ ImageNet's features, frozen", replace(mixed, backbone_rate=0.0), True),
                     "tuned": ("+ fine-tuned", mixed, True)}
        return rows
