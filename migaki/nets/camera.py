"""A camera with settings that a small network chooses for each picture, and the discriminator that judges it."""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.ops import camera_light as camera
from migaki.ops.appearance import mean_deviation
from migaki.ops.full_precision import full_precision

THUMBNAIL = 8  # px
_KNOTS = 8  # parts of the tone curve
_GRID = 3  # places of the local gain across and down
_SHARP, _DARK, _GRAIN, _COARSE = 5.0, -4.0, -5.0, 2.0  # where an untrained camera starts: near the identity

# ITU-T T.81, tables K.1 and K.2: steps for brightness and for colour, of 255.
_LUMINANCE = (16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
              14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
              49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99)
_CHROMINANCE = (17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
                47, 66, 99, 99, 99, 99, 99, 99, *(99,) * 32)


def jpeg_tables() -> Tensor:
    """The tables of ITU-T T.81 for brightness and colour, (2, 8, 8)."""
    return torch.tensor([_LUMINANCE, _CHROMINANCE]).float().view(2, 8, 8)


class CameraNet(nn.Module):
    """Pictures (B, C, H, W) in [0, 1] and random numbers to the same pictures as another camera would take them.

    A perceptron reads global statistics, a thumbnail of 8 x 8 px and the latent, and gives the raw settings: numbers
    that are 0 for an untrained camera, which then is nearly the identity. `settings` turns them into bounded physical
    ones; the ops of `ops.camera_light` apply them. Everything is float32, since it is colour.
    """

    tables: Tensor
    down: Tensor
    across: Tensor

    def __init__(self, channels: int, height: int, width: int, latent: int, features: int = 96, *,
                 jpeg: bool = False) -> None:
        super().__init__()
        self.channels, self.has_jpeg = channels, jpeg
        self.counts = {
            "black": 1, "steps": _KNOTS, "matrix": channels * channels, "offset": channels,
            "gain": 2 * _GRID * _GRID, "across": 1 + len(camera.BLUR_WIDTHS),
            "down": 1 + len(camera.BLUR_WIDTHS), "vignette": 1, "grain": 1 + len(camera.GRAIN_WIDTHS), "slope": 1,
            "shared": 1, "jpeg": int(jpeg),
        }
        seen = 2 * channels + 4 + channels * THUMBNAIL * THUMBNAIL + latent
        self.layers = nn.Sequential(nn.Linear(seen, features), nn.SiLU(), nn.Linear(features, features), nn.SiLU(),
                                    nn.Linear(features, sum(self.counts.values())))
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.register_buffer("tables", jpeg_tables(), persistent=False)
        self.register_buffer("down", _pooling(height), persistent=False)
        self.register_buffer("across", _pooling(width), persistent=False)

    @full_precision
    def raw(self, images: Tensor, latent: Tensor) -> Tensor:
        """The raw settings (B, S) for pictures (B, C, H, W) and latents (B, Z), standard normal."""
        mean, deviation = mean_deviation(images)
        thumbnail = self.down @ images @ self.across.T
        plane = images.mean(1, keepdim=True)
        fine = torch.cat([_roughness(plane), _roughness(F.avg_pool2d(plane, 2))], 1)
        seen = torch.cat([2 * mean - 1, 4 * deviation - 1, fine, 2 * thumbnail.flatten(1) - 1, latent], 1)
        out: Tensor = self.layers(seen)
        return out

    @full_precision
    def settings(self, raw: Tensor) -> dict[str, Tensor]:
        """Bounded settings from the raw ones (B, S), by the names of `counts`."""
        part = dict(zip(self.counts, torch.split(raw, list(self.counts.values()), 1), strict=True))
        eye = torch.eye(self.channels, device=raw.device)
        sharp = F.pad(raw.new_full((1, 1), _SHARP), (0, len(camera.BLUR_WIDTHS)))
        found = {
            "black": 0.2 * torch.tanh(part["black"][:, 0]),
            "steps": torch.exp(torch.tanh(part["steps"])) / _KNOTS,
            "matrix": eye + 0.3 * torch.tanh(part["matrix"]).view(-1, self.channels, self.channels),
            "offset": 0.2 * torch.tanh(part["offset"]),
            "gain": 0.25 * torch.tanh(part["gain"]).view(-1, 2, 1, _GRID, _GRID),
            "across": torch.softmax(part["across"] + sharp, 1),
            "down": torch.softmax(part["down"] + sharp, 1),
            "vignette": 0.5 * torch.sigmoid(part["vignette"][:, 0] + _DARK),
            "grain": 0.08 * torch.sigmoid(part["grain"] + _GRAIN),
            "slope": 2 * torch.tanh(part["slope"][:, 0]),
            "shared": torch.sigmoid(part["shared"][:, 0]),
        }
        if self.has_jpeg:
            found["jpeg"] = torch.exp(2 * torch.tanh(part["jpeg"][:, 0]) - _COARSE)
        return found

    @full_precision
    def photograph(self, images: Tensor, settings: dict[str, Tensor], noise: Tensor) -> Tensor:
        """Pictures (B, C, H, W) as a camera with these settings takes them; `noise` (B, C + 1, H, W). Not clipped."""
        taken = camera.tone_curve(images, settings["black"], settings["steps"])
        taken = camera.mix_channels(taken, settings["matrix"], settings["offset"])
        taken = camera.vignette(camera.local_gain(taken, settings["gain"]), settings["vignette"])
        taken = camera.lens_blur(taken, settings["across"], settings["down"])
        taken = camera.grain(taken, noise, settings["grain"], settings["slope"], settings["shared"])
        return camera.jpeg(taken, self.tables, settings["jpeg"]) if self.has_jpeg else taken

    def forward(self, images: Tensor, latent: Tensor, noise: Tensor) -> Tensor:
        """Pictures taken with the settings that the network chooses; not clipped."""
        taken: Tensor = self.photograph(images, self.settings(self.raw(images, latent)), noise)
        return taken


