"""A visual microphone: the sound that makes the things in a film tremble, as WAV; patented, see docs/microphone.md."""

from __future__ import annotations

import io
import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from migaki.changes.parts.motion_series import Grid, MotionSeries, measure
from migaki.changes.parts.sound_weights import Spectra, Weights, by_energy, by_snr, rolling_sum, spectra, summed
from migaki.core.change import Change
from migaki.core.errors import UserError
from migaki.core.files import explain, show
from migaki.core.reduction import Frames, Reduced, Reduction
from migaki.core.sound import normalised, wav_bytes
from migaki.ops.sound import fill_gaps, high_pass, highest_peaks, subtract_noise
from migaki.ops.steerable import SMALLEST

Array = np.ndarray[Any, Any]
Region = tuple[int, int, int, int]

SOUND, BRIGHTNESS, ARRAYS = "sound.wav", "brightness.wav", "arrays.npz"
"""The files of the result: the sound, the mean brightness as sound (what costs nothing), and what the page shows."""

_FEWEST, _FEWEST_ROLLING = 32, 4  # frames
_AUDIBLE = 8000  # samples a second, below which players refuse a file
_LONGEST_SIDE = 640  # px of what is filtered, unless --skip says otherwise
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class Microphone(Reduction, Change):
    """Turns a film, or a set of its frames, into the sound that shook what it shows (Davis et al., SIGGRAPH 2014).

    Local motion is the change of phase in a complex steerable pyramid. Tiles and bands are weighted by how far their
    spectrum stands out of the noise, signed by their correlation, and summed. OUT gets sound.wav, brightness.wav (what
    the mean brightness alone would give) and a page with the spectrogram and a map of where the sound was seen. The
    method is patented (US 2015/0319540): see docs/microphone.md.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """How the film was made, and what is done with the motion."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "fps shutter gap region high_pass denoise",
            "rest": "weights lag octaves orientations skip tile",
        }

        fps: float = 0.0  # frames a second at which it was filmed; 0 = what the film or the set says
        shutter: Literal["auto", "global", "rolling"] = "auto"  # rolling: each row is a sample; auto: what a set says
        gap: float = -1.0  # rolling: share of a frame's time without a row, 0 to 0.9; -1 = what a set says, or 0
        region: Region | None = None  # x y width height in px: look there alone
        high_pass: float = -1.0  # Hz, below which nothing is kept; -1 = a twentieth of half the rate, 20 to 100
        denoise: bool = False  # subtract the median magnitude of each frequency, for speech
        weights: Literal["snr", "energy"] = "snr"  # of tiles and bands; energy: A^2 alone, as published
        lag: int = 3  # samples by which a series may be shifted at most; more only adds chance
        octaves: int = 3  # levels of the pyramid
        orientations: int = 4  # bands of a level
        skip: int = -1  # finest octaves left out; -1 = those above 640 px of the longer side
        tile: int = 0  # px, side of the tiles; 0 = an eighth of the shorter side, at least 16

        def __post_init__(self) -> None:
            if not (math.isfinite(self.fps) and self.fps >= 0):
                raise UserError(f"apply microphone: --fps {self.fps:g}: give the frames a second at which it was "
                                "filmed, above 0, or leave it out")
            if self.gap != -1 and not 0 <= self.gap <= 0.9:
                raise UserError(f"apply microphone: --gap {self.gap:g}: give a share from 0 to 0.9")
            if self.high_pass != -1 and not (math.isfinite(self.high_pass) and self.high_pass >= 0):
                raise UserError(f"apply microphone: --high-pass {self.high_pass:g}: give Hz, 0 for none")
            if not 0 <= self.lag <= 64 or not 1 <= self.octaves <= 8 or not 1 <= self.orientations <= 16:
                raise UserError("apply microphone: --lag lies between 0 and 64, --octaves between 1 and 8, "
                                "--orientations between 1 and 16")
            if not -1 <= self.skip <= 8 or self.tile < 0 or 0 < self.tile < 8:
                raise UserError("apply microphone: --skip lies between -1 and 8, --tile is 0 or at least 8 px")

    config: Config
    record_name = "microphone"
    first_file = SOUND
    page = "migaki.report.microphone_page:write_page"

    def reduce(self, frames: Frames, scratch: Path, progress: Callable[[int, int], None]) -> Reduced:
        """Returns the sound, what costs nothing, and the arrays that the page shows."""
        film = _Film(frames, self.config)
        try:
            with tempfile.TemporaryFile(dir=scratch) as file:
                series = measure(film.read(), film.grid, file, octaves=film.octaves, skip=film.skip, path=frames.path,
                                 orientations=self.config.orientations,
                                 progress=lambda done: progress(done, max(done, frames.count)))
                film.require(series)
                return _heard(film, series, self.config)
        except OSError as error:
            raise explain(error, scratch) from error


