"""Words: how visual the words of a list are, by network and pooling, beside image region entropy.

    migaki study words --words WORDS --random PHOTOS --networks gradients squeezenet1_1=FILE.safetensors --out OUT

Each network and pooling ranks the words by their average precision among random pictures. With `--ladder` the pictures
of each word are replaced by random ones step by step, under which a measure of visualness must fall.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from migaki.core.errors import UserError
from migaki.core.files import digest, read_json
from migaki.judges.region_entropy import RegionEntropy
from migaki.judges.texture_rows import PoolingName
from migaki.judges.visualness import Visualness
from migaki.lab.arms import Arm, Measure, Outcome, Trial
from migaki.lab.chain import Phase, Step
from migaki.lab.steps import judge_step
from migaki.lab.study import Plan, Study
from migaki.lab.study_report import StudyReport
from migaki.metrics.ranking import rank_correlation
from migaki.report.tables import Entry, Table

_PRECISION = Measure(key="mean_average_precision", name="mean average precision, %", scale=100, higher_is_better=True,
                     places=1)
_CONTROL = Measure(key="control", name="random pictures, %", scale=100, places=1)
_LADDER = (1.0, 0.75, 0.5, 0.25, 0.0)


class WordStudy(Study):
    """The ranking of a list of words by several networks and poolings, and by the entropy of their regions."""

    title = "How visual words are"
    subtitle = "Pictures of each word against random ones, and over how many kinds of regions they spread."
    factors = ("seed",)
    measures = (_PRECISION, _CONTROL)

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The sets, the networks and the poolings."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "networks pooling floor ladder entropy seeds",
                                            "run": "workers store seed"}

        words: Path  # pictures of words: a subfolder for each, or a column label
        random: Path  # random pictures, of the same source and resolution if possible
        networks: tuple[str, ...] = ("random",)  # each NAME, or NAME@LAYER; see docs/textures.md
        pooling: PoolingName = "gram"  # of these networks
        floor: bool = True  # also Fisher vectors of dense gradients, which no network was trained for
        ladder: bool = True  # also with a share of the pictures replaced by random ones, by the first network
        entropy: bool = True  # also image region entropy, by the first network
        positives: int = 50  # pictures of each word
        negatives: int = 5000  # random pictures, at most
        seeds: int = 2  # drawings of pictures and folds
        size: int = 128  # px, sides of the pictures that the networks see
        through: int = 0  # px that all pictures are reduced to first; 0 = what nine in ten have
        workers: int = 1  # processes that compute features; 0 = one per core
        store: Path | None = None  # folder of computed features; none = in the study's folder
        seed: int = 0  # the first seed

        @classmethod
        def quick(cls, words: Path = Path(), random: Path = Path()) -> WordStudy.Config:
            """Random filters, 800 negatives, one seed, no ladder: minutes; --words and --random are needed beside it.
            """
            return cls(words=words, random=random, networks=("random@size_5+size_15",), floor=False, ladder=False,
                       negatives=800, seeds=1, size=96)

        def __post_init__(self) -> None:
            if self.seeds < 1 or not self.networks:
                raise UserError("migaki study words: --seeds and --networks: at least one of each")

    config: Config

    def plan(self, out: Path, quiet: bool) -> Plan:
        """Returns a judgement for each reading and seed."""
        config, phases, arms = self.config, [], []
        for name, slug, judge in self._judges(out):
            trials = tuple(Trial(seeds=(seed,), evaluation=out / f"{slug}_{seed}")
                           for seed in range(config.seed, config.seed + config.seeds))
            steps = tuple(judge_step(Visualness(replace(judge, seed=number)), (), trial.evaluation, quiet=quiet,
                                     cost=120) for number, trial in enumerate(trials, config.seed))
            phases.append(Phase(title=name, steps=steps))
            arms.append(Arm(name=name, slug=slug, saw="the words' pictures, in folds", trials=trials))
        if config.entropy:
            phases.append(Phase(title="image region entropy", steps=self._entropy(out, quiet)))
        return Plan(phases=tuple(phases), arms=tuple(arms))

    def _judges(self, out: Path) -> list[tuple[str, str, Visualness.Config]]:
        """Name, slug and options of each arm."""
        config, found = self.config, []
        usual = Visualness.Config(
            words=config.words, random=config.random, pooling=config.pooling, positives=config.positives,
            negatives=config.negatives, size=config.size, through=config.through, workers=config.workers,
            store=config.store or out / "store", halves=True)
        for one in dict.fromkeys(config.networks):
            network, at, layer = one.rpartition("@")
            judge = replace(usual, network=network if at else one, layer=layer if at else "")
            kind, _, rest = judge.network.partition("=")
            name = " ".join(part for part in (kind if rest else Path(kind).name, judge.layer, config.pooling) if part)
            found.append((name, f"network_{digest(one)[:8]}", judge))
        first = found[0]
        if config.floor:
            found.append(("dense gradients fisher", "floor",
                          replace(usual, network="gradients", layer="", pooling="fisher", gaussians=128)))
        if config.ladder:
            found += [(f"{first[0]}, {100 * purity:.0f} % of the pictures its own", f"purity_{100 * purity:.0f}",
                       replace(first[2], purity=purity, halves=False)) for purity in _LADDER[1:]]
        return found

    def _entropy(self, out: Path, quiet: bool) -> tuple[Step, ...]:
        config = self.config
        network, at, _ = config.networks[0].rpartition("@")
        judge = RegionEntropy(RegionEntropy.Config(
            words=config.words, random=config.random, network=network if at else config.networks[0],
            pictures=config.positives, size=config.size, through=config.through, seed=config.seed))
        return (judge_step(judge, (), out / "entropy", quiet=quiet, cost=120),)

    def compose(self, report: StudyReport) -> None:
        """Compose the page: all arms, the ladder, the ranking by each, and how far rankings agree."""
        config = self.config
        names = [slug for _, slug, _ in self._judges(report.out)]
        ladder = [slug for slug in names if slug.startswith("purity_")]
        plain = [slug for slug in names if slug not in ladder]
        report.section("Networks")
        report.compare("networks", plain, caption="The control is as many random pictures in place of a word's. "
                       "\"Models\" are drawings of pictures and folds.")
        if ladder:
            report.section("Purity")
            report.compare("purity", [plain[0], *ladder], caption="A measure of visualness falls with the share of a "
                           "word's own pictures.")
        entropies = (read_json(report.out / "entropy" / "evaluation.json")["figures"]["ranking"]
                     if config.entropy else {})
        report.section("The ranking")
        means = {slug: mean_ranking(report[slug]) for slug in plain}
        order = sorted(means[plain[0]], key=lambda word: -means[plain[0]][word])
        rows: list[list[Entry]] = [[word, *(f"{100 * means[slug][word]:.1f}" for slug in plain),
                                    *([f"{entropies[word]:.3f}"] if word in entropies else [])] for word in order]
        report.table("ranking", Table(["word", *(f"{report[slug].arm.name}, %" for slug in plain),
                                       *(["region entropy, bits"] if entropies else [])], rows,
                                      "Mean average precision over the seeds; the entropy is low where a word is "
                                      "visual."))
        report.section("How far rankings agree")
        columns = ["ranking", "the same by half of the pictures", f"by {report[plain[0]].arm.name}",
                   *(["by region entropy"] if entropies else [])]
        report.table("agreement", Table(columns, [self._agreement(report, slug, means, plain[0], entropies)
                                                  for slug in plain],
                                        "Spearman's rank correlation over the words; with the entropy it is negative "
                                        "where both agree. None: fewer than three words, or equal values."))

    def _agreement(self, report: StudyReport, slug: str, means: dict[str, dict[str, float]], first: str,
                   entropies: dict[str, float]) -> list[Entry]:
        halves = [figures.get("halves_rank_correlation") for figures in report[slug].figures]
        known = [value for value in halves if value is not None]
        words = list(means[slug])
        own = [means[slug][word] for word in words]
        found: list[Entry] = [report[slug].arm.name, _correlation(sum(known) / len(known) if known else None),
                              _correlation(rank_correlation(own, [means[first][word] for word in words]))]
        if entropies:
            found.append(_correlation(rank_correlation(own, [entropies[word] for word in words])))
        return found


def mean_ranking(outcome: Outcome) -> dict[str, float]:
    """Returns the mean over the seeds of each word's average precision."""
    every = [figures["ranking"] for figures in outcome.figures]
    return {word: sum(one[word] for one in every) / len(every) for word in every[0]}


def _correlation(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}"
