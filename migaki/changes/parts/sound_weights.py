"""How series of local motion become one sound: a weight, a sign and a lag for each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from migaki.changes.parts.motion_series import MotionSeries
from migaki.ops.sound import spectral_snr

Array = np.ndarray[Any, Any]

_MOST = 96  # series that are summed, those of the highest ratio
_VALUES = 2**21  # of a block of all series


@dataclass(frozen=True, kw_only=True, slots=True)
class Spectra:
    """The spectra of all series, averaged over segments of the film."""

    length: int  # samples of a segment
    starts: tuple[int, ...]  # of the segments
    first: int  # bin below which nothing counts
    excess: Array  # (S, F) what stands out of the noise
    snr: Array  # (S,) power that stands out over that of the noise
    noise: Array  # (S,) power of the noise


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """Which series are summed and how; a positive lag shifts a series to earlier samples."""

    series: Array  # (N,) int64
    weights: Array  # (N,) with signs
    lags: Array  # (N,) int64, samples


def spectra(series: MotionSeries, low: float, rate: float) -> Spectra:
    """Returns averaged spectra of the series; `low` is the lowest frequency that counts, `rate` of the samples, Hz."""
    length = min(series.length, max(256, min(8192, _VALUES // series.num_series)))
    starts = list(range(0, series.length - length + 1, length))
    if series.length - length - starts[-1] > length // 4:
        starts.append(series.length - length)
    first = max(1, int(np.ceil(low * length / rate)))
    power = np.zeros((series.num_series, length // 2 + 1 - first))
    for transform in _transforms(series, length, starts, first):
        power += np.abs(transform) ** 2
    excess, snr, noise = spectral_snr(power / len(starts), len(starts))
    return Spectra(length=length, starts=tuple(starts), first=first, excess=excess, snr=snr, noise=noise)


def _transforms(series: MotionSeries, length: int, starts: list[int] | tuple[int, ...], first: int,
                chosen: Array | None = None) -> Iterator[Array]:
    """Yields the Fourier transforms of segments (S or chosen, F), under Hann's window."""
    window = np.hanning(length + 2)[1:-1]
    for start in starts:
        values = series.read(start, length)
        values = values if chosen is None else values[:, chosen]
        yield np.fft.rfft((values - values.mean(0)).T * window)[:, first:]


def by_snr(series: MotionSeries, found: Spectra, most_lag: int) -> Weights:
    """Weights from the spectral SNR: amplitude over the variance of the noise, and signs from correlations.

    The series are taken in the order of their SNR. Each is compared with the sum of those before it, in the
    frequencies in which it stands out itself, so parts that sound differently do not decide each other's sign.
    """
    order = np.argsort(-found.snr, kind="stable")[:_MOST]
    order = order[found.snr[order] > 0]
    if not len(order):
        return by_energy(series, found, most_lag)
    weights = np.sqrt(found.snr[order] / found.noise[order])
    return _signed(series, found, order, weights, most_lag)


def by_energy(series: MotionSeries, found: Spectra, most_lag: int) -> Weights:
    """All the same weight, so that a series counts by its own A^2 (eq. 3 to 5 without normalisation)."""
    order = np.argsort(-series.energy.reshape(-1, series.num_series).sum(0), kind="stable")[:_MOST]
    return _signed(series, found, order, np.ones(len(order)), most_lag)


def _signed(series: MotionSeries, found: Spectra, order: Array, weights: Array, most_lag: int) -> Weights:
    lags = np.arange(-most_lag, most_lag + 1)
    cross = _cross_correlations(series, found, order, lags)
    signs, shifts = np.ones(len(order)), np.zeros(len(order), np.int64)
    for place in range(1, len(order)):
        # Row l: the correlation with the sum so far at lag l, of which each part has a lag of its own already.
        sums = np.zeros(len(lags))
        for other in range(place):
            at = np.clip(lags - shifts[other] + most_lag, 0, len(lags) - 1)
            sums += signs[other] * weights[other] * cross[at, place, other]
        best = int(np.argmax(np.abs(sums) * (1 - 1e-9 * np.abs(lags))))
        signs[place], shifts[place] = (1.0 if sums[best] >= 0 else -1.0), lags[best]
    return Weights(series=order, weights=weights * signs, lags=shifts)


def _cross_correlations(series: MotionSeries, found: Spectra, order: Array, lags: Array) -> Array:
    """(lags, N, N): the correlation of series i, `lag` samples later, with j, in the frequencies where i stands out."""
    excess = found.excess[order]
    own = excess / np.maximum(excess.sum(1, keepdims=True), 1e-300)
    own = np.where(excess.sum(1, keepdims=True) > 0, own, 1.0 / excess.shape[1])
    omega = 2 * np.pi * (np.arange(excess.shape[1]) + found.first) / found.length
    total = np.zeros((len(lags), len(order), len(order)))
    for transform in _transforms(series, found.length, found.starts, found.first, order):
        for number, lag in enumerate(lags):
            total[number] += ((transform * own * np.exp(1j * omega * lag)) @ transform.conj().T).real
    return total


def summed(series: MotionSeries, chosen: Weights) -> Array:
    """Returns the weighted sum of the chosen series, (length,) float64."""
    result = np.zeros(series.length)
    for start, values in series.blocks(max(1024, _VALUES // series.num_series)):
        for lag in np.unique(chosen.lags):
            among = chosen.lags == lag
            part = values[:, chosen.series[among]] @ chosen.weights[among]
            begin, end = start - lag, start - lag + len(part)
            result[max(0, begin) : min(len(result), end)] += part[max(0, -begin) : len(part) - max(
                0, end - len(result))]
    return result


def rolling_sum(series: MotionSeries, found: Spectra, most_share: float = 0.05) -> Array:
    """Returns the displacement along the rows in px, (frames, H): weighted means of all tiles and bands.

    A row's phases are weighted by A^2 w (w the band's frequency) and divided by the sum of A^2 w^2, which is the least
    squares estimate; each series also counts by its SNR, those below `most_share` of the highest not at all.
    """
    tiles = series.grid.tiles[0] * series.grid.tiles[1]
    omega = np.repeat(series.frequencies, tiles)
    trust = np.where(found.snr >= most_share * found.snr.max(initial=0.0), found.snr, 0.0)
    trust = trust if trust.any() else np.ones(len(omega))
    weights = trust / (1 + trust)
    below = series.energy @ (weights * omega**2)  # (H,)
    below = np.maximum(below, 1e-3 * below.mean())
    rows = series.grid.height
    result = np.empty((series.frames, rows))
    per = series.grid.frame_samples
    for frame in range(series.frames):
        values = series.read(frame * per, rows)
        result[frame] = values @ (weights * omega) / below
    return result
