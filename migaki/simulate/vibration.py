"""Films of a texture that a known sound shakes by a fraction of a pixel, with the sound itself as WAV."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from migaki.core.batch import Batch, Key
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.seeds import fold
from migaki.core.simulator import Simulator
from migaki.core.sound import read_wav, wav_bytes

Array = np.ndarray[Any, Any]

MELODY = (261.63, 329.63, 392.0, 523.25, 440.0, 349.23, 493.88, 293.66)
"""The notes of the built-in melody, Hz; each lasts `Config.note` seconds, then they begin anew."""

GLIDES = ((180.0, 320.0), (430.0, 350.0), (600.0, 820.0))
"""First and last frequency of the built-in gliding tones, Hz; they go to and fro once a second."""

_BAND = 0.75  # of Nyquist's frequency: the texture holds nothing above, so that it can be moved exactly


class Vibration(Simulator):
    """Films a texture that moves with a sound: image i is frame i of one film, 8 bits, with the sensor's noise.

    The texture is periodic and band-limited, so it is moved exactly, by Fourier's theorem. With a rolling shutter each
    row is exposed at its own time. Columns: `clip`, `frame`, and `shift` (x y in px), where the texture is when the
    middle row is exposed. OUT/truth.wav is the sound, one sample a frame, or a row of a rolling shutter with its gap.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The sound, the camera and the texture."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "sound tones wav amplitude fps shutter gap height width noise"}

        sound: Literal["melody", "glide", "tones"] = "melody"  # what is played, if no --wav is given
        tones: tuple[float, ...] = (440.0,)  # Hz, all at once; with --sound tones
        note: float = 0.08  # s, length of a note of the melody
        wav: Path | None = None  # a sound of your own, played from its start and then anew
        amplitude: float = 0.1  # px, largest displacement
        direction: float = 0.0  # degrees, of the motion: 0 along the rows, 90 down
        fps: float = 2200.0  # frames a second
        shutter: Literal["global", "rolling"] = "global"  # rolling: each row is exposed a little after the one above
        gap: float = 0.0  # rolling: share of a frame's time without a row, 0 to 0.9
        height: int = 192  # px
        width: int = 192  # px
        contrast: float = 0.15  # standard deviation of the texture, shares of white
        slope: float = 1.0  # the texture's amplitude falls with the frequency to this power
        noise: tuple[float, float] = (0.0, 1e-4)  # a and b of the noise's variance a x + b, x in [0, 1]
        flicker: float = 0.0  # of the light, at 100 Hz: share of its mean

        def __post_init__(self) -> None:
            if not 16 <= min(self.height, self.width) <= max(self.height, self.width) <= 4096:
                raise UserError("vibration: height and width lie between 16 and 4096 px")
            if not (math.isfinite(self.fps) and self.fps > 0 and 0 <= self.amplitude <= 8 and self.note > 0):
                raise UserError("vibration: fps and note are above 0, amplitude lies between 0 and 8 px")
            if not 0 <= self.gap <= 0.9 or not 0 <= self.flicker < 1 or not 0 < self.contrast <= 0.3:
                raise UserError("vibration: gap lies between 0 and 0.9, flicker between 0 and 1, contrast between 0 "
                                "and 0.3")
            if min(self.noise) < 0 or not self.tones or min(self.tones) <= 0:
                raise UserError("vibration: noise must not be negative, and tones are frequencies above 0 Hz")

    config: Config
    keys = (Key(name="shift", shape=("2",), unit="px, x y: how far the texture has moved"),)

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or self.Config()
        self._wav: tuple[Array, int] | None = None
        if self.config.wav is not None:
            samples, rate = read_wav(self.config.wav)
            if not np.any(samples):
                raise UserError(f"{show(self.config.wav)}: is silent: give a sound")
            self._wav = samples / np.abs(samples).max(), rate
        config = self.config
        self.rows = max(config.height, round(config.height / (1 - config.gap))) if config.shutter == "rolling" else 1
        """Samples of the sound in the time of a frame."""

    @property
    def names(self) -> dict[str, Any]:
        """How the film was exposed, which `apply microphone` reads."""
        config = self.config
        rolling = {"gap": 1 - config.height / self.rows} if config.shutter == "rolling" else {}
        return {"frame_rate": config.fps, "shutter": config.shutter, **rolling}

    def sound(self, times: Array) -> Array:
        """Returns the sound at any times in seconds, in [-1, 1], of the same shape."""
        config = self.config
        if self._wav is not None:
            samples, rate = self._wav
            return np.asarray(np.interp(np.mod(times * rate, len(samples)), np.arange(len(samples) + 1),
                                        np.append(samples, samples[0])))
        if config.sound == "melody":
            return _melody(times, config.note)
        if config.sound == "tones":
            parts = [np.sin(2 * math.pi * hz * times + number) for number, hz in enumerate(config.tones)]
        else:
            parts = [_glide(times, low, high) for low, high in GLIDES]
        mean: Array = np.sum(parts, axis=0) / len(parts)
        return mean

    def beside(self, seed: int, count: int) -> dict[str, bytes]:
        """The sound during `count` frames."""
        rate = self.config.fps * self.rows
        return {"truth.wav": wav_bytes(self.sound(np.arange(count * self.rows) / rate), round(rate))}

    def render(self, seed: int, indices: Sequence[int]) -> Batch:
        """Returns `image` (B, 1, H, W), `shift` (B, 2), `clip` and `frame` (B,); frame i depends on (seed, i)."""
        config = self.config
        texture = _texture(np.random.default_rng(fold(seed, 0)), config)
        numbers = np.asarray(indices, np.int64)
        images = np.stack([self._frame(texture, fold(seed, 1, int(number)), int(number)) for number in numbers])
        angle = math.radians(config.direction)
        middle = self.sound((numbers * self.rows + self.rows // 2 * (self.rows > 1)) / (config.fps * self.rows))
        shifts = config.amplitude * middle[:, None] * np.array([math.cos(angle), math.sin(angle)])
        return {"image": torch.from_numpy(images)[:, None], "shift": torch.from_numpy(shifts.astype(np.float32)),
                "clip": torch.zeros(len(numbers), dtype=torch.int64), "frame": torch.from_numpy(numbers)}

    def _frame(self, texture: Array, seed: int, number: int) -> Array:
        """One frame (H, W) float32, whole steps of 1/255; `texture` is a spectrum (H, W)."""
        config = self.config
        times = (number * self.rows + np.arange(config.height if self.rows > 1 else 1)) / (config.fps * self.rows)
        motion, angle = config.amplitude * self.sound(times), math.radians(config.direction)
        clean = 0.5 + _moved(texture, motion * math.cos(angle), motion * math.sin(angle))
        clean = clean * (1 + config.flicker * np.sin(2 * math.pi * 100 * times))[:, None]
        noise = np.random.default_rng(seed).standard_normal(clean.shape, np.float32)
        seen = clean + noise * np.sqrt(np.maximum(config.noise[0] * clean + config.noise[1], 0))
        return np.asarray(np.rint(seen.clip(0, 1) * 255) / 255, np.float32)


def _melody(times: Array, note: float) -> Array:
    """Notes one after the other, each with a soft begin and end, so that the spectrum has no clicks."""
    place = np.floor(times / note).astype(np.int64)
    within = times - place * note
    pitch = np.array(MELODY)[place % len(MELODY)]
    edge = np.minimum(within, note - within) / (0.15 * note)
    envelope: Array = np.sin(0.5 * math.pi * np.clip(edge, 0, 1)) ** 2
    return np.asarray(envelope * np.sin(2 * math.pi * pitch * within))


def _glide(times: Array, low: float, high: float) -> Array:
    """A tone whose frequency goes from `low` to `high` and back in a second, by the sine of time."""
    middle, reach = 0.5 * (low + high), 0.5 * (high - low)
    phase: Array = 2 * math.pi * middle * times - reach * np.sin(2 * math.pi * times)
    return np.sin(phase)


def _texture(draw: np.random.Generator, config: Vibration.Config) -> Array:
    """The spectrum (H, W) of a real texture of mean 0: 1 / f^slope up to a share of Nyquist's frequency."""
    y, x = np.fft.fftfreq(config.height)[:, None], np.fft.fftfreq(config.width)[None]
    radius = np.hypot(x, y)
    # Below a twelfth of the picture the slope ends, else the largest waves would leave no room for the others.
    gain = np.where((radius > 0) & (radius < 0.5 * _BAND), np.maximum(radius, 6 / config.height) ** -config.slope, 0.0)
    spectrum = np.fft.fft2(draw.standard_normal((config.height, config.width))) * gain
    spread = np.fft.ifft2(spectrum).real.std()
    return np.asarray(spectrum * (config.contrast / spread))


def _moved(spectrum: Array, across: Array, down: Array) -> Array:
    """The texture (H, W) moved by `across` and `down` px, one value for all rows or one for each."""
    height, width = spectrum.shape
    omega_y = 2 * math.pi * np.fft.fftfreq(height)
    omega_x = 2 * math.pi * np.fft.fftfreq(width)
    if len(across) == 1:
        phase = np.exp(-1j * (omega_y[:, None] * down[0] + omega_x[None] * across[0]))
        return np.asarray(np.fft.ifft2(spectrum * phase).real)
    # Row y of the result is that of a texture moved by the row's own shift.
    places = np.arange(height)[:, None] - down[:, None]
    rows = np.exp(1j * places * omega_y[None]) @ spectrum / height if np.any(down) else np.fft.ifft(spectrum, axis=0)
    return np.asarray(np.fft.ifft(rows * np.exp(-1j * omega_x[None] * across[:, None]), axis=1).real)
