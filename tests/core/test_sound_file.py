"""WAV files: ours, strangers', and broken ones."""

from __future__ import annotations

import io
import struct
import wave
from pathlib import Path

import numpy as np
import pytest
from refusals import message
from scipy.io import wavfile

from migaki.core.sound import normalised, read_wav, wav_bytes


def test_a_round_trip_and_another_reader(tmp_path: Path) -> None:
    samples = np.sin(np.arange(100) / 5)
    (tmp_path / "s.wav").write_bytes(wav_bytes(samples, 600))
    found, rate = read_wav(tmp_path / "s.wav")
    assert rate == 600 and np.abs(found - samples).max() < 1e-4
    rate, whole = wavfile.read(tmp_path / "s.wav")
    assert rate == 600 and np.abs(whole / 32767 - samples).max() < 1e-4
    assert np.abs(normalised(0.1 * samples)).max() == pytest.approx(0.98) and not normalised(np.zeros(3)).any()


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_every_width_and_the_mean_of_the_channels(width: int, tmp_path: Path) -> None:
    values = np.array([[0.5, -0.5], [0.25, 0.75], [-1.0, -0.5]])
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((2, width, 8000, 0, "NONE", ""))
        whole = np.rint(values.ravel() * 2 ** (8 * width - 1)).astype(np.int64)
        raw = (whole + 128).astype(np.uint8).tobytes() if width == 1 else b"".join(
            int(one).to_bytes(width, "little", signed=True) for one in whole)
        file.writeframes(raw)
    (tmp_path / "s.wav").write_bytes(buffer.getvalue())
    found, rate = read_wav(tmp_path / "s.wav")
    assert rate == 8000 and found == pytest.approx(values.mean(1), abs=1e-9)


def test_broken_files_are_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, good = tmp_path / "s.wav", wav_bytes(np.sin(np.arange(64)), 8000)
    random = np.random.default_rng(0)
    cases = [b"", b"rubbish" * 9, good[:20], good[:44], wav_bytes(np.zeros(0), 8000),
             good[:20] + struct.pack("<H", 3) + good[22:]]
    for content in cases:
        path.write_bytes(content)
        line = message(lambda: read_wav(path))
        assert "s.wav" in line and ("convert it" in line or "holds no sound" in line)
    for _ in range(200):
        broken = bytearray(good[: int(random.integers(1, len(good) + 1))])
        for _ in range(4):
            broken[int(random.integers(min(48, len(broken))))] = int(random.integers(256))
        path.write_bytes(bytes(broken))
        try:
            read_wav(path)
        except Exception as error:
            assert type(error).__name__ == "UserError" and "\n" not in str(error), error
    assert "no such file" in message(lambda: read_wav(tmp_path / "no.wav"))
    monkeypatch.setattr("migaki.core.sound.MOST_BYTES", 50)
    path.write_bytes(good)
    assert "larger than" in message(lambda: read_wav(path))
