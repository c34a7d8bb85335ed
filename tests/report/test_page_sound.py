"""A player on a page: the sound is in the page, and nothing else is let in."""

from __future__ import annotations

import base64

import numpy as np
from refusals import message

from migaki.core.sound import wav_bytes
from migaki.ops.sound import Peak
from migaki.report.page import Page
from migaki.report.sound_figures import by_amplitude, snr_map, spectrogram, spectrum


def test_a_player() -> None:
    wav, page = wav_bytes(np.sin(np.arange(40)), 8000), Page("sound")
    page.sound(wav, "a <tone>")
    text = page.html()
    assert f'<audio controls src="data:audio/wav;base64,{base64.b64encode(wav).decode()}"' in text
    assert "media-src data:" in text and "a &lt;tone&gt;" in text and "<tone>" not in text
    assert "a sound must be" in message(lambda: page.sound(b"<script>", ""))


def test_pictures_of_any_sound() -> None:
    """Short, slow, silent: a picture comes out, and equal sounds give equal bytes."""
    for samples, rate in ((np.sin(np.arange(300) / 3), 600.0), (np.zeros(40), 30.0)):
        sounds = [("one", samples, rate), ("two", samples[:33], 20.0)]
        made = spectrogram(sounds, 50.0)
        assert made.startswith(b"\x89PNG") and made == spectrogram(sounds, 50.0)
        assert spectrum([("$one", samples, rate)], [Peak(80.0, 20.0)], 20.0).startswith(b"\x89PNG")
    assert snr_map(np.zeros((20, 40), np.uint8), np.zeros((2, 3)), (5, 6, 40, 20)).startswith(b"\x89PNG")
    assert by_amplitude({"a": [(0.1, 0.9), (0.01, 0.4)]}, "correlation").startswith(b"\x89PNG")
