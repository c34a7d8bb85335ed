"""Re-ranking: how much better pictures found by words are ordered than their source ordered them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from migaki import __version__
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.judge import Findings, Judge, Progress, Section
from migaki.data.feature_store import FeatureStore
from migaki.data.sets.listing import list_files
from migaki.data.sets.metadata import jsonl_lines
from migaki.metrics.order import average_precision, precision_at
from migaki.nets.texture_features import open_features
from migaki.ops.label_noise import label_noise_scores
from migaki.ops.reranking import Passes, cosine_to_mean, order_of, two_passes, visual_rank
from migaki.report.statistics import Difference, paired_difference

Array = np.ndarray[Any, Any]

ORDERS = {"given": "given order", "cosine": "cosine to the mean of the first", "visual_rank": "VisualRank",
          "label_noise": "label-noise regression", "1": "SVM, pass 1", "2": "SVM, pass 2"}
"""Slug -> the name of an order."""

_CLICKS = 5
_LOOKED_AT = 50  # pictures that the simulated person looks at
_PICTURES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True, slots=True)
class Query:
    """One word: the files that it found, in the given order, and which are right."""

    word: str
    files: tuple[Path, ...]
    relevant: Array  # (N,) of 0 and 1


class Reranking(Judge):
    """Orders the pictures of words whose truth is known by two passes of a linear SVM, and by its rivals.

    Mean average precision and precision at 50 over the words, the share of words that got worse, and pass 2 against
    pass 1 in pairs. A random picture that a word has found too is no counterexample for it.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The words, the random pictures, and the features."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "features layer pooling size first second cost num_negatives"}

        queries: Path  # lines of JSON: query, rank, file_name (relative to this file), relevant
        negatives: Path  # a folder of random pictures
        pictures: Path | None = None  # the folder that holds all pictures; none = the one above that of the queries
        features: str = "random"  # network: random, efficientnet_lite0, NAME=FILE.safetensors, or a trained run
        layer: str = ""  # of the network, several joined by +; none named = its usual one
        pooling: str = "mean_sd"  # of the layer's map: mean, mean_sd or gram
        size: int = 160  # px, side of the pictures that the network sees
        first: int = 10  # pictures of the given order that the first pass takes for right
        second: int = 20  # pictures of the new order that the second pass takes for right
        cost: float = 0.01  # of a violated margin
        num_negatives: int = 2000  # random pictures that are used
        words: int = 0  # the first words only; 0 = all
        store: Path | None = None  # where features are kept; none = the user's cache

        def __post_init__(self) -> None:
            if min(self.first, self.second, self.num_negatives) < 1 or self.words < 0 or self.cost <= 0:
                raise UserError("migaki evaluate reranking: --first, --second, --num-negatives and --cost must be "
                                "above 0")

    config: Config

    def sources(self) -> tuple[Path, ...]:
        """The folders of the words and of the random pictures."""
        return (self.config.queries.parent, self.config.negatives)

    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns the figures of all orders; the baseline is the given order."""
        config = self.config
        queries = read_queries(config.queries, config.pictures)[: config.words or None]
        pool = [config.negatives / name for name in sorted(list_files(config.negatives))
                if name.lower().endswith(_PICTURES)]
        if not pool:
            raise UserError(f"{show(config.negatives)}: holds no pictures: give a folder of random ones")
        files = list(dict.fromkeys(path.resolve() for path in (*(f for q in queries for f in q.files), *pool)))
        store, features = FeatureStore(config.store), open_features(config.features)
        total = len(files) + len(queries)
        rows = store.rows(files, features, config.layer, config.pooling, size=config.size,
                          progress=lambda done, _: progress(done, total))
        place, unit = {path: k for k, path in enumerate(files)}, _unit(rows)
        results, seconds = list[dict[str, Array]](), list[float]()
        for number, query in enumerate(queries, 1):
            own = [place[path.resolve()] for path in query.files]
            others = [k for k in (place[path.resolve()] for path in pool) if k not in set(own)]
            chosen = np.linspace(0, len(others) - 1, min(config.num_negatives, len(others))).round().astype(int)
            found, taken = orders(unit[own], unit[[others[k] for k in chosen]], query.relevant, self._passes)
            results.append({name: query.relevant[order] for name, order in found.items()} | taken[0])
            seconds.append(taken[1])
            progress(len(files) + number, total)
        return self._findings(queries, results, seconds, features.identity)

    @property
    def _passes(self) -> Passes:
        return Passes(first=self.config.first, second=self.config.second, cost=self.config.cost)

    def _findings(self, queries: Sequence[Query], results: Sequence[Mapping[str, Array]], seconds: Sequence[float],
                  identity: str) -> Findings:
        precision = {name: [average_precision(result[name]) for result in results] for name in results[0]}
        at_50 = {name: [precision_at(result[name], 50) for result in results] for name in results[0]}
        figures: dict[str, Any] = {"num_words": len(queries)}
        for name in ORDERS:
            figures |= {f"map_{name}": _mean(precision[name]), f"p50_{name}": _mean(at_50[name]),
                        f"worse_{name}": _mean(np.less(precision[name], precision["given"]))}
        gain = paired_difference(np.array(precision["1"]), np.array(precision["2"])).judged(higher_is_better=True)
        figures |= {"map_unclicked": _mean(precision["unclicked"]), "map_clicked": _mean(precision["clicked"]),
                    "gain_2": gain.mean, "gain_2_low": gain.bootstrap_low, "gain_2_high": gain.bootstrap_high,
                    "gain_2_p": gain.p_value, "seconds_two_passes": float(np.median(seconds))}
        record = {"queries": str(self.config.queries), "negatives": str(self.config.negatives), "features": identity,
                  "layer": self.config.layer, "pooling": self.config.pooling, "size": self.config.size,
                  "version": __version__}
        base = {f"map_{name}": figures["map_given"] for name in ORDERS}
        return Findings(title="Re-ranking of pictures found by words", record=record, figures=figures, baseline=base,
                        baseline_name="the given order", sections=self._sections(queries, precision, figures),
                        notes=[_verdict(gain, figures)])

    def _sections(self, queries: Sequence[Query], precision: Mapping[str, Sequence[float]],
                  figures: Mapping[str, Any]) -> list[Section]:
        rows = [[ORDERS[name], *(f"{figures[f'{key}_{name}']:.3f}" for key in ("map", "p50", "worse"))]
                for name in ORDERS]
        by_word = [[query.word, len(query.files), *(f"{precision[name][k]:.3f}" for name in ORDERS)]
                   for k, query in enumerate(queries)]
        clicks = [["before", f"{figures['map_unclicked']:.3f}"], ["after", f"{figures['map_clicked']:.3f}"]]
        return [Section(heading="Orders", columns=["order", "mAP", "precision at 50", "share of words made worse"],
                        rows=rows),
                Section(heading=f"{_CLICKS} clicks", columns=["clicks", "mAP of the pictures that were not clicked"],
                        rows=clicks, caption="A person looks at the first 50 of pass 2 and clicks up to three wrong "
                        "ones and two or more right ones, the foremost of each."),
                Section(heading="Words", columns=["word", "pictures", *ORDERS.values()], rows=by_word, is_folded=True)]


def orders(found: torch.Tensor, random: torch.Tensor, relevant: Array,
           passes: Passes) -> tuple[dict[str, Array], tuple[dict[str, Array], float]]:
    """Returns the orders (N,) of one word by slug; then what is right before and after five clicks, and the seconds
    of the two passes. Only the clicks see `relevant`."""
    began = time.perf_counter()
    ranked = two_passes(found, random, passes)
    seconds = time.perf_counter() - began
    scores = {"cosine": cosine_to_mean(found, passes.first), "visual_rank": visual_rank(found, first=passes.first),
              "label_noise": label_noise_scores(found, random), "1": ranked.pass_1, "2": ranked.pass_2}
    made: dict[str, Array] = {"given": np.arange(len(found))}
    made |= {name: order_of(values).numpy() for name, values in scores.items()}
    right, wrong = clicks_of(made["2"], relevant)
    after = order_of(two_passes(found, random, passes, right=right, wrong=wrong).pass_2).numpy()
    left = {"unclicked": made["2"], "clicked": after}
    return made, ({name: np.array([relevant[k] for k in order if k not in right + wrong]) for name, order in
                   left.items()}, seconds)


def clicks_of(order: Array, relevant: Array) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns the places that a person clicks right and wrong among the first of an order: five, up to three wrong."""
    seen = [int(place) for place in order[:_LOOKED_AT]]
    wrong = [place for place in seen if not relevant[place]][:3]
    right = [place for place in seen if relevant[place]][: _CLICKS - len(wrong)]
    return tuple(right), tuple(wrong)