class _Film:
    """A film with the options that fit it. Raises UserError for a film or options that do not fit."""

    def __init__(self, frames: Frames, config: Microphone.Config) -> None:
        self.frames, self.where = frames, show(frames.path)
        self.fps = config.fps or frames.rate
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise UserError(f"{self.where}: does not say how many frames a second it has: give --fps")
        said = str(frames.said.get("shutter", "global"))
        is_rolling = (said if config.shutter == "auto" else config.shutter) == "rolling"
        first = next(frames.read(), None)
        if first is None:
            raise UserError(f"{self.where}: holds no pictures: give a film")
        self.full = first.shape[1:]
        self.region = config.region or (0, 0, self.full[1], self.full[0])
        left, top, width, height = self.region
        if min(left, top) < 0 or min(width, height) < 1 or left + width > self.full[1] or top + height > self.full[0]:
            raise UserError(f"{self.where}: --region {' '.join(map(str, self.region))} lies outside of its "
                            f"{self.full[1]} x {self.full[0]} px: give x y width height within them")
        self.skip, self.octaves = _levels(width, height, is_rolling, config, self.where)
        rows = self.full[0]
        if is_rolling:
            gap = float(frames.said.get("gap", 0.0)) if config.gap == -1 else config.gap
            rows = max(rows, round(rows / (1 - min(max(gap, 0.0), 0.9))))
        self.grid = Grid(height=height, width=width, tile=config.tile or max(16, min(width, height) // 8),
                         is_rolling=is_rolling, frame_samples=rows if is_rolling else 1)
        self.rate = self.fps * self.grid.frame_samples
        usual = min(100.0, max(20.0, 0.025 * self.rate))
        self.low = min(usual if config.high_pass == -1 else config.high_pass, 0.4 * self.rate)

    def read(self) -> Iterator[Array]:
        """Yields the region of each frame in grey, (h, w) float32."""
        left, top, width, height = self.region
        for frame in self.frames.read():
            part = frame[:, top : top + height, left : left + width]
            if frame.shape[1:] != self.full:
                raise UserError(f"{self.where}: its pictures have several sizes: give frames of one film")
            yield np.tensordot(_LUMA, part[:3], 1) if len(part) >= 3 else part[0]

    def require(self, series: MotionSeries) -> None:
        """UserError for a film that is too short or in which nothing moves."""
        fewest = _FEWEST_ROLLING if self.grid.is_rolling else _FEWEST
        if series.frames < fewest:
            raise UserError(f"{self.where}: has {series.frames} frames, too few for a sound: give at least {fewest}")
        if not any(np.any(np.abs(values) > 0) for _, values in series.blocks(4096)):
            raise UserError(f"{self.where}: nothing moves in it, all frames are alike: give a film of something that "
                            "sound shakes")


def _levels(width: int, height: int, is_rolling: bool, config: Microphone.Config, where: str) -> tuple[int, int]:
    """Returns the octaves left out and the number of all, as many as the picture has room for."""
    skip = max(0, math.ceil(math.log2(max(width, height) / _LONGEST_SIDE))) if config.skip == -1 else config.skip
    room = width if is_rolling else min(width, height)
    if room < SMALLEST * 2**skip:
        raise UserError(f"{where}: {width} x {height} px are too few: give a film or a --region of at least "
                        f"{SMALLEST * 2 ** skip} px a side")
    return skip, min(skip + config.octaves, int(math.log2(room / SMALLEST)) + 1)


def _heard(film: _Film, series: MotionSeries, config: Microphone.Config) -> Reduced:
    found = spectra(series, film.low, film.rate)
    if film.grid.is_rolling:
        chosen = None
        gap = film.grid.frame_samples - film.grid.height
        raw = fill_gaps(rolling_sum(series, found), gap)
    else:
        chosen = (by_snr if config.weights == "snr" else by_energy)(series, found, config.lag)
        raw = summed(series, chosen)
    sound = high_pass(raw, film.rate, film.low)
    sound = subtract_noise(sound, film.rate) if config.denoise else sound
    plain = high_pass(np.array(series.brightness), film.fps, min(film.low, 0.4 * film.fps))
    peaks = highest_peaks(sound, film.rate, 6, film.low)
    snr = found.snr.reshape(len(series.frequencies), -1).max(0).reshape(film.grid.tiles)
    record = {
        "frames": series.frames, "fps": film.fps, "sample_rate": film.rate, "region": list(film.region),
        "shutter": "rolling" if film.grid.is_rolling else "global", "rows": film.grid.height,
        "high_pass_hz": film.low, "octaves": [film.skip, film.octaves], "tile": film.grid.tile,
        "peaks": [{"hz": round(peak.hz, 3), "db_over_median": round(peak.decibels, 2)} for peak in peaks],
        "best_snr_db": _decibels(float(found.snr.max(initial=0.0))),
        "standing_out": int((found.snr > 0).sum()), "series": series.num_series,
    }
    return Reduced(record=record, files={
        SOUND: _wav(sound, film.rate), BRIGHTNESS: _wav(plain, film.fps),
        ARRAYS: _arrays(film, sound, snr, chosen, series, found)})


def _arrays(film: _Film, sound: Array, snr: Array, chosen: Weights | None, series: MotionSeries,
            found: Spectra) -> bytes:
    """What the page shows: the sound at the film's own rate, the map, the first frame."""
    tiles = film.grid.tiles[0] * film.grid.tiles[1]
    weights = np.zeros(tiles)
    for place, weight in zip(chosen.series % tiles, chosen.weights, strict=True) if chosen is not None else ():
        weights[place] += abs(weight)
    buffer = io.BytesIO()
    np.savez(buffer, sound=sound.astype(np.float32), snr=snr.astype(np.float32),
             weights=weights.reshape(film.grid.tiles).astype(np.float32),
             frame=np.rint(next(film.read()) * 255).clip(0, 255).astype(np.uint8),
             brightness=np.array(series.brightness, np.float32))
    return buffer.getvalue()


def _wav(samples: Array, rate: float) -> bytes:
    """The sound at a whole multiple of its rate that players take; its own samples stay."""
    from scipy.signal import resample_poly  # slow to import: only where a sound is written

    times = max(1, math.ceil(_AUDIBLE / rate))
    fine = resample_poly(samples, times, 1) if times > 1 else samples
    return wav_bytes(normalised(fine), round(times * rate))


def _decibels(ratio: float) -> float | None:
    return round(10 * math.log10(ratio), 2) if ratio > 0 else None
