"""NeRF in small: a scene as a perceptron, learned from posed pictures.

Mildenhall, Srinivasan, Tancik, Barron, Ramamoorthi, Ng, "NeRF: Representing Scenes as Neural Radiance Fields for View
Synthesis", ECCV 2020. On a CPU it is for small pictures and for fidelity to the paper; `voxel_field` does the work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from migaki.core.batch import Batch, Scalars
from migaki.core.errors import UserError
from migaki.core.metric import Metric
from migaki.core.source import Source
from migaki.core.system import System, descend
from migaki.data.batches.ray_pixels import divide_views
from migaki.metrics.views import Views
from migaki.nets.field_mlp import FieldMLP
from migaki.ops.camera import pixel_rays
from migaki.ops.full_precision import full_precision
from migaki.systems.parts.posed_views import (
    KeptCameras,
    PosedPictures,
    ViewOptions,
    by_views,
    check_views,
    completed,
    in_pieces,
    open_views,
    ray_source,
    tiny_views,
)


class Nerf(System):
    """A small perceptron that is asked along rays, first evenly, then where the light comes from.

    It needs what `voxel_field` needs, and gives what that gives. One network answers both passes, as in mip-NeRF.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config(ViewOptions):
        """The network and how it is trained."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "steps batch_size features layers hold_out",
            "network": "channels height width bounds background near far place_waves direction_waves samples more "
                       "shown",
        }

        features: int = 64  # of each layer
        layers: int = 4  # of the network
        place_waves: int = 8  # frequencies of places
        direction_waves: int = 3  # frequencies of directions
        samples: int = 32  # of a ray, evenly
        more: int = 32  # of a ray, where the first ones found light
        steps: int = 4000  # updates
        batch_size: int = 512  # rays
        learning_rate: float = 2e-3  # of Adam
        coarse: float = 0.3  # weight of the colour of the first pass
        max_norm: float = 1.0  # gradient clipping; 0 = off
        shown: int = 2  # held-out views that are rendered while it learns

    Data = PosedPictures

    config: Config
    inputs = ("camera_to_world", "intrinsics")
    batch_of = "ray"

    def __init__(self, config: Config) -> None:
        super().__init__()
        check_views("nerf", config)
        if min(config.features, config.layers, config.samples) < 2 or min(config.more, config.place_waves,
                                                                         config.direction_waves) < 0:
            raise UserError("nerf: --features, --layers and --samples are at least 2, --more, --place-waves and "
                            "--direction-waves at least 0")
        self.config = config
        self.net = FieldMLP(config.features, config.layers, config.place_waves, config.direction_waves)
        low, high = (torch.tensor(part, dtype=torch.float32) for part in (config.bounds[:3], config.bounds[3:]))
        self.register_buffer("middle", (low + high) / 2)
        self.register_buffer("radius", (high - low).amax() / 2)  # of the cube round the box
        self.register_buffer("background", torch.tensor(config.background, dtype=torch.float32))
        self.kept = KeptCameras()
        self.optimizers = {"net": torch.optim.Adam(self.net.parameters(), lr=config.learning_rate)}

    middle: Tensor
    radius: Tensor
    background: Tensor

    @classmethod
    def open(cls, data: PosedPictures, config: Config, seed: int) -> tuple[Config, Source]:
        """Open the views; takes the size, the box and the background from the set."""
        folder = open_views(data, config)
        config = completed(config, folder)
        return config, ray_source(config, folder, seed)

    @classmethod
    def tiny(cls) -> tuple[Config, Batch]:
        """Four rays and four views of 12x12 px."""
        config = cls.Config(channels=3, height=12, width=12, bounds=(-1, -1, -1, 1, 1, 1), background=(1, 1, 1),
                            near=2.5, far=5.5, features=8, layers=2, place_waves=2, direction_waves=1, samples=4,
                            more=3, steps=6, batch_size=4)
        return config, tiny_views()

    def prepare(self, data: PosedPictures) -> None:
        """Keep some of the cameras that are learned from."""
        folder = open_views(data, self.config)
        self.kept.keep(folder, divide_views(folder, self.config.hold_out)[0])

    def update(self, batch: Batch, step: int) -> Scalars:
        """One step on a batch of rays; both passes take random places in their intervals."""
        config = self.config
        for group in self.optimizers["net"].param_groups:
            group["lr"] = config.learning_rate * config.last_rate ** (step / config.steps)
        origins, towards, colour = batch["ray_origin"], batch["ray_direction"], batch["ray_colour"]
        first = torch.rand(len(origins), config.samples, device=origins.device)
        second = torch.rand(len(origins), config.more, device=origins.device)
        coarse, fine, _ = self._seen(origins, towards, first, second)
        error, rough = (fine - colour).square().mean(), (coarse - colour).square().mean()
        skipped = descend(error + config.coarse * rough, self.optimizers["net"], config.max_norm)
        return {"net/colour": error.detach(), "net/coarse": rough.detach(), "net/skipped": skipped}

    def _seen(self, origins: Tensor, towards: Tensor, first: Tensor, second: Tensor
              ) -> tuple[Tensor, Tensor, Tensor]:
        """The colours of both passes (N, 3) and the distance of the light (N,), 0 where less than half is met.

        Shape: origins, towards (N, 3); first (N, S) and second (N, M) in [0, 1), places in their intervals
        """
        config = self.config
        count = first.shape[1]
        at = (torch.arange(count, device=first.device) + first) / count
        at = config.near + (config.far - config.near) * at
        coarse, weights = self._along(origins, towards, at)
        fine = coarse
        if second.shape[1]:
            at = torch.sort(torch.cat([at, _more(at, weights.detach(), second)], 1), 1).values
            fine, weights = self._along(origins, towards, at)
        met = weights.sum(1)
        distance = (weights * at).sum(1) / met.clamp_min(1e-6)
        return coarse, fine, torch.where(met > 0.5, distance, torch.zeros_like(distance))

    def _along(self, origins: Tensor, towards: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        """Colour (N, 3) and weights (N, S) of samples at distances (N, S): equation 3."""
        places = ((origins[:, None] + at[..., None] * towards[:, None]) - self.middle) / self.radius
        density, colours = self.net(places, towards[:, None].expand_as(places))
        ends = torch.cat([at[:, 1:], torch.full_like(at[:, :1], self.config.far)], 1)
        depth = density * (ends - at) / self.radius  # optical
        sums = torch.cumsum(depth, 1)
        weights = (1 - torch.exp(-depth)) * torch.exp(depth - sums)
        colour = (weights[..., None] * colours).sum(1) + torch.exp(-sums[:, -1:]) * self.background
        return colour, weights

    @full_precision
    def render(self, poses: Tensor, lenses: Tensor, size: tuple[int, int] | None = None) -> Batch:
        """What cameras see: `rendered` (B, 3, H, W), `rendered_depth` (B, H, W) along the optical axis.

        Shape: poses (B, 3, 4), lenses (B, 4), of pictures of `size` (height, width); none: as it was trained
        """
        height, width = size or (self.config.height, self.config.width)
        origins, towards = pixel_rays(lenses, poses, height, width)
        along = (towards * poses[:, None, None, :, 2]).sum(-1)
        colour, distance = in_pieces(self._shade, origins.reshape(-1, 3), towards.reshape(-1, 3))
        return {"rendered": colour.clamp(0, 1).view(-1, height, width, 3).movedim(-1, 1),
                "rendered_depth": distance.view(-1, height, width) * along}

    def _shade(self, origins: Tensor, towards: Tensor) -> tuple[Tensor, ...]:
        """Colour and distance of rays, each asked in the middles of its intervals."""
        first, second = (torch.full_like(origins[:, :1], 0.5).expand(-1, count)
                         for count in (self.config.samples, self.config.more))
        second = (torch.arange(self.config.more, device=origins.device) + second) / max(1, self.config.more)
        return self._seen(origins, towards, first, second)[1:]

    def predict(self, batch: Batch) -> Batch:
        """Return what the cameras see; see `render`."""
        return by_views(self.render, batch)

    def metric(self) -> Metric:
        """PSNR and SSIM of the rendered views."""
        return Views()


def _more(at: Tensor, weights: Tensor, draws: Tensor) -> Tensor:
    """Distances (N, M) of further samples, distributed as the weights (N, S) of those at distances `at`: the draws
    (N, M) in [0, 1) through the inverse of their distribution, straight within an interval."""
    middles = (at[:, 1:] + at[:, :-1]) / 2
    edges = torch.cat([at[:, :1], middles, at[:, -1:]], 1)
    share = weights + 1e-5
    sums = torch.cumsum(share / share.sum(1, keepdim=True), 1)
    place = (sums[:, None] <= draws[..., None]).sum(-1).clamp_max(weights.shape[1] - 1)
    before = torch.cat([torch.zeros_like(sums[:, :1]), sums[:, :-1]], 1).gather(1, place)
    part = ((draws - before) / (sums.gather(1, place) - before).clamp_min(1e-8)).clamp(0, 1)
    low, high = edges.gather(1, place), edges.gather(1, place + 1)
    return low + part * (high - low)
