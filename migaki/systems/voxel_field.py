"""A radiance field of voxels: what a scene looks like from anywhere, learned from posed pictures of it.

Plenoxels (Fridovich-Keil, Yu et al., CVPR 2022) with the density of DVGO (Sun et al., CVPR 2022): a sparse grid of
densities and spherical harmonics, marched and descended by compiled kernels on a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor

from migaki.core.batch import Batch, Key, Scalars
from migaki.core.errors import UserError
from migaki.core.metric import Metric
from migaki.core.source import Source
from migaki.core.system import System, descend
from migaki.data.batches.ray_pixels import divide_views
from migaki.metrics.views import Views
from migaki.nets.voxel_descent import TURNS, CompiledDescent, RowAdam
from migaki.nets.voxel_grid import Marching, Samples, VoxelGrid
from migaki.ops import volume_march as kernels
from migaki.ops.camera import pixel_rays
from migaki.ops.full_precision import full_precision
from migaki.ops.volume_torch import Marched
from migaki.systems.parts.posed_views import (
    GridOptions,
    KeptCameras,
    PosedPictures,
    by_views,
    check_views,
    completed,
    in_pieces,
    open_views,
    ray_source,
    space_of,
    tiny_views,
)

_ACTIVATIONS = {"linear": kernels.LINEAR, "sigmoid": kernels.SIGMOID, "exponential": kernels.EXPONENTIAL}
_SMALL = 1e-6
_SPREAD = 0.01  # where a grid holds all of space: few views fit fog before their cameras

_CROSSED = 8  # rays through a cell, below which it is not given up


class VoxelField(System):
    """A field of voxels that is learned from pictures with poses, and rendered from any camera.

    The set needs `camera_to_world` and `intrinsics` for each picture, and the scene's bounds in dataset.json, as
    `migaki import transforms` and `migaki simulate scene` write them. Views whose `split` is test or val are held out.
    With `--space all` the grid holds all of space: what lies beyond the box is drawn together, the further the more.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config(GridOptions):
        """The grid and how it is learned."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "steps batch_size sides degree hold_out",
            "network": "channels height width bounds background space near far rows activation step faint opaque alpha "
                       "shown",
        }

        own_colour: float = 0.02  # weight of each sample's own colour (DVGO)
        spread: float | None = None  # weight of how far light is spread along a ray; none: 0.01 in all of space, or 0

    Data = PosedPictures

    config: Config
    inputs = ("camera_to_world", "intrinsics")
    batch_of = "ray"
    keys = (
        Key(name="ray_origin", shape=("3",), unit="scene units"),
        Key(name="ray_direction", shape=("3",), unit="of length 1, in the world"),
        Key(name="ray_colour", shape=("3",), unit="float32 in [0, 1]"),
        Key(name="rendered", shape=("3", "H", "W"), unit="float32 in [0, 1], what a field shows", kind="picture"),
        Key(name="rendered_depth", shape=("H", "W"), unit="scene units along the optical axis, 0 = nothing there",
            kind="plane"),
        Key(name="rendered_normals", shape=("3", "H", "W"), unit="unit vectors in the world, 0 = nothing there",
            kind="vectors"),
    )

    def __init__(self, config: Config) -> None:
        super().__init__()
        _check(config)
        self.config = config
        try:
            self.grid = VoxelGrid(config.bounds[:3], config.bounds[3:], config.sides, config.rows, config.degree,
                                  config.space == "all")
        except ValueError as error:
            raise UserError(f"--rows {config.rows} --sides: {error}: give more rows, or fewer cells") from error
        self.register_buffer("background", torch.tensor(config.background, dtype=torch.float32))
        # The largest weight of each cell in this stage, by the row of its first vertex.
        self.register_buffer("strength", torch.zeros(config.rows))
        self.kept = KeptCameras()
        last = min(len(config.sides), len(config.step)) - 1  # what a trained field is rendered with
        self.how = Marching(step=config.step[last], faint=config.faint, opaque=config.opaque, alpha=config.alpha,
                            activation=_ACTIVATIONS[config.activation])
        self.optimizers = {"field": RowAdam(self.grid.parameters(), config.learning_rate, density=config.density_rate,
                                            view=config.view_rate, terms=self.grid.terms)}
        self._descent: CompiledDescent | None = None

    background: Tensor
    strength: Tensor
    training_only = ("strength",)

    @classmethod
    def open(cls, data: PosedPictures, config: Config, seed: int) -> tuple[Config, Source]:
        """Open the views; takes the size, the box and the background from the set."""
        folder = open_views(data, config)
        config = replace(completed(config, folder), space=space_of(config, folder))
        return config, ray_source(config, folder, seed)

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """Four rays and four views of 12x12 px of a box of 4^3 cells, in torch."""
        config = cls.Config(channels=3, height=12, width=12, bounds=(-1, -1, -1, 1, 1, 1), background=(1, 1, 1),
                            space="box", near=1.0, far=9.0, sides=(4,), begins=(), rows=130, steps=6, batch_size=4,
                            alpha=0.3, carvings=1, engine="torch")
        return config, tiny_views()

    def prepare(self, data: PosedPictures) -> None:
        """Keep some of the cameras that are learned from, and the first one's lens."""
        folder = open_views(data, self.config)
        self.kept.keep(folder, divide_views(folder, self.config.hold_out)[0])

    def _rows(self) -> RowAdam:
        optimizer = self.optimizers["field"]
        assert isinstance(optimizer, RowAdam)
        return optimizer

    def is_compiled(self) -> bool:
        """Whether the kernels compute, and not torch."""
        engine, on_cpu = self.config.engine, self.grid.table.device.type == "cpu"
        return engine == "compiled" or (engine == "auto" and on_cpu and not torch.compiler.is_exporting())

    @full_precision
    def update(self, batch: Batch, step: int) -> Scalars:
        """One step on a batch of rays; before the first step of a stage the grid gets finer."""
        self.proceed(step)
        jitter = torch.rand(len(batch["ray_origin"]), device=batch["ray_origin"].device)
        if self.is_compiled():
            return self._update_compiled(batch, jitter, step)
        found = self.march(batch, jitter)
        losses = self._losses(found, batch["ray_colour"], step)
        skipped = descend(losses["loss"], self.optimizers["field"], self.config.max_norm)
        return {f"field/{name}": value.detach() for name, value in losses.items()} | {"field/skipped": skipped}

    def proceed(self, step: int) -> None:
        """Bring the grid and the learning rate to this step."""
        self._prepare_grid(step)
        for group in self.optimizers["field"].param_groups:
            group["lr"] = self.config.learning_rate * self.config.last_rate ** (step / self.config.steps)

    def march(self, batch: Batch, jitter: Tensor) -> Marched:
        """What a batch of rays sees, in torch; the strength of cells is noted."""
        config = self.config
        found = self.grid.march(batch["ray_origin"], batch["ray_direction"], jitter, config.near, config.far, self.how)
        weights = torch.where(found.kept, found.weights.detach(), 0).flatten()
        self.strength.scatter_reduce_(0, found.rows[..., 0].flatten(), weights, "amax")
        return found

    def march_compiled(self, batch: Batch, jitter: Tensor) -> Samples:
        """The same by the kernels."""
        config = self.config
        samples = self.grid.march_compiled(batch["ray_origin"], batch["ray_direction"], jitter, config.near, config.far,
                                           self.how, torch.get_num_threads())
        kernels.strongest(samples.rows, samples.values, samples.starts, samples.counts, self.strength.numpy())
        return samples

    def descend_compiled(self, samples: Samples, step: int, colour_pull: Tensor, through_pull: Tensor, own_pull: float,
                         target: Tensor, spread_pull: float = 0.0) -> None:
        """Move the grid from what the kernels have marched; see `CompiledDescent`."""
        config = self.config
        self._descent = self._descent or CompiledDescent(self.grid)
        self._descent(self._rows(), samples, step, colour_pull=colour_pull, through_pull=through_pull,
                      own_pull=own_pull, spread_pull=spread_pull, target=target, activation=self.how.activation,
                      smooth=(config.smooth_density, config.smooth_colour), threads=torch.get_num_threads())

    def _losses(self, found: Marched, colour: Tensor, step: int) -> dict[str, Tensor]:
        """The loss and its terms, means over rays (and colours), in torch."""
        config = self.config
        seen = found.colour + found.through[:, None] * self.background
        through = found.through.clamp(_SMALL, 1 - _SMALL)
        own = (found.weights.detach()[..., None] * (found.colours - colour[:, None]).square()).sum(1)
        terms = {"colour": (seen - colour).square().mean(), "own": own.mean(),
                 "clear": -(through * through.log() + (1 - through) * (1 - through).log()).mean(),
                 "spread": self._spread(found).mean()}
        smooth_density, smooth_colour = self.roughness(found, step)
        loss = (terms["colour"] + config.own_colour * terms["own"] + config.clear * terms["clear"]
                + self.spread(step) * terms["spread"] + config.smooth_density * smooth_density
                + config.smooth_colour * smooth_colour)
        return {"loss": loss, "colour": terms["colour"]}

    def spread(self, step: int) -> float:
        """The weight of the spread of light: it grows with the steps, or fog would clot before there is a shape."""
        weight = self.config.spread
        if weight is None:
            weight = _SPREAD if self.grid.extent else 0.0
        return weight * (step + 1) / self.config.steps

    def _spread(self, found: Marched) -> Tensor:
        """The spread of light along each ray (N,); see `volume_march.gradients`."""
        distances = found.distances / self.grid.reach
        at = distances / (1 + distances)
        nearer, moments = (torch.cumsum(one, 1) - one for one in (found.weights, found.weights * at))
        return 2 * (found.weights * (at * nearer - moments)).sum(1)

    def roughness(self, found: Marched, step: int) -> tuple[Tensor, Tensor]:
        """Half the squared differences of the rows that samples touch to their neighbours, which count as fixed.

        Of the density and of the harmonics; every `TURNS`-th row has its turn, and counts so many times.
        """
        table, derived = self.grid.table, self.grid.derived
        rows = torch.where(found.kept[..., None], found.rows, len(table)).flatten()  # the last is nobody's
        touched = torch.zeros(len(table) + 1, device=table.device).index_fill(0, rows, 1.0)[: len(derived.places)]
        turn = (torch.arange(len(touched), device=table.device) + step) % TURNS == 0
        nx, ny, nz = derived.layout.dims
        index, at = derived.index.view(nz, ny, nx), derived.places.long()
        places = torch.stack([at // (nx * ny), at // nx % ny, at % nx], -1)
        sums = torch.zeros(table.shape[1], device=table.device)
        for axis, length in enumerate((nz, ny, nx)):
            for sign in (1, -1):
                moved = places.clone()
                moved[:, axis] += sign
                inside = (moved[:, axis] >= 0) & (moved[:, axis] < length)
                moved[:, axis] = moved[:, axis].clamp(0, length - 1)
                other = index[moved[:, 0], moved[:, 1], moved[:, 2]].long()
                counts = touched * (turn & inside & (other >= 0)) * TURNS
                apart = table[: len(at)] - table.detach()[other.clamp_min(0)]
                sums = sums + (counts[:, None] * apart.square()).sum(0) / 2
        return sums[0], sums[1:].sum()

    def _update_compiled(self, batch: Batch, jitter: Tensor, step: int) -> Scalars:
        """The same step by the kernels."""
        config = self.config
        with torch.no_grad():
            samples = self.march_compiled(batch, jitter)
            target, through = batch["ray_colour"], torch.from_numpy(samples.through)
            error = torch.from_numpy(samples.colour) + through[:, None] * self.background - target
            count = len(target)
            pull = error * (2 / (3 * count))
            light = through.clamp(_SMALL, 1 - _SMALL)
            blocked = torch.where((through > _SMALL) & (through < 1 - _SMALL), ((1 - light) / light).log(), 0)
            through_pull = (pull * self.background).sum(1) + config.clear / count * blocked
            if not torch.isfinite(error).all():
                return {"field/loss": torch.zeros(()), "field/colour": torch.zeros(()), "field/skipped": torch.ones(())}
            self.descend_compiled(samples, step, pull, through_pull, config.own_colour / (3 * count), target,
                                  self.spread(step) / count)
            entropy = -(light * light.log() + (1 - light) * (1 - light).log()).mean()
            colour = error.square().mean()
            return {"field/loss": colour + config.clear * entropy, "field/colour": colour,
                    "field/skipped": torch.zeros(())}

    @torch.no_grad()
    def _prepare_grid(self, step: int) -> None:
        """Before the first step of a stage the grid gets finer; within a stage cells without light are given up.

        A stage has cuts after half of it, a quarter, an eighth and so on. Strength is collected over the second half
        before each cut alone: at its start a field is fog.
        """
        config = self.config
        starts = [0, *(round(share * config.steps) for share in config.begins), config.steps]
        stage = max(number for number, start in enumerate(starts[:-1]) if start <= step)
        self.how = replace(self.how, step=config.step[min(stage, len(config.step) - 1)])
        windows = self._windows(starts, stage)
        if step in windows.values():
            self.strength.zero_()
        moments = self._rows().moments(self.grid.table)
        if step in windows and step < starts[stage + 1]:
            self.grid.carve(self.strength, config.keep, moments)
        elif step > 0 and step == starts[stage]:
            if step not in self._windows(starts, stage - 1):
                self.strength.fill_(config.keep)  # too little is known to give anything up
            self.grid.refine(self.strength, config.keep, config.sides[stage] ** 3)
            for moment in moments:
                moment.zero_()
        else:
            return
        self.strength.zero_()
        self._descent = None

    def _windows(self, starts: list[int], stage: int) -> dict[int, int]:
        """The steps of a stage at which cells may be given up, and when what is known of them begins to be collected.

        Left out is a step before which rays have crossed a cell fewer than `_CROSSED` times on average: in a short
        training a cell is dark because hardly a ray has met it.
        """
        config, parts, length = self.config, self.config.carvings, starts[stage + 1] - starts[stage]
        edges = [0, *(length // 2 ** (parts - part) for part in range(1, parts)), length]
        begins = {starts[stage] + other: starts[stage] + (one + other) // 2 for one, other in pairwise(edges)}
        crossed = config.batch_size / config.sides[stage] ** 2  # times a step that a cell is met by a ray
        return {end: begin for end, begin in begins.items() if (end - begin) * crossed >= _CROSSED}

    @full_precision
    def render(self, poses: Tensor, lenses: Tensor, size: tuple[int, int] | None = None) -> Batch:
        """What cameras see: `rendered`, `rendered_normals` (B, 3, H, W) and `rendered_depth` (B, H, W).

        Shape: poses (B, 3, 4), lenses (B, 4), of pictures of `size` (height, width); none: as it was trained
        """
        height, width = size or (self.config.height, self.config.width)
        origins, directions = pixel_rays(lenses, poses, height, width)
        along = (directions * poses[:, None, None, :, 2]).sum(-1)
        colour, through, distance, normals = in_pieces(self.shade, origins.reshape(-1, 3), directions.reshape(-1, 3))
        seen = (colour + through[:, None] * self.background).clamp(0, 1)
        distance = torch.where(through < 0.5, distance, torch.zeros_like(distance))
        return {"rendered": seen.view(-1, height, width, 3).movedim(-1, 1),
                "rendered_depth": distance.view(-1, height, width) * along,
                "rendered_normals": normals.view(-1, height, width, 3).movedim(-1, 1)}

    def shade(self, origins: Tensor, directions: Tensor, jitter: Tensor | None = None) -> tuple[Tensor, ...]:
        """Colour (N, 3), share that passes (N,), distance (N,) and normal (N, 3) of rays (N, 3).

        `jitter` (N,) in [0, 1] moves the samples of a ray; by default they lie in the middle of their steps.
        """
        config = self.config
        jitter = torch.full_like(origins[:, 0], 0.5) if jitter is None else jitter
        if self.is_compiled():
            samples = self.grid.march_compiled(origins.detach(), directions, jitter, config.near, config.far, self.how,
                                               torch.get_num_threads())
            distance, normals = self.grid.surfaces(samples)
            return torch.from_numpy(samples.colour), torch.from_numpy(samples.through), distance, normals
        found = self.grid.march(origins, directions, jitter, config.near, config.far, self.how)
        met = found.weights.cumsum(1)
        past = (met >= 0.5 * met[:, -1:]) & (met > 0)
        first = past & (past.long().cumsum(1) == 1)
        return (found.colour, found.through, torch.where(first, found.distances, 0).sum(1), found.normals)

    def predict(self, batch: Batch) -> Batch:
        """Return what the cameras see; see `render`."""
        return by_views(self.render, batch)

    def metric(self) -> Metric:
        """PSNR and SSIM of the rendered views."""
        return Views()


def _check(config: Any) -> None:
    check_views("voxel_field", config)
    if not config.sides or len(config.begins) != len(config.sides) - 1 or list(config.begins) != sorted(
            set(config.begins)) or any(not 0 < share < 1 for share in config.begins):
        raise UserError("--sides and --begins: give the cells of each stage, and an ascending share of the steps "
                        "(above 0, below 1) for each stage but the first")
    if not all(2 <= side <= 1024 for side in config.sides):
        raise UserError("--sides: a stage has 2 to 1024 cells along a side")
    if not 0 <= config.degree <= 2:
        raise UserError(f"--degree {config.degree}: spherical harmonics of degree 0, 1 or 2 are known")
    if not config.step or not all(0.05 <= step <= 2 for step in config.step) or not 0 < config.alpha < 1:
        raise UserError(f"--step and --alpha {config.alpha:g}: steps are 0.05 to 2 cells, the opacity is above 0 and "
                        "below 1")
    if config.spread is not None and not config.spread >= 0:
        raise UserError(f"--spread {config.spread:g}: 0 or more")
    if config.carvings < 1:
        raise UserError(f"--carvings {config.carvings}: at least 1 part a stage")
