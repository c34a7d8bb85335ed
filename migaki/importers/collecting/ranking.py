"""Orders collected pictures anew: rows of a frozen network, random pictures as counterexamples, and people's clicks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.plural import counted
from migaki.data.feature_store import FeatureStore, Progress, pooling_of
from migaki.data.files.member import FilePath
from migaki.data.folder import ImageFolder
from migaki.nets.texture_features import open_features
from migaki.ops.label_noise import label_noise_scores
from migaki.ops.reranking import Passes, cosine_to_mean, order_of, two_passes, visual_rank

Method = Literal["two_passes", "label_noise", "visual_rank", "cosine"]

FEWEST = 20
"""Random pictures without which an order rests on the cosine to the mean of the first pictures."""

_DIGITS = 6  # of a score in metadata


@dataclass(frozen=True, kw_only=True, slots=True)
class RankSettings:
    """The features and the method."""

    features: str = "random"  # as `nets.texture_features.open_features` takes it
    layer: str = ""
    pooling: str = "mean_sd"
    size: int = 160  # px
    method: Method = "two_passes"
    passes: Passes = field(default_factory=Passes)
    num_random: int = 2000  # random pictures that are used, evenly spaced over their folder
    store: Path | None = None  # where rows of features are kept; None: the user's cache


def unit_rows(rows: Any) -> torch.Tensor:
    """Returns rows (N, D) of length 1, float32."""
    return torch.nn.functional.normalize(torch.from_numpy(np.array(rows, np.float32)), dim=1)


class Ranker:
    """Computes and keeps features, and orders pictures; safe to share between threads."""

    def __init__(self, settings: RankSettings, random: Path | None) -> None:
        """Open the network; UserError if there is none of that name, layer or pooling, or no folder `random`."""
        self.settings = settings
        self._features = open_features(settings.features)
        self._features.names_of(settings.layer)
        pooling_of(settings.pooling)
        self._store = FeatureStore(settings.store)
        self._files = random_files(random, settings.num_random) if random is not None else []
        self._random: torch.Tensor | None = None

    def rows(self, files: Sequence[FilePath], progress: Progress | None = None) -> torch.Tensor:
        """Returns the features (N, D) of pictures, rows of length 1."""
        if not files:
            return torch.zeros((0, 1))
        settings = self.settings
        return unit_rows(self._store.rows(files, self._features, settings.layer, settings.pooling, size=settings.size,
                                          progress=progress))

    def random(self, progress: Progress | None = None) -> torch.Tensor:
        """Returns the features (M, D) of the random pictures, (0, 1) if there are none."""
        if self._random is None:
            self._random = self.rows(self._files, progress)
        return self._random

    def rank(self, found: torch.Tensor, *, random: torch.Tensor | None = None, right: tuple[int, ...] = (),
             wrong: tuple[int, ...] = ()) -> list[dict[str, Any]]:
        """Returns the columns `rank_1`, `rank_2` and `score` of pictures in the given order, for their features (N, D).

        `random`: features to use instead of the own random pictures; `right` and `wrong`: places that people clicked.
        """
        against = self.random() if random is None else random
        method = self.settings.method if len(against) >= FEWEST else "cosine"
        if method == "two_passes":
            both = two_passes(found, against, self.settings.passes, right=right, wrong=wrong)
            first, last = both.pass_1, both.pass_2
        else:
            first = last = _by(method, found, against, self.settings.passes, right)
        for place in wrong:  # what a person has clicked stands at the end, or at the beginning
            last[place] = last.min() - 1
        for place in right:
            last[place] = last.max() + 1 if place not in wrong else last[place]
        ranks = [_ranks(scores) for scores in (first, last)]
        return [{"rank_1": ranks[0][place], "rank_2": ranks[1][place], "score": round(float(last[place]), _DIGITS)}
                for place in range(len(found))]


def _by(method: str, found: torch.Tensor, random: torch.Tensor, passes: Passes, right: tuple[int, ...]) -> torch.Tensor:
    if method == "label_noise":
        return label_noise_scores(found, random)
    if method == "visual_rank":
        return visual_rank(found, first=passes.first)
    return cosine_to_mean(found, passes.first, right)


def _ranks(scores: torch.Tensor) -> list[int]:
    """Returns the rank of each picture, from 1."""
    ranks = torch.empty(len(scores), dtype=torch.int64)
    ranks[order_of(scores)] = torch.arange(1, len(scores) + 1)
    return [int(rank) for rank in ranks]


def random_files(folder: Path, count: int) -> list[FilePath]:
    """Returns at most `count` pictures of a folder, evenly spaced; UserError if it has fewer than `FEWEST`."""
    pictures = ImageFolder(folder)
    if len(pictures) < FEWEST:
        raise UserError(f"{show(folder)}: has {counted(len(pictures), 'random picture')}: give a folder of at least "
                        f"{FEWEST}, better of a thousand")
    places = np.linspace(0, len(pictures) - 1, min(count, len(pictures))).round().astype(int)
    return [pictures.file(int(place)) for place in places]


def ranked_columns(ranker: Ranker, out: Path, states: Mapping[int, Mapping[str, Any]], ranks: Sequence[int],
                   progress: Progress | None = None) -> dict[int, dict[str, Any]]:
    """Returns the columns of an order for the pictures of a collected folder, by `rank_given`."""
    ranker.random(progress)
    found = ranker.rows([out / states[rank]["file_name"] for rank in ranks], progress)
    return dict(zip(ranks, ranker.rank(found), strict=True))
