"""The complex steerable pyramid: amplitude and phase of a picture by size, direction and place, by FFT.

Sources: Simoncelli and Freeman, "The Steerable Pyramid", ICIP 1995; Portilla and Simoncelli, IJCV 2000, section 2.1
(the complex form). A band's filter has one side in the frequency plane, so its response is analytic: the phase at a
place moves in proportion to the motion there, and the amplitude says how far the phase can be trusted.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from migaki.ops.full_precision import full_precision

SMALLEST = 16
"""px, the shortest side of a picture that a pyramid takes."""


class SteerablePyramid:
    """The filters of a pyramid for pictures of one size.

    Level l holds frequencies from pi / 2^(l + 2) to pi / 2^l, strongest at pi / 2^(l + 1), on a grid that is smaller by
    2^l. A level has `orientations` bands; band k answers to stripes whose normal has the angle k pi / `orientations`,
    from x (right) to y (down). The squares of all filters sum to 1, so `synthesise` undoes `analyse` with residuals.

    Args:
        height, width: Of the pictures, px, at least `SMALLEST` * 2^(octaves - 1).
        octaves: Levels, at least 1.
        orientations: Bands of a level, at least 1.
        skip: Finest levels that are left out.
    """

    def __init__(self, height: int, width: int, *, octaves: int, orientations: int, skip: int = 0) -> None:
        if octaves <= skip or skip < 0 or orientations < 1:
            raise ValueError(f"a pyramid of octaves {octaves}, skip {skip}, orientations {orientations}")
        if min(height, width) < SMALLEST * 2 ** (octaves - 1):
            raise ValueError(f"{octaves} octaves need {SMALLEST * 2 ** (octaves - 1)} px, not {height} x {width}")
        self.height, self.width = height, width
        self.levels = tuple(range(skip, octaves))
        self.sizes = tuple((_side(height, level), _side(width, level)) for level in self.levels)
        self.rows = [_places(height, size[0]) for size in self.sizes]
        self.columns = [_places(width, size[1]) for size in self.sizes]
        radius, angle = _polar(height, width)
        self.filters = []
        for level, rows, columns in zip(self.levels, self.rows, self.columns, strict=True):
            r, a = radius[rows][:, columns], angle[rows][:, columns]
            radial = _low(r, level) * _high(r, level + 1)
            self.filters.append(torch.stack([radial * _one_sided(a, k, orientations) for k in range(orientations)]))
        self._high, self._low = _high(radius, skip), _low(radius, octaves)

    @full_precision
    def analyse(self, images: Tensor) -> list[Tensor]:
        """Returns the bands of each level, finest first; the real part of a band is that of a real pyramid.

        Shape: images (B, H, W) float32; result [(B, orientations, h, w) complex64, ...]
        """
        spectrum = torch.fft.fft2(images)
        bands = []
        for rows, columns, filters in zip(self.rows, self.columns, self.filters, strict=True):
            part = spectrum[:, rows][:, :, columns]
            scale = 2 * part.shape[1] * part.shape[2] / (self.height * self.width)
            bands.append(torch.fft.ifft2(part[:, None] * (scale * filters)))
        return bands

    @full_precision
    def residuals(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what the bands leave out: frequencies above and below them, each filtered once.

        Shape: images (B, H, W); results (B, H, W)
        """
        spectrum = torch.fft.fft2(images)
        return torch.fft.ifft2(spectrum * self._high).real, torch.fft.ifft2(spectrum * self._low).real

    @full_precision
    def synthesise(self, bands: list[Tensor], residuals: tuple[Tensor, Tensor]) -> Tensor:
        """Returns the pictures (B, H, W) whose `analyse` and `residuals` these are; only real parts of bands count."""
        high, low = residuals
        total = torch.fft.fft2(high) * self._high + torch.fft.fft2(low) * self._low
        for rows, columns, filters, band in zip(self.rows, self.columns, self.filters, bands, strict=True):
            both = filters + torch.roll(filters.flip(1, 2), (1, 1), (1, 2))  # the real part has both sides
            scale = self.height * self.width / (band.shape[2] * band.shape[3])
            part = (torch.fft.fft2(band.real) * both).sum(1) * scale
            total[:, rows[:, None], columns] += part
        images: Tensor = torch.fft.ifft2(total).real
        return images


