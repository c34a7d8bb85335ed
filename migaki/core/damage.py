"""Damage: the base class of simulated image degradations, which also return their parameters."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.seeds import fold, generator
from migaki.core.source import Source


class Damage(ABC):
    """A forward operator that is easy to simulate and hard to undo. One file in `simulate/` holds one subclass.

    `Config` is a frozen, keyword-only dataclass with the range and unit of every parameter. A subclass damages one
    image at a time, so that the result does not depend on the other images in a batch.
    """

    Config: ClassVar[type[Any]]
    config: Any
    reads: ClassVar[str] = "image"
    """The key of what it damages: a set's pictures, or what there is before there are pictures, such as `radiance`."""
    kept: ClassVar[tuple[str, ...]] = ("mask",)
    """Parameters that are no scalars and are written all the same."""
    mixes: ClassVar[bool] = False
    """Whether it mixes a picture with others of its set."""
    others: Callable[[int, torch.Tensor], torch.Tensor] | None = None
    """If it mixes and a set is at hand: another picture of the set, by any number, in the shape of the given one."""

    def __init__(self, config: Any = None) -> None:
        self.config = self.Config() if config is None else config

    def damage(self, clean: torch.Tensor, seeds: torch.Tensor) -> tuple[torch.Tensor, Batch]:
        """Damage each image with its own seed; pure in (config, image, seed), on the device of `clean`.

        All random numbers are drawn on the CPU, so that a seed gives the same damage on every device (the arithmetic
        may round differently).

        Shape:
            clean: (B, C, H, W) float32 in [0, 1]; seeds: (B,) int64
            damaged: (B, C', H', W') float32 in [0, 1]; C', H', W' are C, H, W unless the subclass says otherwise
            parameters: first axis B, float32 scalars unless the subclass says otherwise

        Raises:
            UserError: for another rank or dtype, an empty batch, or a number of seeds that differs from the batch size.
        """
        _check(clean, seeds)
        results = [self.damage_one(image, generator(int(seed)))
                   for image, seed in zip(clean, seeds.tolist(), strict=True)]
        damaged = torch.stack([image for image, _ in results])
        parameters = {key: torch.stack([values[key] for _, values in results]) for key in results[0][1]}
        return damaged, parameters

    def of_pictures(self, pictures: torch.Tensor) -> torch.Tensor:
        """What it damages where a set has no `reads`, from pictures (B, C, H, W) in [0, 1]: those themselves."""
        return pictures

    @property
    def scale(self) -> int:
        """The factor by which it shrinks a picture; the sides of its input must be multiples of it."""
        return 1

    @abstractmethod
    def damage_one(self, image: torch.Tensor, draw: torch.Generator) -> tuple[torch.Tensor, Batch]:
        """Damage one image (C, H, W); `draw` is a CPU generator and the only source of random numbers.

        The parameters have no batch axis: `()` for a scalar, `(H, W)` for a map, on the image's device.
        """


def _check(clean: torch.Tensor, seeds: torch.Tensor) -> None:
    if clean.ndim != 4 or clean.dtype != torch.float32 or 0 in clean.shape:
        raise UserError(f"damage: expected non-empty images (B, C, H, W) float32 in [0, 1], "
                        f"got {tuple(clean.shape)} {clean.dtype}")
    if seeds.shape != clean.shape[:1] or seeds.dtype != torch.int64:
        raise UserError(f"damage: expected {len(clean)} int64 seeds, got {tuple(seeds.shape)} {seeds.dtype}")


@dataclass(frozen=True, kw_only=True, slots=True)
class DamagedSource:
    """Pairs made during training: `target` is a clean image of another source, and `image` is its damaged version.

    A pure function of the step, as the clean source is: image i of a step always gets the same damage.
    """

    clean: Source  # batches with `target` (B, C, H, W) in [0, 1]
    damage: Damage
    seed: int
    keep: tuple[str, ...] = ()  # parameters of the damage to include in the batch

    def batch(self, step: int) -> Batch:
        """Returns the clean batch of this step with `image` (B, C', H', W') and the parameters in `keep`."""
        batch = self.clean.batch(step)
        clean = batch["target"]
        seeds = torch.tensor([fold(self.seed, step, place) for place in range(len(clean))])
        image, parameters = self.damage.damage(clean, seeds)
        return batch | {"image": image} | {key: parameters[key] for key in self.keep}


Range = tuple[float, float]
"""Lower and upper bound of the value drawn for each image; equal bounds fix it."""


def uniform(draw: torch.Generator, bounds: Range) -> float:
    """Returns a uniform random number between the bounds."""
    return bounds[0] + (bounds[1] - bounds[0]) * float(torch.rand((), generator=draw, dtype=torch.float64))


def log_uniform(draw: torch.Generator, bounds: Range) -> float:
    """Returns a random number whose logarithm is uniform between the logarithms of the (positive) bounds."""
    return math.exp(uniform(draw, (math.log(bounds[0]), math.log(bounds[1]))))


def check_range(where: str, bounds: Range, low: float, high: float) -> None:
    """UserError unless low <= bounds[0] <= bounds[1] <= high (always raised for NaN)."""
    if not low <= bounds[0] <= bounds[1] <= high:
        raise UserError(f"{where}: expected two ascending numbers in [{low:g}, {high:g}], got {bounds}")


def scalars(device: torch.device, **values: float) -> Batch:
    """Convert named numbers to zero-dimensional float32 tensors."""
    return {key: torch.tensor(value, dtype=torch.float32, device=device) for key, value in values.items()}
