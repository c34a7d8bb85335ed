"""A camera's sensor in the dark: shot noise, read noise, a mosaic of colours, and whole numbers of a raw file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from migaki.core.batch import Batch, Key
from migaki.core.damage import Damage, scalars
from migaki.core.errors import UnfitPicture, UserError
from migaki.ops.linear_light import to_linear
from migaki.ops.raw_light import Pattern, demosaicked, developed, from_camera, mosaic_of, mosaicked, to_camera


class Sensor(Damage):
    """Turns linear `radiance` (`migaki simulate scene --linear`), or pictures brought to linear light, into raw files.

    Light in the camera's own colours falls through a Bayer mosaic. Electrons are counted (Poisson), the electronics add
    Gaussian noise, and the sum is cut off at white and rounded. So the variance of a raw value is a x + b, with x the
    value itself (Foi et al., "Practical Poissonian-Gaussian Noise Modeling", IEEE TIP 2008).

    `input/` gets `raw`, 16 bits, and what a raw converter needs to know as columns; its pictures are developed from
    the raw alone: interpolated between the mosaic's pixels, brightened to the scene's own scale, 8 bits.
    """

    keys = (
        Key(name="raw", shape=("H", "W"), unit="whole numbers of a sensor behind a mosaic of colours", kind="plane"),
        Key(name="mosaic", shape=("4",), unit="0 red, 1 green, 2 blue: of a square of 2 x 2 pixels, by rows"),
        Key(name="black_level", shape=(), unit="the raw number without light"),
        Key(name="white_level", shape=(), unit="the raw number at which the sensor is full"),
        Key(name="white_balance", shape=("3",), unit="factors of the camera's colours that make grey grey"),
        Key(name="colour_matrix", shape=("3", "3"), unit="from balanced colours of the camera to linear sRGB"),
        Key(name="shutter", shape=(), unit="s, the time of exposure"),
        Key(name="preview_gain", shape=(),
            unit="times raw values (0 = black level, 1 = white level), in the picture that shows them"),
        Key(name="shot_noise", shape=(), unit="variance for a raw value of 1 (0 = black level, 1 = white level)"),
        Key(name="read_noise", shape=(), unit="standard deviation without light, in the same unit"),
    )
    reads = "radiance"
    kept = ("raw", "mosaic", "white_balance", "colour_matrix")

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The sensor and how long it is exposed."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "exposure shutters electrons read bits pattern"}

        exposure: float = -4.0  # stops from a radiance of 1 to the sensor's white at the longest shutter
        shutters: tuple[float, ...] = (1.0,)  # s; several: each picture is given one of them by chance
        electrons: float = 1000.0  # that fill a pixel; fewer stand for a higher ISO, and more noise
        read: float = 3.0  # electrons, standard deviation of read noise
        bits: int = 14  # of a raw number
        black: int = 512  # the raw number without light
        pattern: Pattern = "RGGB"  # of the mosaic, from top left by rows
        white_balance: tuple[float, float, float] = (2.0, 1.0, 1.6)  # by what the sensor sees less of each colour
        matrix: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)  # from its colours to sRGB, by rows

        def __post_init__(self) -> None:
            if not (-30 <= self.exposure <= 30 and 1 <= self.electrons <= 1e7 and 0 <= self.read <= 1e5):
                raise UserError("sensor: exposure is -30 to 30 stops, electrons 1 to 10000000, read 0 to 100000")
            if not (8 <= self.bits <= 16 and 0 <= self.black < 2 ** (self.bits - 1)):
                raise UserError("sensor: bits are 8 to 16, and black is in the lower half of them")
            if not self.shutters or not all(1e-6 <= time <= 1e4 for time in self.shutters):
                raise UserError("sensor: shutters are 0.000001 to 10000 s, at least one")
            if not all(0.05 <= factor <= 20 for factor in self.white_balance):
                raise UserError("sensor: factors of the white balance are 0.05 to 20")
            if len(self.matrix) != 9 or not abs(float(torch.tensor(self.matrix).view(-1, 3).det())) > 1e-3:
                raise UserError("sensor: the matrix has 9 numbers, by rows, and can be inverted")

    config: Config

    def of_pictures(self, pictures: Tensor) -> Tensor:
        """The linear light that pictures in sRGB stand for."""
        return to_linear(pictures)

    def damage_one(self, image: Tensor, draw: torch.Generator) -> tuple[Tensor, Batch]:
        """The raw of linear light (3, H, W), or grey, and the picture (3, H, W) in [0, 1] that is developed from it."""
        config = self.config
        if len(image) not in (1, 3):
            raise UserError(f"sensor: sees red, green and blue, not {len(image)} channels")
        if not torch.isfinite(image).all():
            raise UnfitPicture("has light that is not finite: render it again, or leave it out")
        image = image.expand(3, -1, -1)
        time = config.shutters[int(torch.randint(len(config.shutters), (), generator=draw))]
        scale = 2.0**config.exposure * time / max(config.shutters)
        balance, matrix = torch.tensor(config.white_balance), torch.tensor(config.matrix).view(3, 3)
        mosaic = mosaic_of(config.pattern)
        # All is computed on the CPU, so that a seed gives the same raw on every device.
        seen = mosaicked(to_camera(image.cpu(), balance, matrix), mosaic).clamp_min(0) * scale
        electrons = torch.poisson(seen.clamp_max(4.0) * config.electrons, generator=draw)
        electrons = electrons + config.read * torch.randn(seen.shape, generator=draw)
        white = 2**config.bits - 1
        raw = (config.black + electrons / config.electrons * (white - config.black)).round().clamp(0, white)
        light = from_camera(demosaicked((raw - config.black) / (white - config.black), mosaic), balance, matrix)
        picture = developed(light, 1 / scale).to(image.device)
        numbers = scalars(image.device, black_level=config.black, white_level=white, shutter=time,
                          preview_gain=1 / scale, shot_noise=1 / config.electrons,
                          read_noise=config.read / config.electrons)
        planes = {"raw": raw.long(), "mosaic": mosaic, "white_balance": balance, "colour_matrix": matrix}
        return picture, numbers | {key: value.to(image.device) for key, value in planes.items()}
