"""Judges a recovered sound beside the true one: correlation, distortion, pitch, and the highest peaks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from migaki import __version__
from migaki.core.errors import UserError
from migaki.core.files import read_json, show
from migaki.core.judge import Findings, Judge, Progress, Section
from migaki.core.sound import read_wav
from migaki.ops.sound import Peak, aligned, high_pass, highest_peaks, pitch_cents, si_sdr
from migaki.report.sound_figures import spectrogram, spectrum

Array = np.ndarray[Any, Any]

_PEAKS = 3
_WEAKEST = 20.0  # dB below the highest: weaker peaks of the truth are not asked for

_ABOUT = """\
Correlation: of the two sounds at their best lag (at most --lag seconds), whatever the sign and the loudness. SI-SDR: \
the true sound's power in the recovered one over that of everything else, dB. Pitch error: the median distance of the \
strongest tone, in cents (100 are a semitone), over windows of 50 ms in which the truth is loud. Peak error: how far \
the nearest of the recovered sound's three highest peaks is from each peak of the truth (the three highest, down to \
20 dB below the first), the largest, in per cent. What costs nothing: the film's mean brightness over time."""


class Sound(Judge):
    """Compares a sound with the true one: `apply microphone` on a film of `simulate vibration`, or any two WAV files.

    Both are resampled to the lower of their rates and high-passed alike.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The two sounds."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "high_pass lag"}

        data: Path  # the folder of `apply microphone`, or a WAV file
        truth: Path  # the set of `simulate vibration`, or a WAV file
        high_pass: float = -1.0  # Hz, below which nothing counts; -1 = what the folder says, or 20
        lag: float = 0.01  # s, by which the two may be shifted at most

        def __post_init__(self) -> None:
            if not 0 <= self.lag <= 10:
                raise UserError(f"evaluate sound: --lag {self.lag:g}: give seconds from 0 to 10")

    config: Config

    def sources(self) -> tuple[Path, ...]:
        """The folders of both sounds; a file's folder may hold the page."""
        return tuple(path for path in (self.config.data, self.config.truth) if path.is_dir())

    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns the figures of the sound, beside those of the mean brightness where the folder has it."""
        config = self.config
        found, truth = _read(config.data, "sound.wav"), _read(config.truth, "truth.wav")
        progress(1, 3)
        low = config.high_pass
        if low < 0:
            record = config.data / "microphone.json"
            low = float(read_json(record)["high_pass_hz"]) if record.exists() else 20.0
        figures, parts = _compared(found, truth, low, config.lag)
        if figures["correlation"] is None:
            raise UserError(f"{show(config.truth)}: is silent above {low:g} Hz: give the true sound, or --high-pass")
        progress(2, 3)
        plain = config.data / "brightness.wav"
        free = _compared(read_wav(plain), truth, low, config.lag)[0] if plain.exists() else {}
        progress(3, 3)
        rate = parts[2]
        shown = [("recovered", parts[0], rate), ("truth", parts[1], rate)]
        peaks = [Peak(*one) for one in figures["peaks"]]
        rows = [[f"{number + 1}", *(round(figures[key][number][0], 2) if number < len(figures[key]) else None
                                    for key in ("peaks", "true_peaks"))] for number in range(_PEAKS)]
        record_of = {"data": str(config.data), "truth": str(config.truth), "high_pass_hz": low, "lag": config.lag,
                     "version": __version__}
        return Findings(title="Sound", record=record_of, figures=figures, baseline=free,
                        baseline_name="mean brightness" if free else "", notes=(_ABOUT,), sections=(
                            Section(heading="Spectrograms", picture=spectrogram(shown, low), is_chart=True),
                            Section(heading="Spectra", picture=spectrum(shown, peaks, low), is_chart=True),
                            Section(heading="Highest peaks", columns=["", "recovered, Hz", "truth, Hz"], rows=rows)))


def _read(path: Path, name: str) -> tuple[Array, int]:
    """The WAV file at a path, or the one of that name in a folder."""
    if path.is_dir() and not (path / name).exists():
        raise UserError(f"{show(path)}: holds no {name}: give a folder that has it, or a WAV file")
    return read_wav(path / name if path.is_dir() else path)


def _compared(found: tuple[Array, int], truth: tuple[Array, int], low: float,
              lag: float) -> tuple[dict[str, Any], tuple[Array, Array, float]]:
    """The figures, and both sounds as they were compared, with their rate; no correlation for a silent truth."""
    rate = min(found[1], truth[1])
    a, b = (high_pass(_at_rate(*one, rate), rate, min(low, 0.4 * rate)) for one in (found, truth))
    peaks, true_peaks = (highest_peaks(one, rate, _PEAKS, low) for one in (a, b))
    a, b, correlation = aligned(a, b, min(int(lag * rate), min(len(a), len(b)) // 4))
    is_silent = not np.any(np.abs(b) > 1e-9)
    distortion = si_sdr(a, b)
    cents = pitch_cents(a, b, rate, low)
    asked = [peak for peak in true_peaks if peak.decibels >= true_peaks[0].decibels - _WEAKEST]
    worst = max((min((abs(one.hz / peak.hz - 1) for one in peaks), default=math.inf) for peak in asked), default=None)
    return {
        "correlation": None if is_silent else correlation, "si_sdr_db": _finite(distortion),
        "pitch_error_cents": _finite(cents), "peak_error_percent": _finite(None if worst is None else 100 * worst),
        "peaks": [list(peak) for peak in peaks], "true_peaks": [list(peak) for peak in true_peaks],
        "seconds": len(b) / rate,
    }, (a, b, rate)


def _at_rate(samples: Array, rate: int, wanted: int) -> Array:
    if rate == wanted:
        return samples
    from scipy.signal import resample_poly

    ratio = Fraction(wanted, rate).limit_denominator(1000)
    return np.asarray(resample_poly(samples, ratio.numerator, ratio.denominator))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
