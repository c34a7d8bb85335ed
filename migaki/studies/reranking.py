"""Re-ranking of pictures found by words: networks, layers and rivals at three levels of noise.

`migaki study reranking --queries DIR --negatives RANDOM --out DIR`; DIR has `easy.jsonl`, `medium.jsonl`, `hard.jsonl`
(or files of other names). Features are computed once: for 6,000 + 5,000 pictures some minutes of one quiet core for
each network and layer, `--preset quick` a minute or two.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.judges.reranking import ORDERS, Reranking, read_queries
from migaki.lab.arms import Arm, Measure, Trial
from migaki.lab.chain import Phase
from migaki.lab.steps import judge_step
from migaki.lab.study import Plan, Study
from migaki.lab.study_report import StudyReport
from migaki.report.tables import Entry, Table


class RerankingStudy(Study):
    """Mean average precision of pictures found by words, before and after re-ranking, by network and layer."""

    title = "Re-ranking of pictures found by words"
    subtitle = "The first ten pictures of the given order against random ones: a linear SVM sorts them, and once " \
               "more with the new first twenty."
    factors = ("run",)
    measures = (
        Measure(key="map_2", name="mAP after pass 2, %", scale=100, higher_is_better=True, places=1),
        Measure(key="map_1", name="mAP after pass 1, %", scale=100, higher_is_better=True, places=1),
        Measure(key="p50_2", name="precision at 50 after pass 2, %", scale=100, higher_is_better=True, places=1),
        Measure(key="worse_2", name="words made worse, %", scale=100, places=0),
        Measure(key="map_cosine", name="cosine to the mean, %", scale=100, higher_is_better=True, places=1),
        Measure(key="map_visual_rank", name="VisualRank, %", scale=100, higher_is_better=True, places=1),
        Measure(key="map_label_noise", name="label-noise regression, %", scale=100, higher_is_better=True, places=1),
    )

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The words, the random pictures, and the features to compare."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "queries negatives features levels"}

        queries: Path = Path("queries")  # a folder of files of words: query, rank, file_name, relevant
        negatives: Path = Path("random")  # random pictures
        pictures: Path | None = None  # the folder that holds all pictures; none = the one above that of the queries
        features: tuple[str, ...] = ("random:", "efficientnet_lite0:head:mean", "efficientnet_lite0:block_10:mean_sd",
                                     "efficientnet_lite0:block_4:mean_sd")  # NETWORK[:LAYER[:POOLING]]
        levels: tuple[str, ...] = ()  # files of words, without ending; none named = all
        size: int = 160  # px, side of the pictures that the network sees
        first: int = 10  # pictures of the given order that the first pass takes for right
        second: int = 20  # pictures of the new order that the second pass takes for right
        cost: float = 0.01  # of a violated margin
        num_negatives: int = 2000  # random pictures that are used
        words: int = 0  # the first words only; 0 = all
        store: Path | None = None  # where features are kept; none = the user's cache

        @classmethod
        def quick(cls) -> RerankingStudy.Config:
            """Random filters and four words of each level."""
            return cls(features=("random:size_7+size_15:mean_sd",), words=4, num_negatives=300, size=96)

    config: Config

    def plan(self, out: Path, quiet: bool) -> Plan:
        """Returns a step for each level and network."""
        levels = self._levels()
        for level in levels:  # before hours of features
            read_queries(self.config.queries / f"{level}.jsonl", self.config.pictures)
        phases = [Phase(title=spec, steps=tuple(
            judge_step(Reranking(self._judged(level, spec)), (), _place(out, level, spec), quiet=quiet, cost=300)
            for level in levels)) for spec in self.config.features]
        arms = tuple(Arm(name=f"{level}, {spec.strip(':')}", slug=f"{level}_{_slug(spec)}", saw="labels of no picture",
                         trials=(Trial(seeds=(0,), evaluation=_place(out, level, spec)),))
                     for level in levels for spec in self.config.features)
        return Plan(phases=tuple(phases), arms=arms)

    def compose(self, report: StudyReport) -> None:
        """Compose the page: a table for each level, the gain of pass 2, and clicks."""
        for level in self._levels():
            slugs = [f"{level}_{_slug(spec)}" for spec in self.config.features]
            report.section(level)
            rows: list[list[Entry]] = []
            for spec, slug in zip(self.config.features, slugs, strict=True):
                figures = report[slug].figures[0]
                rows.append([spec.strip(":"), *(f"{100 * figures[f'map_{name}']:.1f}" for name in ORDERS),
                             f"{100 * figures['p50_given']:.1f}", f"{100 * figures['p50_2']:.1f}",
                             f"{100 * figures['worse_2']:.0f}", _gain(figures), f"{100 * figures['map_unclicked']:.1f}",
                             f"{100 * figures['map_clicked']:.1f}"])
            report.table(level, Table(
                ["network, layer, pooling", *(f"mAP: {name}" for name in ORDERS.values()), "P@50 given", "P@50 pass 2",
                 "words worse, %", "pass 2 - pass 1 [95 %], p", "mAP without clicks", "after 5 clicks"], rows,
                "Per cent, over the words; the given order costs nothing. The last two columns leave out what was "
                "clicked."))

    def _levels(self) -> tuple[str, ...]:
        folder = self.config.queries
        if not folder.is_dir():
            raise UserError(f"--queries {show(folder)}: " + (
                "is a file: give the folder that it is in, and name it by --levels" if folder.exists() else
                "there is no such folder: give one with a file of words (.jsonl) for each level of noise"))
        found = tuple(sorted(path.stem for path in folder.glob("*.jsonl")))
        if not found:
            raise UserError(f"--queries {show(folder)}: holds no file of words: give a folder with a .jsonl for each "
                            "level of noise (lines of query, rank, file_name, relevant)")
        for level in self.config.levels:
            if level not in found:
                raise UserError(f"--levels {show(level)}: {show(folder)} has no {show(level)}.jsonl: it has "
                                f"{', '.join(map(show, found[:16]))}")
        return self.config.levels or found

    def _judged(self, level: str, spec: str) -> Reranking.Config:
        config = self.config
        network, layer, pooling = (*spec.split(":"), "", "")[:3]
        return Reranking.Config(
            queries=config.queries / f"{level}.jsonl", negatives=config.negatives, pictures=config.pictures,
            features=network, layer=layer, pooling=pooling or "mean_sd", size=config.size, first=config.first,
            second=config.second, cost=config.cost, num_negatives=config.num_negatives, words=config.words,
            store=config.store)


def _gain(figures: dict[str, float]) -> str:
    if figures["gain_2_low"] is None:
        return f"{100 * figures['gain_2']:+.1f}"
    low, high = 100 * figures["gain_2_low"], 100 * figures["gain_2_high"]
    return f"{100 * figures['gain_2']:+.1f} [{low:+.1f}, {high:+.1f}], {figures['gain_2_p']:.2g}"


def _slug(spec: str) -> str:
    return re.sub("[^a-z0-9]+", "_", spec.lower()).strip("_")[-60:]


def _place(out: Path, level: str, spec: str) -> Path:
    return out / f"{level}_{_slug(spec)}"