def read_queries(path: Path, pictures: Path | None = None) -> list[Query]:
    """Returns the words of a file, in its order; UserError for a bad line, or a picture outside of `pictures`."""
    root = (pictures or path.resolve().parent.parent).resolve()
    if not path.is_file():
        raise UserError(f"{show(path)}: there is no such file: give lines of JSON with query, rank, file_name, "
                        "relevant")
    by_word: dict[str, list[tuple[int, Path, int]]] = {}
    for number, (_, _, row) in enumerate(jsonl_lines(path), 1):
        word, rank, name, relevant = (row.get(key) for key in ("query", "rank", "file_name", "relevant"))
        if not isinstance(word, str) or type(rank) is not int or not isinstance(name, str) or relevant not in (0, 1):
            raise UserError(f"{show(path)}: line {number} needs query (text), rank (a whole number), file_name (text) "
                            "and relevant (0 or 1): correct it")
        file = (path.parent / name).resolve()
        if root not in file.parents:
            raise UserError(f"{show(path)}: line {number} names a picture outside of {show(root)}: give the folder of "
                            "all pictures by --pictures")
        by_word.setdefault(word, []).append((rank, file, int(relevant)))
    found = []
    for word, rows in by_word.items():
        rows.sort(key=lambda row: row[0])
        if not any(relevant for _, _, relevant in rows):
            raise UserError(f"{show(path)}: no picture of '{show(word)}' is right: correct `relevant`")
        found.append(Query(word, tuple(file for _, file, _ in rows), np.array([relevant for _, _, relevant in rows])))
    if not found:
        raise UserError(f"{show(path)}: is empty: give lines of JSON with query, rank, file_name, relevant")
    return found


def _unit(rows: Any) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.from_numpy(np.array(rows, np.float32)), dim=1)


def _mean(values: Any) -> float:
    """The mean over the words; those of which clicks have left no right picture do not count."""
    return float(np.nanmean(values))


def _verdict(gain: Difference, figures: Mapping[str, Any]) -> str:
    return (f"Pass 2 minus pass 1, mAP over the words with the paired t interval: {gain}. Pass 2 makes "
            f"{figures['worse_2']:.0%} of the words worse than the given order.")
