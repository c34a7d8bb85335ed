"""Sound as WAV: read a stranger's file, write our own."""

from __future__ import annotations

import io
import wave
from pathlib import Path
from typing import Any

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import explain, open_plain, show

Array = np.ndarray[Any, Any]

MOST_BYTES = 2**28
"""The largest WAV file that is read, bytes: 50 minutes at 44.1 kHz in 16 bits, both channels."""

_FULL = 0.98  # of the range, for the loudest sample


def wav_bytes(samples: Array, rate: int) -> bytes:
    """Returns a WAV file (16 bits, one channel).

    Args:
        samples: (N,) in [-1, 1]; what lies outside is clipped.
        rate: Samples a second.
    """
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.rint(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def normalised(samples: Array) -> Array:
    """Returns (N,) scaled so that its largest magnitude is just below 1; silence stays silence."""
    largest = float(np.abs(samples).max(initial=0.0))
    return samples * (_FULL / largest) if largest > 0 else samples


def read_wav(path: Path) -> tuple[Array, int]:
    """Returns the samples (N,) float64 in [-1, 1], the mean of the channels, and their number a second.

    Raises UserError for a file that is no WAV of whole numbers, or is larger than `MOST_BYTES`.
    """
    try:
        with open_plain(path) as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise explain(error, path) from error
    if len(data) > MOST_BYTES:
        raise UserError(f"{show(path)}: is larger than {MOST_BYTES >> 20} MB: cut the sound")
    try:
        with wave.open(io.BytesIO(data), "rb") as sound:
            channels, width, rate = sound.getnchannels(), sound.getsampwidth(), sound.getframerate()
            raw = sound.readframes(sound.getnframes())
    except (wave.Error, EOFError, ValueError, OverflowError, RuntimeError) as error:  # the last: chunks that overlap
        reason = " ".join(str(error).split()) or "it ends too early"
        raise UserError(f"{show(path)}: no WAV file of whole numbers ({show(reason)[:80]}): convert it to 16-bit PCM "
                        "with `ffmpeg -i SOUND -c:a pcm_s16le SOUND.wav`") from error
    if width not in (1, 2, 3, 4) or not channels or not rate or len(raw) < channels * width:
        raise UserError(f"{show(path)}: holds no sound: give a WAV file with samples")
    values = _decoded(raw[: len(raw) // (channels * width) * channels * width], width)
    return values.reshape(-1, channels).mean(1), rate


def _decoded(raw: bytes, width: int) -> Array:
    """Samples in [-1, 1) from 8 bits without sign or 16, 24, 32 with it."""
    if width == 1:
        return np.frombuffer(raw, np.uint8) / 128.0 - 1.0
    if width == 3:
        high = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        whole = np.zeros((len(high), 4), np.uint8)
        whole[:, 1:] = high
        return whole.view("<i4")[:, 0] / 2.0**31
    return np.frombuffer(raw, f"<i{width}") / 2.0 ** (8 * width - 1)
