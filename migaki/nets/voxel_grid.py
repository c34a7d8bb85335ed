"""A sparse voxel grid of densities and spherical harmonics, marched by compiled kernels or torch.

Plenoxels (Fridovich-Keil, Yu et al., CVPR 2022) with the density of DVGO (Sun et al., CVPR 2022); see
`ops.volume_march` for what a row of the table holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from migaki.ops import volume_grid as grids
from migaki.ops import volume_march as kernels
from migaki.ops.volume_grid import Layout
from migaki.ops.volume_jit import in_ranges
from migaki.ops.volume_torch import Marched, harmonics
from migaki.ops.volume_torch import march as torch_march

Array = np.ndarray[Any, Any]

EMPTY = -10.0
"""Raw density, below the shift, of vertices that nothing is known of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Marching:
    """How rays are marched. Lengths are in cells."""

    step: float = 0.5  # between samples
    faint: float = 1e-4  # opacity of samples that are left out
    opaque: float = 1e-3  # light under which a ray ends
    alpha: float = 1e-2  # opacity of a cell of raw density 0
    activation: int = kernels.LINEAR

    @property
    def shift(self) -> float:
        """What is added to raw densities: DVGO, equation 9."""
        return math.log(math.expm1(-math.log1p(-self.alpha)))


@dataclass(frozen=True, slots=True)
class Derived:
    """What follows from the active cells."""

    layout: Layout
    index: Tensor  # int32, the row of each vertex or -1
    leap: Tensor  # uint8, of each cell
    places: Tensor  # (V,) int32, the vertex of each row


@dataclass(frozen=True, slots=True)
class Samples:
    """Rays and what they met, in arrays that the kernels share."""

    basis: Array
    rows: Array
    values: Array
    starts: Array
    counts: Array
    colour: Array
    through: Array


