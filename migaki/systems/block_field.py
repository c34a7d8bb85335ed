"""Several voxel fields that join: a large scene in blocks, learned apart, brought to one appearance, blended.

Tancik, Casser, Yan, Pradhan, Mildenhall, Srinivasan, Barron, Kretzschmar, "Block-NeRF: Scalable Large Scene Neural
View Synthesis", CVPR 2022. A block is a `voxel_block`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from migaki.core import processes
from migaki.core.batch import Batch, Key, Scalars
from migaki.core.engine import Engine
from migaki.core.engine import check as check_engine
from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.core.metric import Metric
from migaki.core.source import Source
from migaki.core.system import System, descend
from migaki.core.trained import load_system
from migaki.data.batches.block_rays import SharedRays, appearances_of
from migaki.data.batches.ray_pixels import divide_views, evenly
from migaki.metrics.views import Views
from migaki.ops.blocks import shares
from migaki.ops.colour_affine import shown, shown_pictures
from migaki.ops.full_precision import full_precision
from migaki.systems.parts.block_runs import train_blocks
from migaki.systems.parts.blocks import MOST, arranged, cube_of, shared_views
from migaki.systems.parts.posed_views import (
    KeptCameras,
    PosedPictures,
    ViewOptions,
    by_views,
    check_views,
    completed,
    open_views,
    space_of,
    tiny_views,
)
from migaki.systems.voxel_block import VoxelBlock
from migaki.systems.voxel_field import VoxelField

_FOLDER = "blocks"  # below the run: the runs of its blocks


class BlockField(System):
    """A field of a large scene in blocks: `migaki train block_field --data street --blocks 4 --out city`.

    The cameras are divided into groups that overlap. Each gets a voxel field of its own (`OUT/blocks/0` and so on, runs
    of `voxel_block`), by --workers at a time, to the same bits as one after the other. Then --steps updates bring
    neighbours to one appearance, from a root outwards: fields stay as they are, and each block's affine map of colours
    learns to show what its neighbour shows. A view is blended from the blocks within reach by inverse distance.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config(ViewOptions):
        """The blocks, how each is learned, and how they are joined."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "blocks block_steps sides rows appearance look hold_out",
            "network": "channels height width bounds background space near far degree activation step faint opaque "
                       "alpha shown centres reaches parents",
        }

        blocks: int = 4  # that the cameras are divided into, along their way
        overlap: float = 1.5  # reach over the distance to a block's own farthest camera; 1.5: neighbours share half
        centres: tuple[float, ...] = ()  # x y z of each block, scene units; none: as --blocks says
        reaches: tuple[float, ...] = ()  # of each block, scene units; none: as --overlap says
        inner: float = 1.25  # half a side of the cube that gets half of a block's cells along a side, in reaches
        appearance: str = "picture"  # picture: one for each; none: one for all; or a column (clip, ...)
        look: int = 0  # the row of the set, from 1, whose appearance is shown; 0: the average of the middle block
        space: Literal["", "box", "all"] = ""  # what grids hold; none: the box before a known background, else all
        sides: tuple[int, ...] = (48, 96, 160)  # cells along a side of a block, stage by stage
        begins: tuple[float, ...] = (0.03, 0.12)  # shares of a block's updates after which the next stage begins
        rows: int = 600_000  # vertices of a block that may hold something
        degree: int = 1  # of the spherical harmonics: 0 = the same colour from everywhere, 1 or 2
        activation: Literal["linear", "sigmoid", "exponential"] = "linear"  # from harmonics to colours
        step: tuple[float, ...] = (1.0, 0.5)  # cells between samples, stage by stage; the last holds for later ones
        carvings: int = 4  # parts of a stage after which dark cells are given up
        faint: float = 1e-4  # opacity under which a sample is left out
        opaque: float = 1e-3  # share of light under which a ray ends
        alpha: float = 1e-3  # opacity of a cell at the start
        keep: float = 1e-2  # largest weight under which a cell is given up between stages
        block_steps: int = 20_000  # updates of each block
        block_rays: int = 1024  # of each such update
        block_rate: float = 0.1  # learning rate of a block's harmonics
        match: bool = True  # bring neighbours to one appearance; without it each block keeps its own
        power: float = 2.0  # of inverse distances: the higher, the shorter the way from one block to the next
        steps: int = 300  # updates of the appearances of whole blocks
        batch_size: int = 256  # rays of each pair of neighbours in such an update
        learning_rate: float = 0.02  # of Adam, on the maps of colours
        keep_map: float = 1e-3  # weight of what the maps differ from where they began
        max_norm: float = 0.0  # gradient clipping; 0 = off
        shown: int = 3  # held-out views that are rendered while it learns
        parents: tuple[int, ...] = ()  # whose appearance each block takes on, itself for the root; taken from the data

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Data(PosedPictures):
        """The posed pictures, and who trains the blocks."""

        GROUPS: ClassVar[dict[str, str]] = {"run": "workers engine address"}

        workers: int = 1  # blocks that are trained at a time, each by a process; 0 = one per core; changes no bit
        engine: Engine = "local"  # processes of this machine, or a Ray cluster whose nodes see DATA and OUT
        address: str | None = None  # of a running Ray cluster (auto, ray://host:port); none: one is started here

    config: Config
    inputs = ("camera_to_world", "intrinsics")
    batch_of = "ray"
    keys = (
        Key(name="ray_code", shape=(), unit="int64, the number of the appearance of the ray's picture"),
        Key(name="shared_origin", shape=("P", "3"), unit="scene units, of a ray that two blocks see"),
        Key(name="shared_direction", shape=("P", "3"), unit="of length 1, in the world"),
    )
    training_only = tuple(f"fields.{number}.strength" for number in range(MOST))

    def __init__(self, config: Config) -> None:
        super().__init__()
        check_views("block_field", config)
        count = len(config.reaches)
        if not 1 <= count <= MOST or len(config.centres) != 3 * count or len(config.parents) != count or any(
                not 0 <= parent < count for parent in config.parents) or not all(
                0 < reach < math.inf for reach in config.reaches):
            raise UserError("block_field: blocks are taken from the cameras: give --data a posed set")
        self.config = config
        self.fields = nn.ModuleList(VoxelField(_field_config(config, number)) for number in range(count))
        self.fields.requires_grad_(False)
        self.register_buffer("centres", torch.tensor(config.centres, dtype=torch.float32).view(-1, 3))
        self.register_buffer("reach", torch.tensor(config.reaches, dtype=torch.float32))
        self.register_buffer("begun", torch.eye(3, 4).repeat(count, 1, 1))  # maps of colours before the match
        self.turned = nn.Parameter(torch.zeros(count, 3, 4))  # and what the match adds to them
        self.pairs = [(child, parent) for child, parent in enumerate(config.parents) if child != parent]
        self.register_buffer("moves", torch.tensor([float(child != parent) for child, parent in
                                                    enumerate(config.parents)]).view(-1, 1, 1), persistent=False)
        self.kept = KeptCameras()
        self.optimizers = {"maps": torch.optim.Adam([self.turned], lr=config.learning_rate)}
        self._data: BlockField.Data | None = None

    centres: Tensor
    reach: Tensor
    begun: Tensor
    moves: Tensor

    @classmethod
    def open(cls, data: Data, config: Config, seed: int) -> tuple[Config, Source]:
        """Open the views and divide them; takes the size and what else it lacks from the set."""
        check_engine(data.workers, data.engine, data.address)
        _check_blocks(config)
        folder = open_views(data, config)
        appearances_of(folder, config.appearance)  # refuses a column that is not there
        space = space_of(config, folder)
        config = arranged(replace(completed(config, folder), space=space), folder)
        pairs = [shared_views(folder, config, *pair) for pair in enumerate(config.parents) if pair[0] != pair[1]]
        held = evenly(divide_views(folder, config.hold_out)[1], config.shown)
        return config, SharedRays(folder, pairs, config.batch_size, seed, folder.select(held) if held else None)

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """Three blocks of 3^3 cells in a row, four rays of both pairs, four views of 12x12 px, in torch."""
        config = cls.Config(channels=3, height=12, width=12, bounds=(-1, -1, -1, 1, 1, 1), background=(1, 1, 1),
                            space="box", near=1.0, far=9.0, sides=(3,), begins=(), rows=70, steps=6, batch_size=4,
                            alpha=0.3, step=(0.7,), centres=(-1, 0, -4, 0, 0, -4, 1, 0, -4), reaches=(1.5, 1.5, 1.5),
                            parents=(1, 1, 1))
        batch = tiny_views()
        origin, direction = batch.pop("ray_origin"), batch.pop("ray_direction")
        batch.pop("ray_colour")
        return config, batch | {"shared_origin": torch.stack([origin, origin.roll(1, 0)], 1),
                                "shared_direction": torch.stack([direction, direction.roll(1, 0)], 1)}

    def prepare(self, data: Data) -> None:
        """Keep some of the cameras that are learned from, and the first one's lens."""
        folder = open_views(data, self.config)
        self.kept.keep(folder, divide_views(folder, self.config.hold_out)[0])
        self._data = data

    def begin(self, out: Path, run: Run, quiet: bool) -> None:
        """Train the blocks into `out`/blocks, or go on, and take on their fields."""
        if self._data is None:
            return
        if processes.world() > 1:
            raise UserError("train block_field: its blocks are trained by --workers processes: start it without "
                            "torchrun")
        configs = [block_config(self.config, number) for number in range(len(self.fields))]
        train_blocks(configs, self._data, run, out / _FOLDER, quiet)
        for number, field in enumerate(self.fields):
            block = load_system(out / _FOLDER / str(number))
            assert isinstance(block, VoxelBlock) and isinstance(field, VoxelField)
            field.grid.load_state_dict(block.grid.state_dict())
            field.kept.load_state_dict(block.kept.state_dict())
            self.begun[number] = block.look()

    @full_precision
    def maps(self) -> Tensor:
        """Returns each block's map of colours (K, 3, 4); that of the root stays where it began."""
        return self.begun + self.moves * self.turned

    @full_precision
    def update(self, batch: Batch, step: int) -> Scalars:
        """One step of the maps: each block is to show what the neighbour that is nearer to the root shows."""
        config = self.config
        for group in self.optimizers["maps"].param_groups:
            group["lr"] = config.learning_rate * config.last_rate ** (step / config.steps)
        maps, apart = self.maps(), torch.zeros((), device=self.begun.device)
        for place, (child, parent) in enumerate(self.pairs):
            rays = batch["shared_origin"][:, place], batch["shared_direction"][:, place]
            wanted = shown(maps[parent].detach(), self._seen(parent, *rays))
            apart = apart + (shown(maps[child], self._seen(child, *rays)) - wanted).square().mean()
        apart, turned = apart / max(1, len(self.pairs)), (self.moves * self.turned).square().mean()
        found = {"maps/apart": apart.detach(), "maps/turned": turned.detach()}
        if not config.match:
            return found | {"maps/skipped": torch.zeros_like(apart).detach()}
        return found | {"maps/skipped": descend(apart + config.keep_map * turned, self.optimizers["maps"],
                                                config.max_norm)}

    @torch.no_grad()
    def _seen(self, number: int, origins: Tensor, directions: Tensor) -> Tensor:
        """What a block's field shows along rays, (B, 3) in [0, 1]; samples lie elsewhere each time, as in training."""
        field: Any = self.fields[number]
        colour, through, *_ = field.shade(origins, directions, torch.rand(len(origins), device=origins.device))
        seen: Tensor = colour + through[:, None] * field.background
        return seen.clamp(0, 1)

    def shares(self, positions: Tensor) -> Tensor:
        """Returns how much (N, K) of each block a camera at positions (N, 3) is shown; see `ops.blocks.shares`."""
        return shares(positions, self.centres, self.reach, self.config.power)

    def alone(self, number: int, poses: Tensor, lenses: Tensor, size: tuple[int, int] | None = None) -> Batch:
        """What cameras see of one block alone, in the appearance that it was brought to; colours are not clipped."""
        field = self.fields[number]
        assert isinstance(field, VoxelField)
        made = field.render(poses, lenses, size)
        return made | {"rendered": shown_pictures(self.maps().detach()[number], made["rendered"])}

    @full_precision
    def render(self, poses: Tensor, lenses: Tensor, size: tuple[int, int] | None = None) -> Batch:
        """What cameras see: `rendered`, `rendered_normals` (B, 3, H, W) and `rendered_depth` (B, H, W).

        Colours and normals are blended, depth is that of the block that counts most. Blocks out of reach are not asked.

        Shape: poses (B, 3, 4), lenses (B, 4), of pictures of `size` (height, width); none: as it was trained
        """
        weights = self.shares(poses[:, :, 3])
        first, found = weights.argmax(1), dict[str, Tensor]()
        for number in range(len(self.fields)):
            if not torch.compiler.is_exporting() and not weights[:, number].any():
                continue
            made, weight = self.alone(number, poses, lenses, size), weights[:, number, None, None]
            parts = {"rendered": weight[:, None] * made["rendered"],
                     "rendered_depth": (first == number)[:, None, None] * made["rendered_depth"],
                     "rendered_normals": weight[:, None] * made["rendered_normals"]}
            found = {key: found[key] + part if key in found else part for key, part in parts.items()}
        return found | {"rendered": found["rendered"].clamp(0, 1)}

    def predict(self, batch: Batch) -> Batch:
        """Return what the cameras see; see `render`."""
        return by_views(self.render, batch)

    def metric(self) -> Metric:
        """PSNR and SSIM of the rendered views."""
        return Views()


