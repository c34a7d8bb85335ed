"""The sparse grid under a voxel field: which cells hold something, which vertex has which row, how it gets finer.

Arrays are numpy; vertices and cells are counted (z, y, x) with x the fastest. A grid of (nx, ny, nz) vertices has
(nx - 1)(ny - 1)(nz - 1) cells. Every vertex of an active cell has a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a grid lies: its first vertex (3,), the length of a cell, and the vertices (nx, ny, nz)."""

    low: Array  # scene units
    cell: float  # scene units
    dims: tuple[int, int, int]

    @property
    def cells(self) -> tuple[int, int, int]:
        """The cells (nz, ny, nx)."""
        return self.dims[2] - 1, self.dims[1] - 1, self.dims[0] - 1


def layout_of(low: Array, high: Array, cells: int) -> Layout:
    """Returns the grid over the box from `low` to `high` (3,) with at most `cells` cubic cells."""
    size = np.maximum(np.asarray(high, np.float64) - low, 1e-6)
    cell = float((size.prod() / cells) ** (1 / 3))
    while True:  # whole cells cover the box, which may take some more
        counts = np.maximum(1, np.ceil(size / cell - 1e-6)).astype(int)
        if counts.prod() <= cells:
            break
        cell *= 1.005
    middle = (np.asarray(high, np.float64) + low) / 2
    return Layout(middle - counts * cell / 2, cell, (int(counts[0]) + 1, int(counts[1]) + 1, int(counts[2]) + 1))


def leaps_of(active: Array) -> Array:
    """The distance of each cell to the next active one in cells (Chebyshev), uint8: 0 for active cells, at most 255."""
    from scipy.ndimage import distance_transform_cdt  # takes a quarter of a second to import

    if not active.any():
        return np.full(active.shape, 255, np.uint8)
    found: Array = np.minimum(distance_transform_cdt(~active, "chessboard"), 255).astype(np.uint8)
    return found


def vertices_of(active: Array) -> Array:
    """The vertices (nz, ny, nx) bool that belong to an active cell."""
    needed = np.zeros([side + 1 for side in active.shape], np.bool_)
    for z in (0, 1):
        for y in (0, 1):
            for x in (0, 1):
                part = tuple(slice(o, o + side) for o, side in zip((z, y, x), active.shape, strict=True))
                needed[part] |= active
    return needed


def number_rows(active: Array) -> tuple[Array, Array]:
    """Numbers the vertices of active cells in their order: `index` of all vertices (int32, -1 = none), and for each row
    the place of its vertex (int32)."""
    needed = vertices_of(active).ravel()
    places = np.flatnonzero(needed).astype(np.int32)
    index = np.full(needed.shape, -1, np.int32)
    index[places] = np.arange(len(places), dtype=np.int32)
    return index, places


def grown(active: Array) -> Array:
    """The active cells and their 26 neighbours."""
    from scipy.ndimage import binary_dilation

    found: Array = binary_dilation(active, np.ones((3, 3, 3), np.bool_))
    return found


def finer(active: Array, old: Layout, cells: int) -> tuple[Array, Layout]:
    """A grid of at most `cells` cells over the active part of another; a cell is active if it meets an active one."""
    where = np.argwhere(active)[:, ::-1]
    low = old.low + where.min(0) * old.cell
    new = layout_of(low, old.low + (where.max(0) + 1) * old.cell, cells)
    found = np.ones(new.cells, np.bool_)
    # Along each axis a new cell meets the old cells from `first` to `last`; three passes spread activity so.
    spread = active
    for axis, side in enumerate((2, 1, 0)):
        edges = (new.low[side] + np.arange(new.dims[side]) * new.cell - old.low[side]) / old.cell
        first = np.clip(np.floor(edges[:-1] + 1e-6).astype(int), 0, active.shape[axis] - 1)
        last = np.clip(np.ceil(edges[1:] - 1e-6).astype(int) - 1, 0, active.shape[axis] - 1)
        total = np.concatenate([np.zeros_like(spread.take([0], axis), np.int32), np.cumsum(spread, axis)], axis)
        spread = total.take(last + 1, axis) > total.take(first, axis)
    found &= spread
    return found, new


def resampled(table: Array, index: Array, old: Layout, places: Array, new: Layout, filling: Array) -> Array:
    """The rows of vertices `places` of a new grid, interpolated from an old one; `filling` (W,) stands where the old
    one has no row."""
    nx, ny, _ = new.dims
    grid = np.stack([places % nx, places // nx % ny, places // (nx * ny)], -1)
    at = (new.low + grid * new.cell - old.low) / old.cell
    base = np.clip(np.floor(at).astype(np.int64), 0, np.array(old.dims) - 2)
    part = np.clip(at - base, 0, 1).astype(np.float32)
    found = np.zeros((len(places), table.shape[1]), np.float32)
    for corner in range(8):
        offset = np.array([corner & 1, corner >> 1 & 1, corner >> 2])
        vertex = base + offset
        rows = index[(vertex[:, 2] * old.dims[1] + vertex[:, 1]) * old.dims[0] + vertex[:, 0]]
        weight = np.where(offset, part, 1 - part).prod(1)[:, None]
        found += weight * np.where(rows[:, None] >= 0, table[rows], filling)
    return found