class VoxelGrid(nn.Module):
    """The grid. Its sizes follow from the arguments; how much of them is in use follows from the buffers.

    Args:
        low, high: The box, scene units.
        sides: Cells of each stage: n stands for at most n^3 in the box.
        rows: Vertices that may hold something at a time.
        degree: Of the spherical harmonics, 0 to 2.
        contracted: Whether the grid holds all of space: the box's cube is the inner half of it.
    """

    active: Tensor
    dims: Tensor
    low: Tensor
    cell: Tensor

    def __init__(self, low: tuple[float, ...], high: tuple[float, ...], sides: tuple[int, ...], rows: int,
                 degree: int, contracted: bool = False) -> None:
        super().__init__()
        self.middle = tuple((a + b) / 2 for a, b in zip(low, high, strict=True)) if contracted else (0.0, 0.0, 0.0)
        self.reach = max(b - a for a, b in zip(low, high, strict=True)) / 2  # half the box, scene units
        self.extent = self.reach if contracted else 0.0
        if contracted:
            low, high = (-2.0, -2.0, -2.0), (2.0, 2.0, 2.0)
        self.degree, self.terms = degree, (degree + 1) ** 2
        width = {0: 4, 1: 16, 2: 32}[degree]
        first = grids.layout_of(np.array(low), np.array(high), sides[0] ** 3)
        if math.prod(first.dims) > rows:
            raise ValueError(f"a first grid of {math.prod(first.dims):,} vertices does not fit into {rows:,} rows")
        self.table = nn.Parameter(torch.zeros(rows, width))
        used = math.prod(first.cells)
        self.register_buffer("active", torch.cat([torch.ones(used, dtype=torch.uint8),
                                                  torch.zeros(max(sides) ** 3 - used, dtype=torch.uint8)]))
        self.register_buffer("dims", torch.tensor(first.dims, dtype=torch.int64))
        self.register_buffer("low", torch.tensor(first.low.tolist(), dtype=torch.float64))
        self.register_buffer("cell", torch.tensor(first.cell, dtype=torch.float64))
        self._derived: Derived | None = None

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)  # type: ignore[no-untyped-call, unused-ignore]
        self._derived = None

    @property
    def derived(self) -> Derived:
        """What follows from the active cells, on the device of the table."""
        found = self._derived
        if found is None or found.index.device != self.table.device:
            layout = Layout(self.low.cpu().numpy(), float(self.cell), tuple(self.dims.tolist()))
            cells = self.active[: math.prod(layout.cells)].cpu().numpy().astype(np.bool_).reshape(layout.cells)
            index, places = grids.number_rows(cells)
            leap = grids.leaps_of(cells).ravel()
            found = Derived(layout, *(torch.from_numpy(one).to(self.table.device) for one in (index, leap, places)))
            self._derived = found
        return found

    def basis(self, directions: Tensor) -> Tensor:
        """The spherical harmonics (N, K) of unit vectors (N, 3)."""
        return harmonics(directions, self.degree)

    @property
    def unit(self) -> float:
        """The length in scene units of 1 along a marched ray."""
        return self.extent or self.derived.layout.cell

    @property
    def scale(self) -> float:
        """Cells in a unit of contracted space; 0 for a box."""
        return 1 / self.derived.layout.cell if self.extent else 0.0

    def placed(self, origins: Tensor) -> Tensor:
        """Places (N, 3) of scene units where rays are marched: in cells from the first vertex, or in units of
        contracted space."""
        if not self.extent:
            return (origins - self.low.float()) / self.derived.layout.cell
        return torch.stack([(origins[:, axis] - self.middle[axis]) / self.extent for axis in range(3)], 1)

    def samples_a_ray(self, step: float) -> int:
        """The most samples that a ray takes; some more could only begin far outside of the inner cube."""
        dims = self.derived.layout.dims
        if self.extent:
            return math.ceil(9 / self.derived.layout.cell / step) + 2
        return math.ceil(math.sqrt(sum((side - 1) ** 2 for side in dims)) / step) + 2

    def march(self, origins: Tensor, directions: Tensor, jitter: Tensor, near: float, far: float,
              how: Marching) -> Marched:
        """March rays of scene units in torch, differentiable; distances of the result are in scene units.

        Shape: origins, directions (N, 3); jitter (N,) in [0, 1)
        """
        derived, unit = self.derived, self.unit
        found = torch_march(
            self.placed(origins), directions, jitter, self.basis(directions), self.table, derived.index, derived.leap,
            self.dims, shift=how.shift, step=how.step, near=near / unit, far=far / unit, faint=how.faint,
            opaque=how.opaque, activation=how.activation, samples=self.samples_a_ray(how.step), low=self.low.float(),
            scale=self.scale)
        return Marched(found.colour, found.through, found.weights, found.distances * unit, found.colours,
                       found.normals, found.rows, found.kept)

    def march_compiled(self, origins: Tensor, directions: Tensor, jitter: Tensor, near: float, far: float,
                       how: Marching, threads: int) -> Samples:
        """The same by the compiled kernel; keeps the samples for the kernels that follow."""
        derived = self.derived
        count, most = len(origins), self.samples_a_ray(how.step)
        found = Samples(
            self.basis(directions).numpy(), np.empty((count * most, 4), np.int32),
            np.empty((count * most, kernels.WIDTH), np.float32), np.arange(count) * most, np.zeros(count, np.int64),
            np.empty((count, 3), np.float32), np.empty(count, np.float32))
        begin, unit, scale = self.placed(origins).contiguous().numpy(), self.unit, np.float32(self.scale)
        low = self.low.float().numpy()
        table, index, leap = self.table.detach().numpy(), derived.index.numpy(), derived.leap.numpy()
        dims, towards, shifts = self.dims.numpy(), directions.contiguous().numpy(), jitter.numpy()
        shift, step, first, last, faint, opaque = (
            np.float32(value) for value in (how.shift, how.step, near / unit, far / unit, how.faint, how.opaque))

        def part(_: int, start: int, stop: int) -> None:
            kernels.march(begin, towards, shifts, found.basis, table, index, leap, dims, shift, step, first, last,
                          faint, opaque, how.activation, low, scale, found.rows, found.values, found.starts,
                          found.counts, found.colour, found.through, start, stop)

        in_ranges(part, count, threads)
        return found

    def surfaces(self, samples: Samples) -> tuple[Tensor, Tensor]:
        """The distance (N,) in scene units and the normal (N, 3) of the surface that each ray meets."""
        distances = np.empty(len(samples.counts), np.float32)
        normals = np.empty((len(samples.counts), 3), np.float32)
        kernels.surfaces(self.table.detach().numpy(), samples.rows, samples.values, samples.starts, samples.counts,
                         distances, normals)
        return torch.from_numpy(distances) * self.unit, torch.from_numpy(normals)

    @torch.no_grad()
    def carve(self, strength: Tensor, keep: float, moments: Sequence[Tensor]) -> None:
        """Give up cells that are not among the strong ones (see `refine`) and their neighbours; values stay.

        `moments` (rows, W) are moved as the table is. Nothing changes where no cell is strong enough.
        """
        derived = self.derived
        strong, was = self._strong(strength, keep)
        if not strong.any():
            return
        active = grids.grown(strong) & was
        places = np.flatnonzero(grids.vertices_of(active).ravel())
        rows = derived.index[torch.from_numpy(places).to(derived.index.device)].long()
        for part in (self.table, *moments):
            part[: len(rows)] = part[rows].clone()
            part[len(rows) :] = 0
        self._activate(active, derived.layout)

    @torch.no_grad()
    def refine(self, strength: Tensor, keep: float, cells: int) -> None:
        """Keep the cells whose strength (V,), given by the row of the first vertex, is at least `keep`, with their
        neighbours, and lay a grid of at most `cells` cells over them.

        The new grid is made coarser until its vertices fit into the rows. Nothing changes where no cell is strong.
        """
        derived = self.derived
        strong, was = self._strong(strength, keep)
        if not strong.any():
            return
        kept = grids.grown(strong) & was
        while True:
            active, new = grids.finer(kept, derived.layout, cells)
            places = np.flatnonzero(grids.vertices_of(active).ravel()).astype(np.int32)
            if len(places) <= len(self.table):
                break
            cells = round(cells * 0.93)
        filling = np.zeros(self.table.shape[1], np.float32)
        filling[0] = EMPTY
        table = grids.resampled(self.table.cpu().numpy(), derived.index.cpu().numpy(), derived.layout, places, new,
                                filling)
        self.table.zero_()
        self.table[: len(table)] = torch.from_numpy(table).to(self.table.device)
        self._activate(active, new)

    def _strong(self, strength: Tensor, keep: float) -> tuple[Array, Array]:
        """The active cells of at least this strength, and all active ones, both (nz, ny, nx) bool."""
        layout = self.derived.layout
        nx, ny, nz = layout.dims
        rows = self.derived.index.cpu().numpy().reshape(nz, ny, nx)[:-1, :-1, :-1]
        was = self.active[: math.prod(layout.cells)].cpu().numpy().astype(np.bool_).reshape(layout.cells)
        return was & (strength.cpu().numpy()[np.maximum(rows, 0)] >= keep), was

    def _activate(self, active: Array, layout: Layout) -> None:
        self.active.zero_()
        self.active[: active.size] = torch.from_numpy(active.ravel().astype(np.uint8)).to(self.active.device)
        self.dims.copy_(torch.tensor(layout.dims))
        self.low.copy_(torch.from_numpy(layout.low))
        self.cell.fill_(layout.cell)
        self._derived = None
