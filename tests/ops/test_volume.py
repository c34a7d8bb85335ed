"""The ray marcher: compiled kernels against torch, against equations, and against themselves in other pieces."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from migaki.nets.voxel_grid import Marching, Samples, VoxelGrid
from migaki.ops import volume_grid as grids
from migaki.ops.volume_jit import in_ranges
from migaki.ops.volume_torch import contracted, harmonics, stretched

HOW = Marching(step=0.5, faint=1e-3, opaque=1e-2, alpha=0.2)
NEAR, FAR = 1.0, 9.0


def holed_grid(degree: int = 1) -> VoxelGrid:
    """A grid of 6^3 cells in [-1, 1]^3, half of them given up, with values by chance."""
    grid = VoxelGrid((-1, -1, -1), (1, 1, 1), (6,), 400, degree)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        grid.active.copy_(torch.rand(216, generator=draw) < 0.5)
        grid.table.normal_(generator=draw)
    return grid


def rays(count: int = 40) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rays from a sphere round the grid to places in it, some along an axis, some past it."""
    draw = torch.Generator().manual_seed(2)
    origins = 4 * torch.nn.functional.normalize(torch.randn(count, 3, generator=draw), dim=1)
    towards = torch.nn.functional.normalize(1.4 * torch.rand(count, 3, generator=draw) - 0.7 - origins, dim=1)
    origins[0], towards[0] = torch.tensor([0.1, -4.0, 0.3]), torch.tensor([0.0, 1.0, 0.0])
    origins[1], towards[1] = torch.tensor([0.1, -4.0, 3.0]), torch.tensor([0.0, 1.0, 0.0])  # a miss
    return origins, towards, torch.rand(count, generator=draw)


def compiled(grid: VoxelGrid, how: Marching = HOW, threads: int = 1) -> Samples:
    return grid.march_compiled(*rays(), NEAR, FAR, how, threads)


@pytest.mark.parametrize(("degree", "activation"), [(0, 0), (1, 1), (2, 2)])
def test_the_kernel_sees_what_torch_sees(degree: int, activation: int) -> None:
    grid = holed_grid(degree)
    how = Marching(step=0.5, faint=1e-3, opaque=0.2, alpha=0.2, activation=activation)
    found, wanted = compiled(grid, how), grid.march(*rays(), NEAR, FAR, how)
    np.testing.assert_allclose(found.colour, wanted.colour.detach(), atol=2e-6)
    np.testing.assert_allclose(found.through, wanted.through.detach(), atol=2e-6)
    assert found.counts.tolist() == wanted.kept.sum(1).tolist() and found.counts[1] == 0
    assert found.counts.sum() > 0 and (found.through < how.opaque).any()  # early stops take part
    _, normals = grid.surfaces(found)
    np.testing.assert_allclose(normals, wanted.normals.detach(), atol=2e-5)


def everywhere() -> VoxelGrid:
    """The same over all of space, of which [-1, 1]^3 is the inner half."""
    grid = VoxelGrid((-1, -1, -1), (1, 1, 1), (10,), 1400, 0, contracted=True)
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        grid.active.copy_(torch.rand(1000, generator=draw) < 0.2)
        grid.table.normal_(generator=draw)
    return grid


def test_contracted_space_is_the_same_in_both_and_skipped_alike() -> None:
    grid, (origins, towards, jitter) = everywhere(), rays()
    origins = torch.cat([origins[:20], 0.3 * origins[20:]])  # half of the cameras stand near the middle
    found = grid.march_compiled(origins, towards, jitter, 0.1, 9.0, HOW, 1)
    wanted = grid.march(origins, towards, jitter, 0.1, 9.0, HOW)
    np.testing.assert_allclose(found.colour, wanted.colour.detach(), atol=1e-4)
    np.testing.assert_allclose(found.through, wanted.through.detach(), atol=1e-4)
    assert found.counts.sum() > 100 and (found.through < 0.5).any()
    grid.derived.leap.clamp_(max=1)
    assert np.array_equal(grid.march_compiled(origins, towards, jitter, 0.1, 9.0, HOW, 1).colour, found.colour)


