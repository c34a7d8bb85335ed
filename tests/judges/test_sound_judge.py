"""The judge of sounds: equal sounds, noise, rates, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from refusals import message

from migaki.core.sound import wav_bytes
from migaki.judges.sound import Sound
from migaki.stages.evaluate import judge_into, run_judge

TIME = np.arange(800) / 2000
TRUE = (np.sin(2 * math.pi * 200 * TIME) + 0.5 * np.sin(2 * math.pi * 330 * TIME)) / 2


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """A folder of a microphone and a set with its truth."""
    folder, film = tmp_path / "heard", tmp_path / "film"
    for one in (folder, film):
        one.mkdir()
    (film / "truth.wav").write_bytes(wav_bytes(TRUE, 2000))
    fine = np.interp(np.arange(3200) / 8000, TIME, -0.7 * TRUE)
    noise = np.random.default_rng(0).standard_normal(800)
    (folder / "sound.wav").write_bytes(wav_bytes(fine, 8000))
    (folder / "brightness.wav").write_bytes(wav_bytes(0.2 * noise, 2000))
    (folder / "microphone.json").write_text(json.dumps({"high_pass_hz": 50.0}))
    return folder, film


def test_a_likely_sound_beside_the_brightness(places: tuple[Path, Path], tmp_path: Path) -> None:
    out, findings = judge_into(Sound(Sound.Config(data=places[0], truth=places[1])), (), tmp_path / "page", quiet=True)
    figures, free = findings.figures, findings.baseline
    assert figures["correlation"] > 0.99 and figures["si_sdr_db"] > 15
    assert figures["pitch_error_cents"] < 3 and figures["peak_error_percent"] < 0.3
    assert [one[0] for one in figures["true_peaks"][:2]] == pytest.approx([200, 330], abs=1)
    assert free["correlation"] < 0.4 and free["si_sdr_db"] < 0 and findings.record["high_pass_hz"] == 50
    assert (out / "evaluation.html").read_text().count("data:image/png") == 2
    assert json.loads((out / "evaluation.json").read_text())["costs_nothing"]["name"] == "mean brightness"


def test_two_files_and_noise_as_expected(places: tuple[Path, Path], tmp_path: Path) -> None:
    noise = 0.25 * np.random.default_rng(1).standard_normal(800)
    (tmp_path / "noisy.wav").write_bytes(wav_bytes((TRUE + noise) / 2, 2000))
    config = Sound.Config(data=tmp_path / "noisy.wav", truth=places[1] / "truth.wav", high_pass=0.0)
    figures = run_judge(Sound(config), quiet=True).figures
    ratio = float(TRUE @ TRUE / (noise @ noise))
    assert figures["correlation"] == pytest.approx(math.sqrt(ratio / (1 + ratio)), abs=0.02)
    assert figures["si_sdr_db"] == pytest.approx(10 * math.log10(ratio), abs=0.5)


def test_what_cannot_be_compared_is_refused(places: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "silent.wav").write_bytes(wav_bytes(np.zeros(800), 2000))
    judge = lambda data, truth: message(lambda: run_judge(Sound(Sound.Config(data=data, truth=truth)), quiet=True))  # noqa: E731
    assert "holds no sound.wav" in judge(places[1], places[1])
    assert "holds no truth.wav" in judge(places[0], places[0])
    assert "is silent above" in judge(places[0], tmp_path / "silent.wav")
    assert "no such file" in judge(tmp_path / "no.wav", places[1])
    assert "--lag 99" in message(lambda: Sound.Config(data=tmp_path, truth=tmp_path, lag=99))
