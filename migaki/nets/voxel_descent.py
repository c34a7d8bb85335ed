"""Adam on the rows of a voxel grid: from dense gradients of torch, or from samples by compiled kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from migaki.nets.voxel_grid import Samples, VoxelGrid
from migaki.ops import volume_march as kernels
from migaki.ops.volume_jit import in_ranges

Array = np.ndarray[Any, Any]

TURNS = 8
"""Steps in which each row has one turn of being smoothed, so many times as strongly."""


class RowAdam(Optimizer):
    """Adam (Kingma and Ba, 2015) on the rows of a table that a step touches; others rest, with their moments.

    The moments are not corrected for their bias: with 1 - b1 = sqrt(1 - b2) a row's first step has the length of the
    learning rate without it. Column 0 learns at `density` times the rate, the columns of each colour's harmonics above
    the first at `view` times it, and those that pad a row not at all.
    """

    def __init__(self, params: Any, lr: float = 0.1, betas: tuple[float, float] = (0.9, 0.99), eps: float = 1e-8,
                 density: float = 1.0, view: float = 1.0, terms: int = 1) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "density": density, "view": view,
                                  "terms": terms})

    def moments(self, parameter: Tensor) -> tuple[Tensor, Tensor]:
        """Both moments, made when first asked for."""
        state = self.state[parameter]
        for name in ("first", "second"):
            if name not in state:
                state[name] = torch.zeros_like(parameter)
        return state["first"], state["second"]

    @staticmethod
    def rates(group: dict[str, Any], width: int) -> list[float]:
        """The learning rate of each column."""
        terms, lr = group["terms"], group["lr"]
        colours = [lr * (1.0 if column % terms == 0 else group["view"]) for column in range(3 * terms)]
        return ([lr * group["density"], *colours] + [0.0] * width)[:width]

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step from dense gradients; a row whose gradient is zero was not touched."""
        for group in self.param_groups:
            (b1, b2), small = group["betas"], group["eps"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                first, second = self.moments(parameter)
                slope = parameter.grad
                touched = (slope != 0).any(-1, keepdim=True)
                if (found := getattr(self, "found_inf", None)) is not None:
                    touched = touched & (found == 0)
                    slope = torch.where(touched, slope, torch.zeros_like(slope))
                first.copy_(torch.where(touched, b1 * first + (1 - b1) * slope, first))
                second.copy_(torch.where(touched, b2 * second + (1 - b2) * slope * slope, second))
                move = first / (second.sqrt() + small)
                for column, rate in enumerate(self.rates(group, parameter.shape[-1])):
                    parameter[..., column] -= rate * torch.where(touched[..., 0], move[..., column], 0)


class CompiledDescent:
    """One step of `RowAdam` on a grid, by kernels, without a dense gradient; the bits do not depend on the threads."""

    def __init__(self, grid: VoxelGrid) -> None:
        self.grid = grid
        shape = tuple(grid.table.shape)
        self._gradient = np.empty(shape, np.float32)
        self._stamps = np.full(shape[0], -1, np.int64)  # the step that touched a row last

    def __call__(self, optimizer: RowAdam, samples: Samples, step: int, *, colour_pull: Tensor, through_pull: Tensor,
                 own_pull: float, spread_pull: float, target: Tensor, activation: int, smooth: tuple[float, float],
                 threads: int) -> None:
        """Take the step `step` from what `volume_march.gradients` is given; `smooth` weighs the total variation of
        densities and of harmonics.

        Shape: colour_pull, target (N, 3); through_pull (N,)
        """
        grid, group, gradient = self.grid, optimizer.param_groups[0], self._gradient
        derived, table = grid.derived, grid.table.detach().numpy()
        first, second = (moment.numpy() for moment in optimizer.moments(grid.table))
        rates = np.array(optimizer.rates(group, table.shape[1]), np.float32)
        weights = np.full(table.shape[1], smooth[1] * TURNS, np.float32)
        weights[0] = smooth[0] * TURNS
        index, places, dims = derived.index.numpy(), derived.places.numpy(), grid.dims.numpy()
        reach = np.float32(grid.reach / grid.unit)
        b1, b2, small = (np.float32(value) for value in (*group["betas"], group["eps"]))
        pulls = [one.contiguous().numpy() for one in (colour_pull, through_pull, target)]
        touched, numbers = [np.empty(len(places), np.int32) for _ in range(threads)], [0] * threads

        def pull(_: int, start: int, stop: int) -> None:
            kernels.gradients(samples.values, samples.starts, samples.counts, pulls[0], pulls[1],
                              np.float32(own_pull), np.float32(spread_pull), reach, pulls[2], activation, start, stop)

        def collect(lane: int, *_: int) -> None:
            numbers[lane] = kernels.scatter(samples.rows, samples.values, samples.starts, samples.counts,
                                            samples.basis, gradient, self._stamps, step, touched[lane], lane, threads)
            if weights.any():  # other lanes write other rows of the gradient, and nobody the table
                kernels.smooth(table, gradient, index, places, dims, weights, step, TURNS, touched[lane],
                               numbers[lane])

        def move(lane: int, *_: int) -> None:
            kernels.descend_rows(table, first, second, gradient, rates, b1, b2, small, touched[lane], numbers[lane])

        in_ranges(pull, len(target), threads)
        in_ranges(collect, threads, threads)
        in_ranges(move, threads, threads)