def test_contraction_is_that_of_the_paper() -> None:
    places = torch.tensor([[0.5, -0.2, 0.1], [0.0, 4.0, 0.0], [-100.0, 50.0, 0.0]])
    wanted = torch.tensor([[0.5, -0.2, 0.1], [0.0, 1.75, 0.0], [-1.99, 0.995, 0.0]])
    torch.testing.assert_close(contracted(places), wanted)
    # Beyond the cube, steps along a ray from its middle are alike.
    at = torch.arange(1.0, 1.9, 0.1)
    there = contracted(stretched(at, torch.ones(()), torch.ones(()))[:, None] * torch.tensor([[1.0, 0.0, 0.0]]))
    torch.testing.assert_close(there[:, 0], at)


def test_a_uniform_fog_dims_exponentially() -> None:
    """exp(- density x length), with the density of raw values of 0: an opacity of `alpha` a cell."""
    grid = VoxelGrid((-1, -1, -1), (1, 1, 1), (8,), 729, 0)
    origin, towards = torch.tensor([[0.0, 0.0, -3.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    how = Marching(step=0.5, faint=0.0, opaque=0.0, alpha=0.1)
    found = grid.march_compiled(origin, towards, torch.zeros(1), 0.0, 9.0, how, 1)
    assert found.through[0] == pytest.approx(0.9**8, rel=1e-5)  # eight cells
    assert found.colour[0] == pytest.approx([0.5 * (1 - 0.9**8)] * 3, rel=1e-5)  # grey
    distance, _ = grid.surfaces(found)
    half = math.log(1 - (1 - 0.9**8) / 2) / math.log(0.9) * 0.25  # where half of that light comes from
    assert float(distance[0]) == pytest.approx(2 + half, abs=0.13)  # the step


def test_skipping_leaves_every_sample_in_its_place() -> None:
    grid = holed_grid()
    quick = compiled(grid)
    derived = grid.derived
    derived.leap.clamp_(max=1)  # every empty cell is visited
    slow = compiled(grid)
    assert np.array_equal(quick.counts, slow.counts) and np.array_equal(quick.colour, slow.colour)
    assert np.array_equal(quick.through, slow.through)


def test_pieces_of_the_rays_do_not_matter() -> None:
    one, three = compiled(holed_grid()), compiled(holed_grid(), threads=3)
    assert np.array_equal(one.colour, three.colour) and np.array_equal(one.counts, three.counts)


def test_gradients_of_torch_are_finite_differences() -> None:
    grid = holed_grid().double()
    origins, towards, jitter = rays(6)
    how = Marching(step=0.5, faint=0.0, opaque=0.0, alpha=0.2, activation=1)
    target = torch.linspace(0, 1, 3)

    def loss() -> torch.Tensor:
        found = grid.march(origins, towards, jitter, NEAR, FAR, how)
        return (found.colour - target).square().sum() + found.through.sum()

    gradient, = torch.autograd.grad(loss(), grid.table)
    largest = gradient.abs().flatten().topk(5).indices
    with torch.no_grad():
        for place in largest.tolist():
            entry = grid.table.view(-1)[place : place + 1]
            ends = []
            for sign in (1, -1):
                entry += sign * 1e-4
                ends.append(float(loss()))
                entry -= sign * 1e-4
            assert (ends[0] - ends[1]) / 2e-4 == pytest.approx(float(gradient.view(-1)[place]), rel=1e-3)


def test_harmonics_are_orthonormal() -> None:
    """The mean over the sphere of each product is that of the unit matrix, over its area."""
    draw = torch.Generator().manual_seed(0)
    basis = harmonics(torch.nn.functional.normalize(torch.randn(200_000, 3, generator=draw), dim=1), 2)
    product = basis.T @ basis / len(basis) * 4 * math.pi
    torch.testing.assert_close(product, torch.eye(9), atol=0.02, rtol=0)


def test_harmonics_stay_exact_under_autocast() -> None:
    towards = torch.nn.functional.normalize(torch.tensor([[0.3, 0.5, 0.7]]), dim=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(harmonics(towards, 2), harmonics(towards, 2).float())
        inside = harmonics(towards, 2)
    assert torch.equal(inside, harmonics(towards, 2))


def cells(seed: int, shape: tuple[int, int, int] = (4, 5, 6), share: float = 0.1) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).random(shape) < share


def test_leaps_are_distances_to_the_next_active_cell() -> None:
    active = cells(0)
    there = np.argwhere(active)
    for cell, leap in zip(np.ndindex(active.shape), grids.leaps_of(active).ravel(), strict=True):
        assert leap == np.abs(there - cell).max(1).min()
    assert (grids.leaps_of(np.zeros((2, 2, 2), np.bool_)) == 255).all()


def test_rows_are_numbered_in_order_and_neighbours_follow_each_other() -> None:
    active = cells(1)
    index, places = grids.number_rows(active)
    assert np.array_equal(index[places], np.arange(len(places))) and (index >= -1).all()
    whole = index.reshape(5, 6, 7)
    for z, y, x in np.argwhere(active):
        corner = whole[z : z + 2, y : y + 2, x : x + 2]
        assert (corner >= 0).all() and (corner[..., 1] == corner[..., 0] + 1).all()
    touched = {tuple(cell + offset) for cell in np.argwhere(active) for offset in np.ndindex(2, 2, 2)}
    assert len(places) == len(touched)


def test_a_finer_grid_covers_what_was_active() -> None:
    old = grids.Layout(np.array([-1.0, 0.0, 2.0]), 0.5, (7, 6, 5))
    active = cells(2)
    found, new = grids.finer(active, old, 900)
    assert found.size <= 900 and found.shape == new.cells
    draw = np.random.default_rng(3)
    inside = old.low + (np.argwhere(active)[:, ::-1] + draw.random((int(active.sum()), 3))) * old.cell
    at = np.floor((inside - new.low) / new.cell).astype(int)
    assert all(found[z, y, x] for x, y, z in at)
    # Nothing is active that no active cell meets.
    for z, y, x in np.argwhere(found):
        low = (new.low + np.array([x, y, z]) * new.cell - old.low) / old.cell
        first, last = np.floor(low + 1e-6).astype(int), np.ceil(low + new.cell / old.cell - 1e-6).astype(int)
        first = first.clip(0)
        assert active[first[2] : last[2], first[1] : last[1], first[0] : last[0]].any()


def test_resampling_keeps_a_linear_field() -> None:
    old = grids.Layout(np.zeros(3), 0.5, (5, 5, 5))
    index, places = grids.number_rows(np.ones((4, 4, 4), np.bool_))
    where = np.stack([places % 5, places // 5 % 5, places // 25], 1) * old.cell
    table = np.stack([where @ [1.0, 2.0, 3.0], np.ones(125)], 1).astype(np.float32)
    new = grids.Layout(np.array([0.1, 0.2, 0.3]), 0.3, (5, 4, 4))
    finer = np.arange(5 * 4 * 4)
    found = grids.resampled(table, index, old, finer, new, np.zeros(2, np.float32))
    there = new.low + np.stack([finer % 5, finer // 5 % 4, finer // 20], 1) * new.cell
    np.testing.assert_allclose(found[:, 0], there @ [1.0, 2.0, 3.0], rtol=1e-5)
    holed = index.copy()
    holed[:] = -1
    assert (grids.resampled(table, holed, old, finer, new, np.array([-10, 3], np.float32))[:, 0] < -9.99).all()


def test_a_layout_covers_its_box_with_few_cubes() -> None:
    layout = grids.layout_of(np.array([-1.0, -2.0, 0.0]), np.array([1.0, 1.0, 0.5]), 1000)
    assert math.prod(layout.cells) <= 1000
    high = layout.low + (np.array(layout.dims) - 1) * layout.cell
    assert (layout.low <= [-1, -2, 0]).all() and (high >= [1, 1, 0.5]).all()
    assert 3 / layout.cell**3 > 400  # not many fewer than allowed


def test_ranges_cover_all_once() -> None:
    for threads in (1, 3, 9):
        seen: list[int] = []
        in_ranges(lambda _, start, stop, seen=seen: seen.extend(range(start, stop)), 7, threads)  # type: ignore[misc]
        assert sorted(seen) == list(range(7))
