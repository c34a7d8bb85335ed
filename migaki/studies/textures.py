"""Textures: which network, layer and pooling tells the classes of a folder apart, by a linear classifier.

    migaki study textures --data CLASSES --networks random gradients squeezenet1_1=FILE.safetensors --out OUT

Every arm reads the same pictures in the same folds. Each seed draws the folds anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from migaki.core.errors import UserError
from migaki.core.files import digest
from migaki.judges.texture_probe import TextureProbe
from migaki.judges.texture_rows import PoolingName
from migaki.lab.arms import Arm, Measure, Trial
from migaki.lab.chain import Phase
from migaki.lab.steps import judge_step
from migaki.lab.study import Plan, Study
from migaki.lab.study_report import StudyReport
from migaki.report.figures import bars
from migaki.report.tables import Entry, Table

_ACCURACY = Measure(key="accuracy", name="accuracy, %", scale=100, higher_is_better=True, places=1)


@dataclass(frozen=True, slots=True)
class Reading:
    """A network, a layer of it (empty: its usual one), and a pooling."""

    network: str
    layer: str
    pooling: PoolingName

    @property
    def name(self) -> str:
        """For tables: the network without its file, the layer, the pooling."""
        kind, _, rest = self.network.partition("=")
        return " ".join(part for part in (kind if rest else Path(kind).name, self.layer, self.pooling) if part)

    @property
    def slug(self) -> str:
        """For folders."""
        return f"{self.pooling}_{digest(f'{self.network} {self.layer} {self.pooling}')[:8]}"


def readings(networks: tuple[str, ...], poolings: tuple[PoolingName, ...]) -> list[Reading]:
    """Returns every network (NAME, or NAME@LAYER) under every pooling, each once; UserError for none."""
    if not networks or not poolings:
        raise UserError("--networks and --poolings: give at least one of each")
    found = []
    for one in networks:
        network, at, layer = one.rpartition("@")
        found += [Reading(network if at else one, layer if at else "", pooling) for pooling in poolings]
    return list(dict.fromkeys(found))


class TextureStudy(Study):
    """Accuracy by network and pooling on a folder of classes, with intervals."""

    title = "Textures"
    subtitle = "Frozen features of several networks, pooled in several ways, tell classes apart by a linear classifier."
    factors = ("folds",)
    measures = (_ACCURACY,)

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The set, the networks and the poolings."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "test networks poolings seeds", "run": "workers store seed"}

        data: Path  # labelled pictures: a subfolder for each class, or a column label
        test: Path | None = None  # other labelled pictures to be asked of; none = cross-validation
        networks: tuple[str, ...] = ("random", "gradients")  # each NAME, or NAME@LAYER; see docs/textures.md
        poolings: tuple[PoolingName, ...] = ("mean", "mean_sd", "gram", "fisher")  # of all networks
        gaussians: int = 64  # of the Fisher pooling
        per_class: int = 0  # pictures of each class; 0 = all
        folds: int = 4  # of the cross-validation
        seeds: int = 3  # times the folds are drawn
        size: int = 160  # px, sides of the pictures that the networks see
        workers: int = 1  # processes that compute features; 0 = one per core
        store: Path | None = None  # folder of computed features; none = the user's cache
        seed: int = 0  # the first seed

        @classmethod
        def quick(cls, data: Path = Path()) -> TextureStudy.Config:
            """Random filters alone, two poolings, small pictures, one seed: a minute; --data is needed beside it."""
            return cls(data=data, networks=("random@size_5+size_15",), poolings=("mean_sd", "gram"), per_class=24,
                       seeds=1, size=96)

        def __post_init__(self) -> None:
            if self.seeds < 1:
                raise UserError(f"migaki study textures: --seeds {self.seeds}: at least 1")

    config: Config

    def plan(self, out: Path, quiet: bool) -> Plan:
        """Returns a judgement for each reading and seed."""
        config, phases, arms = self.config, [], []
        for one in readings(config.networks, config.poolings):
            trials = tuple(Trial(seeds=(seed,), evaluation=out / f"{one.slug}_{seed}")
                           for seed in range(config.seed, config.seed + (1 if config.test else config.seeds)))
            steps = tuple(judge_step(TextureProbe(TextureProbe.Config(
                data=config.data, test=config.test, network=one.network, layer=one.layer, pooling=one.pooling,
                gaussians=config.gaussians, per_class=config.per_class, folds=config.folds, repeats=1,
                size=config.size, workers=config.workers, store=config.store or out / "store",
                seed=number)), (), trial.evaluation, quiet=quiet, cost=60 if number == config.seed else 5)
                for number, trial in enumerate(trials, config.seed))
            phases.append(Phase(title=one.name, steps=steps))
            arms.append(Arm(name=one.name, slug=one.slug, saw="labels of the classes, in folds", trials=trials))
        return Plan(phases=tuple(phases), arms=tuple(arms))

    def compose(self, report: StudyReport) -> None:
        """Compose the page: the table, the bars, and the classes of the best arm."""
        report.section("Accuracy")
        order = sorted(report.outcomes.values(), key=lambda one: -one.spread(_ACCURACY).mean)
        rows: list[list[Entry]] = []
        for one in order:
            low, high = (100 * float(one.figures[0][f"accuracy_{end}"]) for end in ("low", "high"))
            rows.append([one.arm.name, one.spread(_ACCURACY), f"{low:.1f} to {high:.1f}", one.figures[0]["count"]])
        free = order[0].free_spread(_ACCURACY)
        rows.append(["always the most frequent class", free, None, None])
        report.table("accuracy", Table(["features", _ACCURACY.name, "95 % interval of the first", "pictures"], rows,
                                       "Mean over folds drawn anew, with the standard deviation; of two both values. "
                                       "The interval is over pictures drawn again, near-duplicates together."))
        report.figure("accuracy", bars({one.arm.name: one.values(_ACCURACY) for one in order},
                                       xlabel=_ACCURACY.name, places=1), "Accuracy of each.", is_chart=True)
        best = order[0]
        report.section("Classes of the best")
        names, recall, precision = (best.figures[0][key] for key in ("classes", "recall", "precision"))
        classes: list[list[Entry]] = [[name, _percent(right), _percent(sure)] for name, right, sure in zip(
            names, recall, precision, strict=True)]
        report.table("classes", Table([best.arm.name, "recall, %", "precision, %"], classes))


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.1f}"
