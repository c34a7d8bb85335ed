"""Pictures of sound: a spectrogram, a spectrum with its peaks, and a map of where a film shows the sound."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from migaki.ops.sound import Peak
from migaki.report.figures import COLOURS, style

if TYPE_CHECKING:  # importing matplotlib takes half a second
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]

_RANGE = 50.0  # dB below the loudest that a spectrogram shows
_COLUMNS = 400  # windows of a spectrogram at most


def spectrogram(sounds: Sequence[tuple[str, Array, float]], low: float = 0.0) -> bytes:
    """Returns the spectrograms of sounds (title, samples (N,), samples a second) one below the other, as PNG."""
    from scipy import signal

    with style():
        figure, axes = _canvas(7.6, 0.4 + 2.5 * len(sounds), len(sounds))
        for axis, (title, samples, rate) in zip(axes, sounds, strict=True):
            size = int(np.clip(2 ** round(np.log2(max(16, len(samples) / 12))), 16, 1024))
            size = min(size, len(samples))
            hop = max(1, min(size // 8, len(samples)), (len(samples) - size) // _COLUMNS)
            hz, seconds, power = signal.spectrogram(samples, rate, "hann", size, size - min(hop, size),
                                                    nfft=4 * size, mode="psd")
            shown = hz >= min(low, 0.1 * rate)
            loud = 10 * np.log10(np.maximum(power[shown], 1e-30))
            axis.pcolormesh(seconds, hz[shown], loud, vmin=loud.max() - _RANGE, vmax=loud.max(), cmap="magma",
                            shading="nearest", rasterized=True)
            axis.set(title=title, ylabel="Hz", ylim=(min(low, 0.1 * rate), rate / 2))
            axis.grid(visible=False)
        axes[-1].set_xlabel("seconds")
        return _bytes(figure)


def spectrum(sounds: Sequence[tuple[str, Array, float]], peaks: Sequence[Peak] = (), low: float = 0.0) -> bytes:
    """Returns the spectra of sounds in dB over their medians, as PNG; the peaks of the first are marked."""
    with style():
        figure, (axis,) = _canvas(7.6, 3.4, 1)
        for number, (title, samples, rate) in enumerate(sounds):
            windowed = (samples - samples.mean()) * np.hanning(len(samples) + 2)[1:-1]
            power = np.abs(np.fft.rfft(windowed)) ** 2
            hz = np.fft.rfftfreq(len(samples), 1 / rate)
            shown = hz >= max(min(low, 0.1 * rate), hz[1])
            median = float(np.median(power[shown])) or 1e-30
            axis.plot(hz[shown], 10 * np.log10(np.maximum(power[shown], 1e-6 * median) / median), label=title,
                      color=COLOURS[number % len(COLOURS)], linewidth=1.1, alpha=0.9)
        for peak in peaks:
            axis.annotate(f"{peak.hz:.1f}", (peak.hz, peak.decibels), textcoords="offset points", xytext=(0, 4),
                          ha="center", fontsize=8)
        axis.set(xlabel="Hz", ylabel="dB over the median")
        axis.margins(y=0.12)
        if len(sounds) > 1:
            axis.legend(fontsize=8)
        return _bytes(figure)


def snr_map(frame: Array, snr: Array, region: Sequence[int] = ()) -> bytes:
    """Returns a frame (H, W) of bytes beside the spectral SNR (rows, columns) of its tiles in dB, as PNG."""
    with style():
        height, width = frame.shape
        is_wide = width > 1.3 * height
        rows, columns = (2, 1) if is_wide else (1, 2)
        side = 7.6 if is_wide else 3.8
        figure, axes = _canvas(7.6, min(9.0, max(2.6, rows * side * height / width + 0.6)), rows, columns)
        left, top = (region[0], region[1]) if len(region) == 4 else (0, 0)
        extent = (left, left + width, top + height, top)
        axes[0].imshow(frame, cmap="gray", vmin=0, vmax=255, extent=extent)
        axes[0].set_title("first frame")
        shown = axes[1].imshow(10 * np.log10(np.maximum(snr, 1e-3)), cmap="magma", extent=extent)
        axes[1].set_title("SNR of the motion, dB")
        figure.colorbar(shown, ax=axes[1], shrink=0.8)
        for axis in axes:
            axis.grid(visible=False)
        return _bytes(figure)


def by_amplitude(curves: Mapping[str, Sequence[tuple[float, float]]], ylabel: str) -> bytes:
    """Returns figures over the amplitude in px (logarithmic), a line for each name, as PNG."""
    with style():
        figure, (axis,) = _canvas(6.6, 3.6, 1)
        for number, (name, points) in enumerate(curves.items()):
            x, y = zip(*sorted(points), strict=True)
            axis.plot(x, y, marker="o", label=name, color=COLOURS[number % len(COLOURS)])
        axis.set(xscale="log", xlabel="amplitude, px", ylabel=ylabel)
        axis.legend(fontsize=8)
        return _bytes(figure)


def _canvas(width: float, height: float, rows: int, columns: int = 1) -> tuple[Figure, list[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


def _bytes(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
    return buffer.getvalue()
