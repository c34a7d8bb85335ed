"""Stand-in for photographs of eyes: another population of built-in eyes seen through a modelled camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from migaki.core.batch import Batch
from migaki.core.damage import Range, check_range, uniform
from migaki.core.seeds import generator
from migaki.core.simulator import Simulator
from migaki.ops.filtering import gaussian_blur
from migaki.ops.histogram import equalise
from migaki.simulate.blur import Blur
from migaki.simulate.eyes import EyeSimulator
from migaki.simulate.jpeg import Jpeg
from migaki.simulate.noise import Noise

_STREAM = 7919  # makes the camera's random numbers independent of the eyes'


class StandInCamera(Simulator):
    """Renders stand-ins for photographs of eyes, for use where there are no photographs (`migaki demo`).

    The pictures are renderings, not photographs.
    The population differs from that of `migaki simulate eyes` in the demo: other skins, narrower lids, more and longer
    lashes, darker irises, harder light. The camera is a cheap one: exposure, vignette and an S-shaped tone curve, then
    lens blur, sensor noise, sharpening with its halo, JPEG. The appearance therefore differs, while gaze is drawn from
    the same directions. Keys: `image`, and with `labelled` also `gaze` and `identity`.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Each parameter is drawn for each picture from its range."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "width height channels labelled gaze_prior equalise",
            "run": "threads",
        }

        width: int = 60  # px
        height: int = 36  # px
        channels: Literal[1, 3] = 1  # grey or RGB
        labelled: bool = True  # False: only pictures, as from a camera
        identities: tuple[int, ...] = (12, 13, 14, 15, 16, 17, 18, 19)  # skins of the built-in eye
        threads: int = 0  # 0 = all cores; changes no bit
        gaze_prior: Literal["laptop", "wide"] = "laptop"  # where people look, as in `simulate eyes`
        iris: Range = (0.03, 0.25)  # reflectance: dark in visible light; in the near infrared 1.2 to 2.2
        sclera: Range = (0.3, 0.75)  # reflectance
        skin: Range = (0.65, 1.05)  # reflectance
        upper_lid: tuple[float, float] = (16.0, 4.0)  # deg above the gaze, mean and sd: narrower than the renderer's
        lower_lid: tuple[float, float] = (-21.0, 3.5)  # deg, mean and sd
        exposure: Range = (0.14, 0.32)  # target mean linear value of the automatic exposure
        vignette: Range = (0.3, 0.75)  # fraction of light lost in the corners
        contrast: Range = (0.7, 1.0)  # weight of an S-shaped curve in the tone curve
        tint: Range = (0.85, 1.25)  # gain of red, and its inverse of blue; RGB only
        blur: Range = (0.6, 1.1)  # px, standard deviation
        noise: Range = (0.006, 0.02)  # standard deviation, of [0, 1]
        photons: Range = (600.0, 3000.0)  # of a white pixel
        sharpening: Range = (0.8, 1.6)  # gain of the halo
        quality: tuple[int, int] = (30, 65)  # of JPEG
        equalise: bool = False  # histogram equalisation, as in MPIIGaze's patches

        @classmethod
        def infrared(cls) -> StandInCamera.Config:
            """Settings of a dim near-infrared eye tracker: bright irises and skin, black pupils, little noise."""
            return cls(iris=(1.2, 2.2), sclera=(0.3, 0.5), skin=(1.1, 1.5), upper_lid=(19.0, 5.0),
                       lower_lid=(-20.0, 4.0), exposure=(0.06, 0.14), blur=(0.9, 1.3), noise=(0.002, 0.005),
                       photons=(3000.0, 9000.0), sharpening=(0.2, 0.6), quality=(70, 90))

        def __post_init__(self) -> None:
            check_range("stand-in camera: vignette", self.vignette, 0, 1)
            check_range("stand-in camera: contrast", self.contrast, 0, 1)

    def __init__(self, config: Config | None = None) -> None:
        self.config: StandInCamera.Config = config or self.Config()
        config = self.config
        self._eyes = EyeSimulator(EyeSimulator.Config(
            width=config.width, height=config.height, channels=config.channels, threads=config.threads,
            identities=config.identities, gaze_prior=config.gaze_prior,
            upper_lid_normal=config.upper_lid, lower_lid_normal=config.lower_lid,
            lash_count_range=(100.0, 180.0), lash_length_range=(5.0, 10.0), iris_tint_range=config.iris,
            sclera_tint_range=config.sclera, skin_tint_range=config.skin, key_range=(0.3, 1.4),
            ambient_range=(0.2, 0.7), half_closed_share=0.05,
        ))
        # Sharpening comes after the noise, as in a camera's own processing, and amplifies it.
        self._lens = Blur(Blur.Config(sigma=config.blur, anisotropy=(1.0, 2.0), scale=1))
        self._sensor = Noise(Noise.Config(sigma=config.noise, photons=config.photons, row_sigma=(0.0, 0.01)))
        self._file = Jpeg(Jpeg.Config(quality=config.quality))

    @property
    def has_labels(self) -> bool:
        """Whether labels are written."""
        return self.config.labelled

    def render(self, seed: int, indices: Sequence[int]) -> Batch:
        """Returns pictures of these indices; image i has the same bits for every batch and thread count."""
        eyes = self._eyes.render(seed, indices)
        images = torch.stack([self._photograph(image, generator(seed, _STREAM, int(index)))
                              for image, index in zip(eyes["image"], indices, strict=True)])
        batch = {"image": equalise(images) if self.config.equalise else images}
        return batch | {key: eyes[key] for key in ("gaze", "identity")} if self.config.labelled else batch

    def _photograph(self, image: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
        """Returns the camera's picture of one rendered eye (C, H, W) in gamma 2."""
        config = self.config
        light = image.square() * _falloff(image, uniform(draw, config.vignette))
        light = light * (uniform(draw, config.exposure) / light.mean().clamp_min(1e-6))
        warm = uniform(draw, config.tint)
        if config.channels == 3:
            light = light * torch.tensor([warm, 1.0, 1 / warm]).view(3, 1, 1)
        value = light.clamp(0, 1).sqrt()
        value = torch.lerp(value, value * value * (3 - 2 * value), uniform(draw, config.contrast))
        value, _ = self._lens.damage_one(value, draw)
        value, _ = self._sensor.damage_one(value, draw)
        halo = value - gaussian_blur(value[None], 1.2)[0]
        value, _ = self._file.damage_one((value + uniform(draw, config.sharpening) * halo).clamp(0, 1), draw)
        return value


def _falloff(image: torch.Tensor, loss: float) -> torch.Tensor:
    """Returns the light (H, W) at each position behind a simple lens: 1 in the middle, 1 - `loss` in the corners."""
    height, width = image.shape[-2:]
    y = torch.linspace(-1, 1, height).view(-1, 1)
    x = torch.linspace(-1, 1, width).view(1, -1)
    return 1 - loss * (x * x + y * y) / 2
