"""Rain: thin, bright, half-transparent streaks that fall in nearly one direction.

The rain layer is a sum of soft line segments drawn one by one, in several layers of depth: far drops are many, thin,
short and faint; near ones are few, broad, long and bright. A drop that oscillates while it falls leaves a beaded streak
(Garg and Nayar, "Photorealistic rendering of rain streaks", SIGGRAPH 2006). We chose all ranges by visual comparison
with a few pairs of Rain100L (Yang et al., CVPR 2017).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch

from migaki.core.batch import Batch
from migaki.core.damage import Damage, Range, check_range, log_uniform, scalars, uniform

# The layer is summed in integer multiples of this: the order of the sum then does not matter, also on a GPU.
_UNIT = 2.0**-20
_PIXEL = 0.3  # px, standard deviation of a pixel's footprint, which antialiases the streaks
_CHUNK = 2**21  # samples drawn at a time, which limits the memory for a large image


class _Weather(NamedTuple):
    """The common parameters of the rain in one image."""

    angle: float  # rad from vertical, positive: falls to the right
    jitter: float  # rad
    length: float  # px
    width: float  # px, full width at half maximum
    density: float  # streaks per 100 x 100 px
    opacity: float  # brightness of a median streak
    beading: float
    motion_blur: float  # px
    veil: float
    airlight: float


class _Streaks(NamedTuple):
    """One layer of N streaks; each (N,)."""

    x: torch.Tensor  # px, centre
    y: torch.Tensor
    angle: torch.Tensor
    length: torch.Tensor
    sigma: torch.Tensor
    peak: torch.Tensor
    taper: torch.Tensor  # px over which an end fades out
    beading: torch.Tensor  # 0 smooth, 1 dark between the beads
    period: torch.Tensor  # px between beads
    phase: torch.Tensor


class Rain(Damage):
    """Rain streaks over an image.

    Parameters returned: `rain` (1, H, W), the light that the streaks add; and scalars `angle` (rad from vertical,
    positive falls to the right), `length`, `width` (px), `density` (per 100 x 100 px), `opacity`, `veil`.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The parameters are drawn for each image from these ranges; px refer to a photo of about 480 x 320."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "angle_deg length width density opacity blend"}

        angle_deg: Range = (-30.0, 30.0)  # dominant direction from vertical
        angle_jitter_deg: Range = (0.0, 2.0)  # standard deviation of the streaks' directions around it
        length: Range = (10.0, 50.0)  # px, median, log-uniform
        width: Range = (0.8, 2.4)  # px, median full width at half maximum
        density: Range = (12.0, 80.0)  # streaks per 100 x 100 px, log-uniform
        opacity: Range = (0.05, 0.25)  # brightness that a median streak adds at its centre, log-uniform
        opacity_spread: float = 0.8  # standard deviation of the logarithm of brightness: few streaks are bright
        beading: Range = (0.0, 0.8)  # modulation depth of the streaks of oscillating drops
        motion_blur: Range = (0.0, 8.0)  # px, motion blur of the exposure along the direction
        num_layers: int = 3  # layers of depth
        depth_ratio: float = 1.5  # ratio of drop sizes between neighbouring layers
        veil: Range = (0.0, 0.0)  # fraction of light lost in the haze of far rain
        airlight: Range = (0.7, 0.9)  # brightness of that haze
        blend: Literal["add", "screen"] = "add"  # x + r clipped, or x + r (1 - x)

        def __post_init__(self) -> None:
            check_range("rain: angle_deg", self.angle_deg, -75, 75)
            check_range("rain: angle_jitter_deg", self.angle_jitter_deg, 0, 10)
            check_range("rain: length", self.length, 1, 1000)
            check_range("rain: width", self.width, 0.3, 100)
            check_range("rain: density", self.density, 0.01, 1000)
            check_range("rain: opacity", self.opacity, 0.001, 1)
            check_range("rain: motion_blur", self.motion_blur, 0, 1000)
            for name in ("beading", "veil", "airlight"):
                check_range(f"rain: {name}", getattr(self, name), 0, 1)
            check_range("rain: num_layers", (self.num_layers, self.num_layers), 1, 20)
            check_range("rain: depth_ratio", (self.depth_ratio, self.depth_ratio), 1, 10)
            check_range("rain: opacity_spread", (self.opacity_spread, self.opacity_spread), 0, 2)

    config: Config

    def damage_one(self, image: torch.Tensor, draw: torch.Generator) -> tuple[torch.Tensor, Batch]:
        """Veil the image, then add the rain."""
        weather = self._weather(draw)
        _, height, width = image.shape
        rain = torch.zeros(height * width, dtype=torch.int32, device=image.device)
        for layer in range(self.config.num_layers):
            # 1 for the middle layer, below 1 for far ones, above for near ones.
            scale = self.config.depth_ratio ** (layer - (self.config.num_layers - 1) / 2)
            streaks = self._streaks(weather, scale, height, width, draw)
            _draw_streaks(rain, _Streaks(*(value.to(image.device) for value in streaks)), height, width)
        light = (rain.to(torch.float32) * _UNIT).view(1, height, width)
        veiled = image + weather.veil * (weather.airlight - image)
        added = light if self.config.blend == "add" else light.clamp(max=1) * (1 - veiled)
        kept = scalars(image.device, angle=weather.angle, length=weather.length, width=weather.width,
                       density=weather.density, opacity=weather.opacity, veil=weather.veil)
        return (veiled + added).clamp(0, 1), {"rain": light, **kept}

    def _weather(self, draw: torch.Generator) -> _Weather:
        config = self.config
        return _Weather(
            angle=math.radians(uniform(draw, config.angle_deg)),
            jitter=math.radians(uniform(draw, config.angle_jitter_deg)),
            length=log_uniform(draw, config.length),
            width=uniform(draw, config.width),
            density=log_uniform(draw, config.density),
            opacity=log_uniform(draw, config.opacity),
            beading=uniform(draw, config.beading),
            motion_blur=uniform(draw, config.motion_blur),
            veil=uniform(draw, config.veil),
            airlight=uniform(draw, config.airlight),
        )

    def _streaks(self, weather: _Weather, scale: float, height: int, width: int,
                 draw: torch.Generator) -> _Streaks:
        """Returns one layer of depth, with drops of `scale` times the middle layer's size; smaller drops are more."""
        # Twice the median length limits the streaks, so streaks that begin outside the image reach in from this far.
        margin = 2 * weather.length * scale + weather.motion_blur
        room_y = height + margin * math.cos(weather.angle)
        room_x = width + margin * abs(math.sin(weather.angle)) + 4 * weather.width * scale
        share = scale**-2 / sum(self.config.depth_ratio ** (-2 * (k - (self.config.num_layers - 1) / 2))
                                for k in range(self.config.num_layers))
        num = max(1, round(weather.density * share * room_y * room_x / 1e4))

        def flat() -> torch.Tensor:
            return torch.rand(num, generator=draw)

        def spread(deviation: float, low: float, high: float) -> torch.Tensor:
            return torch.exp(deviation * torch.randn(num, generator=draw)).clamp(low, high)

        length = weather.length * scale * spread(0.4, 0.3, 2)
        beads = weather.beading * flat()
        period = (0.2 + 0.4 * flat()) * weather.length * scale
        # Motion blur is a moving average: it attenuates a wave of that period by the sinc of their ratio.
        beads = beads * torch.sinc(weather.motion_blur / period).abs()
        width_px = weather.width * math.sqrt(scale) * spread(0.25, 0.5, 2)
        peak = weather.opacity * math.sqrt(scale) * spread(self.config.opacity_spread, 0.05, 20)
        return _Streaks(
            x=width / 2 + room_x * (flat() - 0.5),
            y=height / 2 + room_y * (flat() - 0.5),
            angle=weather.angle + weather.jitter * torch.randn(num, generator=draw).clamp(-3, 3),
            length=length + weather.motion_blur,
            sigma=torch.hypot(width_px / math.sqrt(8 * math.log(2)), torch.tensor(_PIXEL)),
            peak=(peak * length / (length + weather.motion_blur)).clamp(max=0.9),
            taper=length * (0.2 + 0.3 * flat()) + weather.motion_blur / 2,
            beading=beads, period=period, phase=2 * math.pi * flat(),
        )


