"""Vibrating textures: exact motion, rows at their own time, the sensor's noise, and the sound that is kept."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from refusals import message

from migaki.core.sound import read_wav, wav_bytes
from migaki.data.folder import ImageFolder
from migaki.simulate.vibration import MELODY, Vibration
from migaki.stages.simulate import SimulateJob, simulate

QUIET = (0.0, 0.0)


def texture(shift: tuple[float, float], size: int = 32, rows: bool = False, **options: object) -> np.ndarray:
    """One frame without noise whose sound stands at its maximum for all rows, moved by `shift`."""
    angle, length = math.degrees(math.atan2(shift[1], shift[0])), math.hypot(*shift)
    config = Vibration.Config(amplitude=length, direction=angle, height=size, width=size, noise=QUIET,
                              shutter="rolling" if rows else "global", **options)  # type: ignore[arg-type]
    still = Vibration(config)
    still.sound = lambda times: np.ones_like(times)  # type: ignore[method-assign]
    return still.render(3, [0])["image"].numpy()[0, 0]


@pytest.mark.parametrize("rows", [False, True])
def test_whole_shifts_roll_the_picture(rows: bool) -> None:
    plain = texture((1e-9, 0.0))
    for across, down in ((1, 0), (0, 1), (2, -3)):
        moved = texture((across, down), rows=rows)
        assert np.abs(moved - np.roll(plain, (down, across), (0, 1))).max() < 1.5 / 255


def test_a_fraction_of_a_pixel_is_exact() -> None:
    """Two half shifts are one: the picture of 0.5 px, moved by Fourier's theorem once more, is that of 1 px."""
    half, whole = texture((0.5, 0.0)), texture((1.0, 0.0))
    again = np.fft.ifft(np.fft.fft(half, axis=1) * np.exp(-0.5j * 2 * np.pi * np.fft.fftfreq(32)), axis=1).real
    assert np.abs(again - whole).max() < 3 / 255 and np.abs(half - whole).max() > 6 / 255


def test_rows_are_exposed_one_after_the_other() -> None:
    config = Vibration.Config(sound="tones", tones=(437.0,), fps=30, shutter="rolling", gap=0.2, height=64, width=32,
                              amplitude=0.5, noise=QUIET)
    simulator = Vibration(config)
    assert simulator.rows == 80 and simulator.names["gap"] == pytest.approx(0.2)
    frame = simulator.render(0, [2])["image"].numpy()[0, 0]
    plain = Vibration(replace(config, amplitude=0.0)).render(0, [0])["image"].numpy()[0, 0]
    shifts = 0.5 * simulator.sound((2 * 80 + np.arange(64)) / (30 * 80))
    omega = 2 * np.pi * np.fft.fftfreq(32)
    expected = np.fft.ifft(np.fft.fft(plain, axis=1) * np.exp(-1j * omega * shifts[:, None]), axis=1).real
    assert np.abs(frame - expected).max() < 3 / 255


def test_the_noise_has_its_variance() -> None:
    still = {"amplitude": 0.0, "height": 64, "width": 64}
    clean = Vibration(Vibration.Config(noise=QUIET, **still)).render(0, [0])["image"].double()
    for a, b in ((0.0, 4e-4), (2e-3, 1e-4)):
        noisy = Vibration(Vibration.Config(noise=(a, b), **still)).render(0, range(8))["image"].double()
        dark, bright = clean[0] < 0.4, clean[0] > 0.6
        for part in (dark, bright):
            expected = a * float(clean[0][part].mean()) + b + 1 / 12 / 255**2
            assert float((noisy - clean)[:, part].var()) == pytest.approx(expected, rel=0.05)


def test_the_sound_is_kept_beside_the_film(tmp_path: Path) -> None:
    config = Vibration.Config(height=16, width=16, amplitude=0.4, direction=90)
    out = simulate("vibration", Vibration(config), SimulateJob(out=tmp_path / "film", count=40), quiet=True)
    samples, rate = read_wav(out / "truth.wav")
    folder = ImageFolder(out)
    shifts = np.stack([row["shift"] for row in folder.rows])
    assert rate == 2200 and len(samples) == 40 == len(folder) and folder.made["frame_rate"] == 2200
    assert shifts[:, 1] == pytest.approx(0.4 * samples, abs=1e-4) and not np.abs(shifts[:, 0]).max() > 1e-9
    assert [row["frame"] for row in folder.rows] == list(range(40))
    again = Vibration(config).sound(np.arange(400) / 8000)
    peak = np.fft.rfftfreq(8000, 1 / 8000)[np.abs(np.fft.rfft(again, 8000)).argmax()]
    assert peak == pytest.approx(MELODY[0], abs=5)


def test_a_sound_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "s.wav").write_bytes(wav_bytes(0.3 * np.sin(2 * np.pi * np.arange(800) / 80), 8000))
    simulator = Vibration(Vibration.Config(wav=tmp_path / "s.wav", height=16, width=16))
    found = simulator.sound(np.arange(2200) / 2200)
    assert np.abs(found).max() == pytest.approx(1, abs=0.02)
    assert found == pytest.approx(np.sin(2 * np.pi * 100 * np.arange(2200) / 2200), abs=0.02)  # 0.1 s, again and again
    (tmp_path / "s.wav").write_bytes(wav_bytes(np.zeros(9), 8000))
    assert "silent" in message(lambda: Vibration(Vibration.Config(wav=tmp_path / "s.wav")))


@pytest.mark.parametrize("options", [{"height": 8}, {"fps": 0.0}, {"amplitude": 9.0}, {"gap": 0.95}, {"noise": (-1, 0)},
                                     {"tones": ()}, {"contrast": 0.0}, {"flicker": 1.0}, {"fps": float("nan")}])
def test_what_makes_no_film_is_refused(options: dict[str, object]) -> None:
    assert "vibration:" in message(lambda: Vibration.Config(**options))  # type: ignore[arg-type]
