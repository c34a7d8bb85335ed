"""explainer: why a classifier says what it says of single pictures, one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from migaki.changes.explain import fits, patterns_of
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.files import framing
from migaki.nets.scorer import open_scorer
from migaki.ops.attribution_patterns import Patterns
from migaki.ops.explaining import METHODS, PATTERNED, Settings, explain
from migaki.ops.overlay import overlay

Array = np.ndarray[Any, Any]

_BEST = 5
_PATTERN_COUNT = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The picture as the classifier saw it and painted with its explanation, (C, H, W) in [0, 1]; the explained class;
    the likeliest classes with their shares."""

    picture: Array
    painted: Array
    explained: str
    shares: tuple[tuple[str, float], ...]


class PictureExplainer:
    """A classifier that is asked by several threads, one at a time.

    Pictures are scaled to cover the classifier's size and cut around the centre; for one that takes any size they are
    scaled down to `size` px on the longer side. Raises UserError for what is no classifier.
    """

    def __init__(self, what: Path, patterns: Path | None = None, size: int = 224) -> None:
        self.scorer, self.size = open_scorer(what), size
        self.scorer.requires_grad_(False)
        self._patterns: Patterns | None = None
        if patterns is not None:
            self._patterns = patterns_of(self.scorer, patterns, _PATTERN_COUNT)
        self._turn = Lock()

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that can be asked for."""
        return tuple(method for method in METHODS if self._patterns is not None or method not in PATTERNED)

    def explain(self, pixels: Array, method: str, target: str = "") -> Answer:
        """Explains a picture (C, H, W) of bytes, 16 bits or floats in [0, 1]; `target` is a class, the likeliest if
        empty.

        Raises UserError for a method that does not apply, and for a class that there is not.
        """
        if method not in self.methods:
            raise UserError(f"'{show(method)}' cannot be asked for here: {', '.join(self.methods)}")
        image = self._fitted(pixels)
        number = self.scorer.class_number(target) if target else -1
        settings = Settings(samples=15, steps=30)
        with self._turn, fits(self.scorer):
            with torch.no_grad():
                scores = self.scorer(image)[0]
            chosen = torch.tensor([number if number >= 0 else int(scores.argmax())])
            maps = explain(method, self.scorer, image, chosen, torch.tensor([0]), settings, self._patterns)
        shares = torch.sigmoid(scores) if self.scorer.several else torch.softmax(scores, 0)
        best = scores.topk(min(_BEST, len(scores))).indices.tolist()
        return Answer(picture=image[0].numpy(), painted=overlay(image, maps)[0].numpy(),
                      explained=self.scorer.class_name(int(chosen[0])),
                      shares=tuple((self.scorer.class_name(place), float(shares[place])) for place in best))

    def _fitted(self, pixels: Array) -> Tensor:
        """The picture as the classifier takes it, (1, C, H, W) in [0, 1]."""
        where, has_alpha = Path("the picture"), pixels.shape[0] in (2, 4)
        array = framing.check_values(pixels, None, where)
        array = framing.convert_channels(array, self.scorer.shape[0], has_alpha=has_alpha, path=where)
        size = self.scorer.shape[1:]
        if not size[0]:
            longer = max(array.shape[1:])
            size = tuple(max(32, round(side * min(1.0, self.size / longer))) for side in array.shape[1:])
        return torch.from_numpy(np.ascontiguousarray(framing.to_unit(framing.resize(array, (size[0], size[1])))))[None]