def _draw_streaks(rain: torch.Tensor, streaks: _Streaks, height: int, width: int) -> None:
    """Add the streaks to `rain` (H * W,), an int32 tensor in units of `_UNIT`."""
    reach_y = math.ceil(float((streaks.length / 2 * streaks.angle.cos() + 3 * streaks.sigma).max()))
    reach_x = math.ceil(float((3 * streaks.sigma / streaks.angle.cos()).max()))
    samples = (2 * reach_y + 1) * (2 * reach_x + 2)
    step = max(1, _CHUNK // samples)
    for first in range(0, len(streaks.x), step):
        part = _Streaks(*(value[first:first + step, None, None] for value in streaks))
        _draw_chunk(rain, part, reach_y, reach_x, height, width)


def _draw_chunk(rain: torch.Tensor, streaks: _Streaks, reach_y: int, reach_x: int, height: int,
                width: int) -> None:
    """Sample each streak on the rows that it crosses, in a few columns around its line: (N, rows, columns)."""
    device = rain.device
    rows = torch.arange(-reach_y, reach_y + 1, device=device).view(1, -1, 1) + streaks.y.round().long()
    down = rows - streaks.y  # px
    line = streaks.x + down * streaks.angle.tan()
    columns = torch.arange(-reach_x, reach_x + 2, device=device) + line.floor().long()
    right = columns - streaks.x
    along = down * streaks.angle.cos() + right * streaks.angle.sin()
    across = right * streaks.angle.cos() - down * streaks.angle.sin()
    end = ((streaks.length / 2 - along.abs()) / streaks.taper).clamp(0, 1)
    profile = end * end * (3 - 2 * end)  # smooth at both ends of the fade
    beads = 1 - streaks.beading * (0.5 + 0.5 * torch.cos(2 * math.pi * along / streaks.period + streaks.phase))
    value = streaks.peak * profile * beads * torch.exp(-0.5 * (across / streaks.sigma) ** 2)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    index = (rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1))
    amount = (value * inside / _UNIT).round().to(torch.int32)
    rain.scatter_add_(0, index.flatten(), amount.flatten())


def paper_kinds() -> tuple[Rain.Config, ...]:
    """Returns 14 kinds of rain, orientation x magnitude, as in Fu et al. (CVPR 2017), who made theirs in Photoshop.

    Seven directions from -45 to 45 degrees, each light and heavy; we chose the values.
    """
    kinds = []
    for angle in (-45.0, -30.0, -15.0, 0.0, 15.0, 30.0, 45.0):
        direction = (angle, angle)
        kinds.append(Rain.Config(angle_deg=direction, blend="screen", density=(12.0, 20.0), opacity=(0.10, 0.16),
                                 length=(12.0, 24.0)))
        kinds.append(Rain.Config(angle_deg=direction, blend="screen", density=(45.0, 80.0), opacity=(0.16, 0.28),
                                 length=(24.0, 45.0), veil=(0.05, 0.15)))
    return tuple(kinds)
