"""Tiling: how a network that takes pictures of any size is fed with the tiles of a large one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Tiling:
    """The arguments of `ops.tiling.apply_tiled` under which tiles give what the whole picture would."""

    context: int  # px that a tile must see around what is kept of it
    tile: int = 512  # px, side of what is kept
    blend: int = 16  # px over which neighbours fade into each other
    multiple: int = 1  # tiles begin at multiples of so many px
    scale: int = 1  # output px per input px
