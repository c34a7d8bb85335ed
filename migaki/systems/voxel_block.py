"""One block of a large scene: a voxel field of what cameras near a place see, each picture with its own appearance.

Tancik et al., "Block-NeRF: Scalable Large Scene Neural View Synthesis", CVPR 2022, with a voxel field in place of the
perceptrons, and an affine map of colours in place of a code that a perceptron reads (Martin-Brualla et al., "NeRF in
the Wild", CVPR 2021, has such codes).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from migaki.core.batch import Batch, Scalars
from migaki.core.errors import UserError
from migaki.core.source import Source
from migaki.core.system import System, descend
from migaki.data.batches.block_rays import NONE, GroupedRays, appearances_of
from migaki.data.batches.ray_pixels import evenly
from migaki.nets.appearance import Appearance
from migaki.ops.colour_affine import shown, shown_pictures, undone
from migaki.ops.full_precision import full_precision
from migaki.systems.parts.blocks import check_look, cube_of, views_within
from migaki.systems.parts.posed_views import PosedPictures, completed, in_pieces, open_views, space_of
from migaki.systems.voxel_field import VoxelField

_EVERY = 4  # of so many rays of a step one is looked at by the appearances: they have few numbers


class VoxelBlock(VoxelField, System):
    """A voxel field of what lies round a place, which tells the scene from each picture's exposure and colour of light.

    A picture's appearance is an affine map of colours (12 numbers), learned with the field; its inverse straightens the
    picture before the field learns from it. The field itself shows the average appearance, or that of the picture
    `--look`. Without --reach it learns from all views, so it is also the field for captures whose exposure varies.
    `migaki train block_field` divides a scene into such blocks and joins them.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config(VoxelField.Config):
        """The block and its appearances."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "reach appearance look", "network": "num_codes look_code"}

        centre: tuple[float, ...] = ()  # x y z of the block, scene units; needed where there is a reach
        reach: float = 0.0  # scene units from the centre to the farthest camera that is learned from; 0 = all are
        inner: float = 1.25  # half a side of the cube that gets half of the cells along a side, in reaches
        appearance: str = "picture"  # picture: one for each; none: one for all; or a column: one for each value
        look: int = 0  # the row of the set, from 1, whose appearance the field shows; 0: the average
        code_rate: float = 0.1  # times the learning rate, on appearances
        code_begin: float = 0.1  # share of the steps after which appearances are learned: at first a field is fog
        keep_code: float = 0.01  # weight of what appearances differ from the average
        spread: float | None = 0.0  # as in voxel_field, but off: blocks are not measured with it
        num_codes: int = 0  # appearances; 0 = as the data
        look_code: int = 0  # the appearance that is shown, from 1; 0 = the average, and as the data

    Data = PosedPictures

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        _check_block(config)
        self.codes = Appearance(config.num_codes) if config.num_codes else None
        if self.codes is not None:
            rate = config.learning_rate * config.code_rate
            self.optimizers = {"codes": torch.optim.Adam(self.codes.parameters(), lr=rate), **self.optimizers}

    @classmethod
    def open(cls, data: PosedPictures, config: Any, seed: int) -> tuple[Config, Source]:
        """Open the views within reach; takes the size, the cube and the appearances from the set."""
        folder = open_views(data, config)
        space = space_of(config, folder)
        learned, held = views_within(folder, config)
        if space == "all" and not config.bounds and config.reach > 0:
            config = replace(config, bounds=cube_of(config.centre, config.inner * config.reach))
        names = appearances_of(folder, config.appearance)
        check_look(config.look, folder)
        known = list(dict.fromkeys(names[place] for place in learned))
        if config.appearance != NONE:
            look = names[config.look - 1] if config.look else ""
            config = replace(config, num_codes=len(known), look_code=known.index(look) + 1 if look in known else 0)
        config = replace(completed(config, folder), space=space)
        shown_views = evenly(held, config.shown)
        return config, GroupedRays(folder.select(learned), [known.index(names[place]) for place in learned],
                                   config.batch_size, seed, folder.select(shown_views) if shown_views else None)

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """Four rays of three appearances, and four views of 12x12 px, of a box of 4^3 cells, in torch."""
        field, batch = VoxelField.tiny()
        values = {one.name: getattr(field, one.name) for one in fields(field)}
        config = cls.Config(**values | {"num_codes": 3, "look_code": 2, "batch_size": 4})
        return config, batch | {"ray_code": torch.tensor([0, 1, 2, 1])}

    def prepare(self, data: PosedPictures) -> None:
        """Keep some of the cameras that are learned from, and the first one's lens."""
        folder = open_views(data, self.config)
        self.kept.keep(folder, views_within(folder, self.config)[0])

    def look(self) -> Tensor:
        """Returns the map of colours (3, 4) of the appearance that is shown."""
        if self.codes is None or not self.config.look_code:
            return torch.eye(3, 4, device=self.background.device)
        maps: Tensor = self.codes().detach()
        return maps[self.config.look_code - 1]

    @full_precision
    def update(self, batch: Batch, step: int) -> Scalars:
        """One step of the appearances, and one of the field on pictures that they have straightened."""
        if self.codes is None:
            return super().update(batch, step)
        learned = self._learn_codes(batch, step)
        affine = self.codes().detach()[batch["ray_code"]]
        return super().update(batch | {"ray_colour": undone(affine, batch["ray_colour"])}, step) | learned

    def _learn_codes(self, batch: Batch, step: int) -> Scalars:
        """The appearances' step: what the field shows of some rays, under their maps, is to be what the pictures show.
        """
        config, none = self.config, torch.zeros((), device=self.background.device)
        assert self.codes is not None
        for group in self.optimizers["codes"].param_groups:
            group["lr"] = config.learning_rate * config.code_rate * config.last_rate ** (step / config.steps)
        if step < round(config.code_begin * config.steps):
            return {"codes/error": none, "codes/spread": none, "codes/skipped": none}
        rays = {key: batch[key][::_EVERY] for key in ("ray_origin", "ray_direction", "ray_colour", "ray_code")}
        with torch.no_grad():
            colour, through, *_ = in_pieces(self.shade, rays["ray_origin"], rays["ray_direction"])
            seen = colour + through[:, None] * self.background
        made = shown(self.codes()[rays["ray_code"]], seen)
        error, spread = (made - rays["ray_colour"]).square().mean(), self.codes.spread()
        skipped = descend(error + config.keep_code * spread, self.optimizers["codes"], config.max_norm)
        return {"codes/error": error.detach(), "codes/spread": spread.detach(), "codes/skipped": skipped}

    def render(self, poses: Tensor, lenses: Tensor, size: tuple[int, int] | None = None) -> Batch:
        """What cameras see, in the appearance that is shown; see `VoxelField.render`."""
        made = super().render(poses, lenses, size)
        return made | {"rendered": shown_pictures(self.look(), made["rendered"]).clamp(0, 1)}


def _check_block(config: VoxelBlock.Config) -> None:
    if len(config.centre) not in (0, 3):
        raise UserError("--centre: give x y z")
    if not 0 <= config.code_begin <= 1 or config.inner <= 0:
        raise UserError(f"--code-begin {config.code_begin:g} --inner {config.inner:g}: a share from 0 to 1, and a "
                        "length above 0")
    if not 0 <= config.look_code <= config.num_codes:
        raise UserError("voxel_block: the number of appearances is taken from the pictures: give --data a posed set")