def _roughness(plane: Tensor) -> Tensor:
    """Log mean absolute differences of neighbours across and down: (B, 1, H, W) -> (B, 2)."""
    across = (plane[..., 1:] - plane[..., :-1]).abs().mean((2, 3))
    down = (plane[..., 1:, :] - plane[..., :-1, :]).abs().mean((2, 3))
    return (torch.cat([across, down], 1) + 1e-3).log() / 2 + 1.5  # of about unit size


def _pooling(length: int) -> Tensor:
    """The matrix (8, length) that averages a row of pixels in 8 parts of equal width."""
    edges = [part * length / THUMBNAIL for part in range(THUMBNAIL + 1)]
    rows = [[max(0.0, min(end, place + 1) - max(start, place)) / (end - start) for place in range(length)]
            for start, end in itertools.pairwise(edges)]
    return torch.tensor(rows)


class TextureDiscriminator(nn.Module):
    """Pictures (B, C, H, W) in [-1, 1] to two maps of log-odds that a patch is *refined*: at full and at half size.

    Patches are of 10 px at full size and of 20 at half size: enough for blur, grain and edges, too little for what is
    in the picture. Cells of 2 x 2 px become channels at first, so nothing is averaged away and a step stays cheap.
    """

    def __init__(self, channels: int, features: int = 24) -> None:
        super().__init__()
        self.scales = nn.ModuleList([nn.Sequential(
            nn.Conv2d(4 * channels, features, 3, padding=1), nn.LeakyReLU(0.2),
            nn.Conv2d(features, features, 3, padding=1), nn.LeakyReLU(0.2),
            nn.Conv2d(features, 1, 1),
        ) for _ in range(2)])

    def forward(self, images: Tensor) -> list[Tensor]:
        """The maps (B, 1, h, w), float32: large scale last."""
        maps = []
        for scale in self.scales:
            height, width = images.shape[2:]
            cells = F.pixel_unshuffle(F.pad(images, (0, width % 2, 0, height % 2), mode="replicate"), 2)
            maps.append(scale(cells).float())
            images = F.avg_pool2d(images, 2)
        return maps


def uniform_of(latent: Tensor) -> Tensor:
    """Uniform numbers in [0, 1] from standard normal ones, by the normal distribution function."""
    return 0.5 * (1 + torch.erf(latent / math.sqrt(2)))
