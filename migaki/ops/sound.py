"""Small signal processing for sound: high-pass, spectral noise floor, peaks, and the repair of regular gaps."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg, signal

Array = np.ndarray[Any, Any]

_MOST_ORDER = 512  # of an autoregressive model


class Peak(NamedTuple):
    """A maximum of a spectrum."""

    hz: float
    decibels: float  # over the median of the spectrum


def high_pass(samples: Array, rate: float, hz: float, order: int = 3) -> Array:
    """Butterworth high-pass, forward and backward, so that nothing is delayed; `hz` of 0 removes the mean alone.

    Shape: samples (..., N); the result likewise, float64
    """
    centred: Array = np.asarray(samples, np.float64) - np.mean(samples, axis=-1, keepdims=True)
    if hz <= 0 or centred.shape[-1] < 4:
        return centred
    sections = signal.butter(order, min(hz, 0.49 * rate), "highpass", fs=rate, output="sos")
    # The ends are mirrored over a period of the cut-off, as far as there are samples.
    found: Array = signal.sosfiltfilt(sections, centred, axis=-1, padlen=min(centred.shape[-1] - 1, int(rate / hz)))
    return found


def median_of_periodograms(count: int) -> float:
    """Returns the median of the mean of `count` independent periodograms of noise whose mean is 1 (Wilson-Hilferty)."""
    return (1 - 1 / (9 * count)) ** 3


def spectral_snr(power: Array, count: int) -> tuple[Array, Array, Array]:
    """Signal and noise of power spectra: what stands out of the floor, and the floor, which is taken as white.

    Args:
        power: (S, F) averages of `count` periodograms.
        count: Of periodograms, at least 1.

    Returns:
        What stands out (S, F), at most one false bin in a thousand; its sum over that of the floor (S,); the noise's
        power (S,), summed over the bins. A spectrum of zeros has a ratio of 0.
    """
    floor = np.median(power, axis=1) / median_of_periodograms(count)
    # The quantile of 1 - 0.001 of the mean of `count` exponential variables, by Wilson and Hilferty's cube.
    threshold = (1 - 1 / (9 * count) + 3.09 / math.sqrt(9 * count)) ** 3
    excess = np.where(power > threshold * floor[:, None], power - floor[:, None], 0.0)
    noise = floor * power.shape[1]
    return excess, np.divide(excess.sum(1), noise, out=np.zeros(len(power)), where=noise > 0), noise


def highest_peaks(samples: Array, rate: float, count: int, low: float = 0.0) -> list[Peak]:
    """Returns the `count` highest maxima of the spectrum above `low` Hz, the highest first.

    Hann's window, eight times as many points as samples, a parabola through the logarithms. Maxima nearer than four
    bins of the unpadded spectrum to a higher one are its side lobes and do not count.
    """
    length = len(samples)
    if length < 8:
        return []
    windowed = (samples - np.mean(samples)) * signal.get_window("hann", length)
    plain = np.abs(np.fft.rfft(windowed)) ** 2
    fine = np.abs(np.fft.rfft(windowed, 8 * length)) ** 2
    first = max(1, math.ceil(low * length / rate))
    median = float(np.median(plain[first:])) if len(plain) > first else 0.0
    if median <= 0:
        return []
    places = [int(place) for place in signal.find_peaks(fine)[0] if place >= 8 * first]
    found: list[int] = []
    for place in sorted(places, key=lambda one: -fine[one]):
        if len(found) == count:
            break
        if all(abs(place - other) >= 32 for other in found):
            found.append(place)
    return [_parabola(fine, place, rate / (8 * length), median) for place in found]


def _parabola(fine: Array, place: int, step: float, median: float) -> Peak:
    left, middle, right = np.log(np.maximum(fine[place - 1 : place + 2], 1e-300))
    bend = left - 2 * middle + right
    shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return Peak((place + float(shift)) * step, 10 * math.log10(fine[place] / median))


def fill_gaps(rows: Array, gap: int, rounds: int = 5) -> Array:
    """Returns a series in which the gap after each row of samples is filled by an autoregressive model.

    Janssen, Veldhuis and Vries, IEEE Trans. ASSP 34 (1986): the model and the missing samples are found in turns, each
    by least squares. All gaps have one length, so all share one matrix.

    Shape: rows (T, H), known samples; result (T * (H + gap),)
    """
    count, known = rows.shape
    filled = np.concatenate([rows, np.zeros((count, gap))], axis=1).astype(np.float64)
    order = min(3 * gap + 2, known, _MOST_ORDER, filled.size // 4)
    if gap == 0 or order < 1 or not np.any(rows):
        return filled.ravel()
    for _ in range(rounds):
        _fill_once(filled, known, gap, order)
    return filled.ravel()


def _fill_once(filled: Array, known: int, gap: int, order: int) -> None:
    """Estimate the model from the whole series, then every gap from the `order` samples on either side."""
    whole = filled.ravel()
    transform = np.abs(np.fft.rfft(whole, 2 * len(whole))) ** 2
    correlation = np.fft.irfft(transform)[: order + 1]
    column = correlation[:order].copy()
    column[0] *= 1 + 1e-9  # a series of few pure tones has a singular matrix
    model = np.r_[1.0, -linalg.solve_toeplitz(column, correlation[1:])]
    kernel = np.correlate(model, model, "full")[order:]  # how two samples at a distance appear in the error's square
    padded = np.concatenate([np.zeros(order), whole, np.zeros(order)])
    starts = order + np.arange(len(filled)) * filled.shape[1] + known
    around = np.arange(-order, gap + order)
    context = padded[starts[:, None] + around]
    context[:, order : order + gap] = 0.0
    distance = np.abs(around[None] - np.arange(gap)[:, None])
    pull = np.where(distance <= order, kernel[np.minimum(distance, order)], 0.0)
    matrix = linalg.toeplitz(np.where(np.arange(gap) <= order, kernel[np.minimum(np.arange(gap), order)], 0.0))
    filled[:, known:] = -linalg.solve(matrix, pull @ context.T, assume_a="pos").T


def subtract_noise(samples: Array, rate: float, seconds: float = 0.064, over: float = 1.0) -> Array:
    """Spectral subtraction: the median over time of each frequency's magnitude is taken for noise (Boll, 1979).

    Shape: samples (N,); the result likewise
    """
    size = max(16, min(len(samples), 2 ** round(math.log2(max(16.0, seconds * rate)))))
    _, _, transform = signal.stft(samples, rate, nperseg=size)
    magnitude = np.abs(transform)
    noise = np.median(magnitude, axis=1, keepdims=True) * over
    gain = np.clip(1 - noise / np.maximum(magnitude, 1e-300), 0.05, 1.0)
    _, result = signal.istft(transform * gain, rate, nperseg=size)
    found: Array = np.zeros(len(samples))
    found[: min(len(samples), len(result))] = result[: len(samples)]
    return found


def aligned(found: Array, truth: Array, most: int) -> tuple[Array, Array, float]:
    """Cut two series to where they overlap best, with at most `most` samples of lag.

    Returns both parts without their means, (n,) each, the first with the sign that fits, and their correlation (0 to
    1; 0 for silence).
    """
    length = min(len(found), len(truth))
    best = (0.0, 0, 1.0)
    for lag in range(-most, most + 1):
        a, b = _overlap(found[:length], truth[:length], lag)
        norm = float(np.linalg.norm(a) * np.linalg.norm(b))
        value = float(a @ b) / norm if norm > 0 else 0.0
        if abs(value) > best[0] + 1e-12:
            best = (abs(value), lag, math.copysign(1.0, value))
    a, b = _overlap(found[:length], truth[:length], best[1])
    return a * best[2], b, best[0]


def _overlap(found: Array, truth: Array, lag: int) -> tuple[Array, Array]:
    a = found[lag:] if lag >= 0 else found[:lag]
    b = truth[: len(truth) - lag] if lag >= 0 else truth[-lag:]
    return a - a.mean(), b - b.mean()


def si_sdr(found: Array, truth: Array) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al., ICASSP 2019); -inf for silence.

    Shape: found, truth (N,) without their means
    """
    energy = float(truth @ truth)
    if energy <= 0:
        return -math.inf
    target = float(found @ truth) / energy * truth
    error = float(np.sum((found - target) ** 2))
    power = float(target @ target)
    if power <= 0:
        return -math.inf
    return 10 * math.log10(power / error) if error > 0 else math.inf


def pitch_cents(found: Array, truth: Array, rate: float, low: float, seconds: float = 0.05) -> float | None:
    """Median distance of the strongest tone from the truth's, in cents, over windows in which the truth is loud.

    Windows overlap by half; those whose power is less than a tenth of the loudest do not count. None if there is none.
    """
    size = max(32, int(seconds * rate))
    starts = range(0, min(len(found), len(truth)) - size + 1, size // 2)
    loud = [float(np.sum(truth[start : start + size] ** 2)) for start in starts]
    cents = []
    for start, power in zip(starts, loud, strict=True):
        if power <= 0.1 * max(loud) or power <= 0:
            continue
        tones = [highest_peaks(one[start : start + size], rate, 1, low) for one in (found, truth)]
        if tones[1]:
            cents.append(abs(1200 * math.log2(tones[0][0].hz / tones[1][0].hz)) if tones[0] else math.inf)
    return float(np.median(cents)) if cents else None