class RowBands:
    """Analytic octave bands along each row by itself, for films whose rows were exposed one after the other.

    Level l is strongest at pi / 2^(l + 1) as in `SteerablePyramid`; no value depends on another row.
    """

    def __init__(self, width: int, *, octaves: int, skip: int = 0) -> None:
        if octaves <= skip or skip < 0:
            raise ValueError(f"bands of octaves {octaves}, skip {skip}")
        if width < SMALLEST * 2 ** (octaves - 1):
            raise ValueError(f"{octaves} octaves need {SMALLEST * 2 ** (octaves - 1)} px, not {width}")
        self.width, self.levels = width, tuple(range(skip, octaves))
        self.sizes = tuple(_side(width, level) for level in self.levels)
        self.columns = [_places(width, size) for size in self.sizes]
        frequency = 2 * math.pi * torch.fft.fftfreq(width)
        self.filters = [torch.where(frequency > 0, _low(frequency.abs(), level) * _high(frequency.abs(), level + 1),
                                    torch.zeros(()))[columns]
                        for level, columns in zip(self.levels, self.columns, strict=True)]

    @full_precision
    def analyse(self, images: Tensor) -> list[Tensor]:
        """Returns the bands, finest first. Shape: images (B, H, W); result [(B, H, w) complex64, ...]"""
        spectrum = torch.fft.fft(images)
        return [torch.fft.ifft(spectrum[..., columns] * filters) * (2 * len(columns) / self.width)
                for columns, filters in zip(self.columns, self.filters, strict=True)]


def _side(length: int, level: int) -> int:
    """The even number of samples that holds the frequencies of a level; at level 0 the length itself."""
    return length if level == 0 else 2 * math.ceil(length / 2 ** (level + 1))


def _places(length: int, size: int) -> Tensor:
    """Where the `size` lowest of `length` frequencies stand, in the order of an FFT of that size."""
    numbers = torch.fft.fftfreq(size, 1 / size).round().long() if size < length else torch.arange(length)
    return numbers % length


def _polar(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Radius in rad/px and angle of each frequency, (H, W); the angle goes from x (right) to y (down)."""
    y = 2 * math.pi * torch.fft.fftfreq(height)[:, None].expand(height, width)
    x = 2 * math.pi * torch.fft.fftfreq(width)[None].expand(height, width)
    return torch.hypot(x, y), torch.atan2(y, x)


def _low(radius: Tensor, level: int) -> Tensor:
    """1 below pi / 2^(level + 1), 0 above pi / 2^level, a cosine of the logarithm between."""
    octave = torch.log2(radius.clamp_min(1e-12) / math.pi)
    return torch.cos(0.5 * math.pi * (octave + level + 1).clamp(0, 1)) * (octave < -level)


def _high(radius: Tensor, level: int) -> Tensor:
    return torch.sqrt((1 - _low(radius, level) ** 2).clamp_min(0))


def _one_sided(angle: Tensor, band: int, count: int) -> Tensor:
    """cos^(count - 1) of the angle from the band's direction, on that side alone (IJCV 2000, eq. 2)."""
    away = torch.remainder(angle - math.pi * band / count + math.pi, 2 * math.pi) - math.pi
    norm = 2.0 ** (count - 1) * math.factorial(count - 1) / math.sqrt(count * math.factorial(2 * (count - 1)))
    # On the edge itself each side takes half, as cos is 0 there but for a single band.
    side = (away.abs() < math.pi / 2 - 1e-6).float() + 0.5 * ((away.abs() - math.pi / 2).abs() <= 1e-6)
    return norm * torch.cos(away).clamp_min(0) ** (count - 1) * side
