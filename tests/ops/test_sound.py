"""Signal processing for sound: filters, noise floors, peaks, gaps, and the figures of a comparison."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import signal

from migaki.ops.sound import (
    aligned,
    fill_gaps,
    high_pass,
    highest_peaks,
    median_of_periodograms,
    pitch_cents,
    si_sdr,
    spectral_snr,
    subtract_noise,
)

RATE = 1000.0
TIME = np.arange(1000) / RATE
NOISE = np.random.default_rng(0).standard_normal(1000)


def tone(hz: float, time: np.ndarray = TIME) -> np.ndarray:
    return np.sin(2 * math.pi * hz * time)


def test_the_high_pass_keeps_what_is_above_and_delays_nothing() -> None:
    found = high_pass(3 + tone(2) + tone(100), RATE, 30)
    np.testing.assert_allclose(found[200:800], tone(100)[200:800], atol=0.01)
    np.testing.assert_allclose(high_pass(tone(100) + 5, RATE, 0), tone(100), atol=1e-12)


@pytest.mark.parametrize("count", [1, 4, 30])
def test_the_floor_of_white_noise(count: int) -> None:
    draw = np.random.default_rng(count)
    power = draw.exponential(2.0, (200, count, 300)).mean(1)
    assert np.median(power) / 2 == pytest.approx(median_of_periodograms(count), rel=0.03)
    excess, snr, noise = spectral_snr(power, count)
    assert (excess > 0).mean() < 0.003 and snr.max() < 0.15
    assert noise.mean() == pytest.approx(600, rel=0.03)


def test_a_tone_stands_out_of_its_noise() -> None:
    power = np.random.default_rng(0).exponential(1.0, (3, 400))
    power[1, 50] += 100
    power[2] = 0
    excess, snr, _ = spectral_snr(power, 1)
    assert excess[1].argmax() == 50 and snr[1] == pytest.approx(100 / 400, rel=0.2) and snr[2] == 0
    assert snr[1] > 5 * snr[0]


def test_peaks_between_bins_and_without_side_lobes() -> None:
    found = highest_peaks(tone(80.3) + 0.5 * tone(108.4) + 0.2 * tone(142.5) + 0.01 * NOISE, RATE, 4, 20)
    assert [one.hz for one in found[:3]] == pytest.approx([80.3, 108.4, 142.5], abs=0.05)
    assert found[0].decibels - found[1].decibels == pytest.approx(6.0, abs=0.3)
    assert found[3].decibels < found[2].decibels - 15
    assert highest_peaks(np.zeros(100), RATE, 3) == [] == highest_peaks(tone(50)[:4], RATE, 3)
    assert all(one.hz > 90 for one in highest_peaks(tone(30) + tone(200), RATE, 3, 90))


def test_gaps_are_filled_as_the_tones_go_on() -> None:
    time = np.arange(12 * 100) / 3000
    whole = tone(437, time) + 0.7 * tone(1013, time + 0.1)
    rows = whole.reshape(12, 100)[:, :80]
    found = fill_gaps(rows, 20)
    assert np.array_equal(found.reshape(12, 100)[:, :80], rows)
    inner = found.reshape(12, 100)[1:-1] - whole.reshape(12, 100)[1:-1]
    assert np.sqrt((inner**2).mean()) < 0.02
    assert np.array_equal(fill_gaps(rows, 0), rows.ravel())
    assert not fill_gaps(np.zeros((3, 10)), 4).any()


def test_noise_is_subtracted() -> None:
    time = np.arange(4000) / RATE
    clean = tone(120, time) * (np.abs(time - 2) < 0.5)
    noisy = clean + 0.2 * np.random.default_rng(0).standard_normal(4000)
    found = subtract_noise(noisy, RATE)
    assert np.std(found - clean) < 0.75 * np.std(noisy - clean)


@pytest.mark.parametrize("lag", [-3, 0, 4])
def test_alignment_finds_lag_and_sign(lag: int) -> None:
    truth = np.convolve(NOISE, signal.get_window("hann", 9), "same")
    a, b, correlation = aligned(-2 * np.roll(truth, lag), truth, 5)
    assert correlation == pytest.approx(1, abs=0.02) and a @ b > 0 and len(a) == 1000 - abs(lag)
    assert aligned(np.zeros(50), truth[:50], 2)[2] == 0


def test_si_sdr_against_its_definition() -> None:
    truth, error = tone(50), 0.1 * NOISE
    error = error - truth * (error @ truth) / (truth @ truth)
    expected = 10 * math.log10((truth @ truth) / (error @ error))
    assert si_sdr(3 * (truth + error), truth) == pytest.approx(expected)
    assert si_sdr(truth, np.zeros(1000)) == -math.inf == si_sdr(np.zeros(1000), truth)
    assert si_sdr(2 * truth, truth) > 200


def test_the_pitch_in_cents() -> None:
    assert pitch_cents(tone(200 * 2 ** (30 / 1200)), tone(200), RATE, 20) == pytest.approx(30, abs=1)
    assert pitch_cents(tone(200), np.zeros(1000), RATE, 20) is None