def _check_blocks(config: BlockField.Config) -> None:
    """UserError for what would be refused, or pass unseen, only once a block is trained."""
    if config.inner <= 0:
        raise UserError(f"--inner {config.inner:g}: half a side of a cube, so a length above 0")
    if min(config.block_steps, config.block_rays) < 1 or not config.block_rate > 0:
        raise UserError(f"--block-steps {config.block_steps} --block-rays {config.block_rays} --block-rate "
                        f"{config.block_rate:g}: a block learns by at least one update of one ray, at a rate above 0")


def block_config(config: BlockField.Config, number: int) -> VoxelBlock.Config:
    """Returns the configuration of one block, as `migaki train voxel_block` takes it."""
    return VoxelBlock.Config(**_shared(config, VoxelBlock.Config), steps=config.block_steps,
                             batch_size=config.block_rays, learning_rate=config.block_rate,
                             bounds=config.bounds if config.space == "box" else (),
                             centre=config.centres[3 * number : 3 * number + 3], reach=config.reaches[number])


def _field_config(config: BlockField.Config, number: int) -> VoxelField.Config:
    """The configuration of a block's field, without appearances."""
    centre, reach = config.centres[3 * number : 3 * number + 3], config.reaches[number]
    return VoxelField.Config(**_shared(config, VoxelField.Config), bounds=(
        config.bounds if config.space == "box" else cube_of(centre, config.inner * reach)))


def _shared(config: BlockField.Config, other: Any) -> dict[str, Any]:
    """The options that a configuration shares with that of its blocks: how a view is seen, and the grid."""
    own = ("steps", "batch_size", "learning_rate", "max_norm", "bounds")
    names = {field.name for field in fields(other)} - set(own)
    return {field.name: getattr(config, field.name) for field in fields(config) if field.name in names}
