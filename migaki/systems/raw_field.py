"""A radiance field from noisy raw photographs: light as it is, with its noise averaged over the views.

RawNeRF (Mildenhall, Hedman, Martin-Brualla, Srinivasan, Barron, "NeRF in the Dark", CVPR 2022) with the voxels of
`voxel_field` in place of its network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from migaki.core.batch import Batch, Key, Scalars
from migaki.core.errors import UserError
from migaki.core.metric import Metric
from migaki.core.source import Source
from migaki.core.system import System, descend
from migaki.data.batches.raw_pixels import RawPixels, require_raw, shutters_of
from migaki.data.batches.ray_pixels import divide_views, evenly
from migaki.data.folder import ImageFolder
from migaki.data.sets.optional import columns_of
from migaki.data.sets.raw_columns import COLOURS, NOISE
from migaki.data.sets.scenes import scene_of
from migaki.metrics.views import Views
from migaki.ops.camera import pixel_rays
from migaki.ops.full_precision import full_precision
from migaki.ops.linear_light import to_linear
from migaki.ops.raw_light import developed, from_camera, to_camera
from migaki.systems.parts.posed_views import (
    GridOptions,
    KeptCameras,
    PosedPictures,
    by_views,
    completed,
    in_pieces,
    open_views,
    tiny_views,
)
from migaki.systems.voxel_field import VoxelField

_SMALL = 1e-6
_DARK = -7.0  # logarithm of what lies behind the box, at the start and where it is black
_FLOOR = 1e-3
_CAMERA_RATE = 0.1  # of the learning rate, for what is learned of the camera


class RawField(System):
    """A field of voxels that is learned from raw pictures with poses, and rendered as linear light from any camera.

    The set needs `raw`, `mosaic`, `black_level`, `white_level` and `shutter` beside what `voxel_field` needs, as
    `migaki simulate sensor` and `migaki import raw` write them. Only the colour that a pixel of the mosaic saw counts.
    `apply` gives `rendered_radiance`, which `migaki apply develop` and `apply refocus` make pictures of.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config(GridOptions):
        """The grid and how it is learned."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "steps batch_size sides degree hold_out",
            "network": "channels height width bounds background space near far rows activation step faint opaque alpha "
                       "shutters shown",
        }

        shutters: tuple[float, ...] = ()  # s, the longest first; none = as the data
        sides: tuple[int, ...] = (32, 64, 96)  # cells along a side, stage by stage
        begins: tuple[float, ...] = (0.05, 0.2)  # shares of the steps after which the second, third ... stage begins
        rows: int = 400_000  # vertices that may hold something
        activation: Literal["linear", "sigmoid", "exponential"] = "exponential"  # from harmonics to light
        steps: int = 10_000  # updates
        batch_size: int = 2048  # rays
        learning_rate: float = 0.3  # of Adam, on harmonics
        density_rate: float = 0.67  # times the learning rate, on raw densities
        floor: float = 0.0  # light that is added before errors are divided by it; 0 = the read noise, at least 0.001
        clear: float = 1e-2  # weight of the entropy of what passes a ray: it is all or nothing (DVGO)
        smooth_density: float = 1e-7  # weight of the total variation of raw densities
        smooth_colour: float = 1e-7  # weight of the total variation of harmonics

    Data = PosedPictures

    config: Config
    inputs = ("camera_to_world", "intrinsics")
    batch_of = "ray"
    keys = (
        Key(name="ray_seen", shape=("3",), unit="1 for the colour that a pixel of a mosaic saw, else 0"),
        Key(name="ray_exposure", shape=(), unit="number of the shutter, 0 = the longest"),
        Key(name="rendered_radiance", shape=("3", "H", "W"), kind="vectors",
            unit="linear light in the camera's own colours, 1 = the sensor's white at the longest shutter"),
    )
    training_only = ("field.strength",)

    def __init__(self, config: Config) -> None:
        super().__init__()
        _check(config)
        self.config = config
        shared = {field.name: getattr(config, field.name) for field in fields(GridOptions)}
        self.field = VoxelField(VoxelField.Config(**shared, own_colour=0.0))
        # What is learned of the camera: factors of shorter exposures but for their times, and what lies behind.
        self.offsets = nn.Parameter(torch.zeros(max(0, len(config.shutters) - 1), 3))
        self.backdrop = nn.Parameter(torch.full((3,), _DARK))
        self.register_buffer("times", torch.tensor(config.shutters) / config.shutters[0])
        self.register_buffer("white_balance", torch.ones(3))
        self.register_buffer("colour_matrix", torch.eye(3))
        self.register_buffer("gain", torch.ones(()))
        self.optimizers = {
            "field": self.field.optimizers["field"],
            "camera": torch.optim.Adam([self.offsets, self.backdrop], lr=_CAMERA_RATE * config.learning_rate)}

    times: Tensor
    white_balance: Tensor
    colour_matrix: Tensor
    gain: Tensor

    @property
    def kept(self) -> KeptCameras:
        """Cameras that it has learned from."""
        return self.field.kept

    @classmethod
    def open(cls, data: PosedPictures, config: Config, seed: int) -> tuple[Config, Source]:
        """Open the views; takes the size, the box and the shutters from the set."""
        folder = open_views(data, config)
        require_raw(folder)
        columns_of(folder, *COLOURS, *NOISE, "preview_gain")
        space = config.space or ("box" if config.background or scene_of(folder).background else "all")
        config = replace(completed(config, folder), space=space, shutters=config.shutters or shutters_of(folder),
                         floor=config.floor or _floor_of(folder))
        learned, held = divide_views(folder, config.hold_out)
        shown = evenly(held, config.shown)
        return config, RawPixels(folder.select(learned), config.batch_size, seed, config.shutters,
                                 folder.select(shown) if shown else None)

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """Four rays and four views of 12x12 px of a box of 4^3 cells, two shutters, in torch."""
        config = cls.Config(channels=3, height=12, width=12, bounds=(-1, -1, -1, 1, 1, 1), background=(0, 0, 0),
                            space="box", near=1.0, far=9.0, sides=(4,), begins=(), rows=130, steps=6, batch_size=4,
                            alpha=0.3, carvings=1, engine="torch", shutters=(1.0, 0.25), floor=1e-3)
        seen = torch.eye(3)[[0, 1, 1, 2]]
        batch = tiny_views() | {"ray_seen": seen, "ray_exposure": torch.tensor([0, 1, 0, 1])}
        return config, batch | {"ray_colour": 0.1 * batch["ray_colour"] * seen}

    def prepare(self, data: PosedPictures) -> None:
        """Keep some of the cameras that are learned from, what a converter needs to know of them, and the light that
        the set's background stands for."""
        folder = open_views(data, self.config)
        learned = divide_views(folder, self.config.hold_out)[0]
        self.kept.keep(folder, learned)
        times = folder.read_label("shutter", learned)
        longest = learned[int(times.argmax())]
        for key, name in (("white_balance", "white_balance"), ("colour_matrix", "colour_matrix"),
                          ("preview_gain", "gain")):
            if key in folder.labels:
                getattr(self, name).copy_(folder.read_label(key, [longest])[0])
        behind = torch.tensor(self.config.background)[:, None, None]
        light = to_camera(to_linear(behind), self.white_balance, self.colour_matrix)[:, 0, 0] / self.gain
        with torch.no_grad():
            self.backdrop.copy_(light.clamp_min(math.exp(_DARK)).log())

    @full_precision
    def update(self, batch: Batch, step: int) -> Scalars:
        """One step on a batch of rays: of the grid, then of what is learned of the camera."""
        config, field = self.config, self.field
        field.proceed(step)
        for group in self.optimizers["camera"].param_groups:
            group["lr"] = _CAMERA_RATE * config.learning_rate * config.last_rate ** (step / config.steps)
        jitter = torch.rand(len(batch["ray_origin"]), device=batch["ray_origin"].device)
        if field.is_compiled():
            colour, through, skipped = self._descend_compiled(batch, jitter, step)
        else:
            found = field.march(batch, jitter)
            colour, through = found.colour, found.through
            rough = field.roughness(found, step)
            loss = (self._losses(colour, through, batch)["loss"] + config.smooth_density * rough[0]
                    + config.smooth_colour * rough[1])
            skipped = descend(loss, self.optimizers["field"], config.max_norm)
        losses = self._losses(colour.detach(), through.detach(), batch)
        descend(losses["raw"], self.optimizers["camera"], config.max_norm)
        return {f"field/{name}": value.detach().nan_to_num(0.0) for name, value in losses.items()} | {
            "field/skipped": skipped}

    def _losses(self, colour: Tensor, through: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The loss that follows from what rays saw, and its first term.

        RawNeRF, equation 4: squared errors of the colour that the pixel saw, divided by the square of the light itself,
        which counts as fixed. This is to first order the error of log(light + floor), yet of the noisy values' mean.
        """
        config = self.config
        exposed = self.exposed(colour + through[:, None] * self.backdrop.exp(), batch["ray_exposure"])
        seen = batch["ray_seen"]
        weight = seen / (exposed.detach() + config.floor).square()
        raw = (weight * (exposed - batch["ray_colour"]).square()).sum() / seen.sum()
        left = through.clamp(_SMALL, 1 - _SMALL)
        clear = -(left * left.log() + (1 - left) * (1 - left).log()).mean()
        return {"loss": raw + config.clear * clear, "raw": raw}

    def exposed(self, light: Tensor, exposure: Tensor) -> Tensor:
        """What the sensor makes of light (N, 3) at exposures (N,): scaled by the shutter, cut off at white.

        RawNeRF, section 4.2: a learned factor for each colour of each shutter but the longest, whose scale is that of
        the field.
        """
        factors = 1 + torch.cat([torch.zeros_like(self.backdrop)[None], self.offsets])
        return (light * (self.times[:, None] * factors)[exposure]).clamp_max(1)

    def _descend_compiled(self, batch: Batch, jitter: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Move the grid by the kernels; returns what rays saw, and whether the step was skipped (1) or not."""
        samples = self.field.march_compiled(batch, jitter)
        colour, through = (torch.from_numpy(part).requires_grad_() for part in (samples.colour, samples.through))
        pull, through_pull = torch.autograd.grad(self._losses(colour, through, batch)["loss"], (colour, through))
        if not (torch.isfinite(pull).all() and torch.isfinite(through_pull).all()):
            return colour, through, torch.ones(())
        with torch.no_grad():
            self.field.descend_compiled(samples, step, pull, through_pull, 0.0, batch["ray_colour"])
        return colour, through, torch.zeros(())

    @full_precision
    def render(self, poses: Tensor, lenses: Tensor, size: tuple[int, int] | None = None) -> Batch:
        """What cameras see: `rendered_radiance`, linear, and `rendered`, as the set's pictures are developed, each
        (B, 3, H, W); `rendered_depth` (B, H, W), `rendered_normals` (B, 3, H, W).

        Shape: poses (B, 3, 4), lenses (B, 4), of pictures of `size` (height, width); none: as it was trained
        """
        height, width = size or (self.config.height, self.config.width)
        origins, directions = pixel_rays(lenses, poses, height, width)
        along = (directions * poses[:, None, None, :, 2]).sum(-1)
        colour, through, distance, normals = in_pieces(self.field.shade, origins.reshape(-1, 3),
                                                       directions.reshape(-1, 3))
        light = colour + through[:, None] * self.backdrop.detach().exp()
        light, normals = (part.view(-1, height, width, 3).movedim(-1, 1) for part in (light, normals))
        distance = torch.where(through < 0.5, distance, torch.zeros_like(distance))
        picture = developed(from_camera(light, self.white_balance, self.colour_matrix), self.gain)
        return {"rendered": picture, "rendered_radiance": light,
                "rendered_depth": distance.view(-1, height, width) * along, "rendered_normals": normals}

    def predict(self, batch: Batch) -> Batch:
        """Return what the cameras see; see `render`."""
        return by_views(self.render, batch)

    def metric(self) -> Metric:
        """PSNR and SSIM of the developed views against pictures that are developed from noisy raws."""
        return Views()


def _floor_of(folder: ImageFolder) -> float:
    """The read noise of a set, under which no value says how dark it is; 0.001 (RawNeRF) where that is less."""
    noise = float(folder.read_label("read_noise", range(len(folder))).max()) if "read_noise" in folder.labels else 0.0
    return round(max(_FLOOR, noise), 6)


def _check(config: RawField.Config) -> None:
    times = config.shutters
    if not times or min(times) <= 0 or list(times) != sorted(set(times), reverse=True):
        raise UserError("--shutters: give times of exposure in s above 0, the longest first, each once")
    if not config.floor > 0:
        raise UserError(f"--floor {config.floor:g}: errors are divided by light and this: give a number above 0")
