"""Tiling: how to cut a large picture for a network that takes pictures of any size."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Tiling:
    """The arguments of `ops.tiling.apply_tiled` with which tiles give the same result as the whole picture."""

    context: int  # px of context that a tile needs around the part that is kept
    tile: int = 512  # px, side of the kept part
    blend: int = 16  # px over which neighbouring tiles are blended
    multiple: int = 1  # tiles begin at multiples of this number of px
    scale: int = 1  # output px per input px
