"""Restorer: a system that turns pictures of any size into pictures, and how it is to be fed with tiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, kw_only=True, slots=True)
class Tiling:
    """The arguments of `ops.tiling.apply_tiled` under which tiles give what the whole picture would."""

    context: int  # px that a tile must see around what is kept of it
    tile: int = 512  # px, side of what is kept
    blend: int = 16  # px over which neighbours fade into each other
    multiple: int = 1  # tiles begin at multiples of so many px
    scale: int = 1  # output px per input px


@runtime_checkable
class Restorer(Protocol):
    """What a `System` has besides, if `config.height` and `width` are 0: its `predict` takes pictures of any size."""

    @property
    def tiling(self) -> Tiling:
        """How to cut a large picture."""
        ...
