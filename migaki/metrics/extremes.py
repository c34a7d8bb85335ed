"""The best and the worst of many images, kept while they pass by."""

from __future__ import annotations

from typing import Any, NamedTuple

SHOWN = 8
"""How many images are kept at each end."""


class Kept(NamedTuple):
    """An image that is kept: its error, its place among all, what was read and what is true."""

    error: float
    index: int
    read: Any
    truth: Any


class Extremes:
    """Keeps the images with the largest and with the smallest errors; of equal ones those that came first."""

    def __init__(self, shown: int = SHOWN) -> None:
        self._shown = shown
        self.worst: list[Kept] = []
        self.best: list[Kept] = []

    def add(self, error: float, index: int, read: Any, truth: Any) -> None:
        """Look at one image."""
        one = Kept(error, index, read, truth)
        self.worst = sorted([*self.worst, one], key=lambda kept: -kept.error)[: self._shown]
        self.best = sorted([*self.best, one], key=lambda kept: kept.error)[: self._shown]
