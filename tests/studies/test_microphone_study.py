"""The study of the visual microphone: its steps, its page, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

from refusals import message

from migaki.lab.study import run_study
from migaki.studies.microphone import WAYS, MicrophoneStudy


def test_a_small_study(tmp_path: Path) -> None:
    config = MicrophoneStudy.Config(amplitudes=(0.3,), ways=("snr",), seeds=1, size=32, count=64, rows=32, gap=0.2,
                                    rolling_count=12, tones=(313.0,))
    page = run_study("microphone", MicrophoneStudy(config), tmp_path / "out", quiet=True).read_text()
    assert "A rolling shutter" in page and page.count("data:audio/wav") == 2 and "mean brightness" in page
    found = {row["arm"]: row for row in json.loads((tmp_path / "out" / "results.json").read_text())}
    assert found["snr_0.3"]["correlation"] > 0.9 and found["rolling"]["peak_error_percent"] < 1


def test_the_plan_and_what_is_refused(tmp_path: Path) -> None:
    quick = MicrophoneStudy(MicrophoneStudy.Config.quick()).plan(tmp_path, True)
    assert len(quick.arms) == 5 and len(quick.phases) == 3
    film = MicrophoneStudy(MicrophoneStudy.Config(film=Path("guitar.mp4"), film_fps=600.0)).plan(tmp_path, True)
    words = film.phases[-1].steps[0].words
    assert words[:2] == ("apply", "microphone") and "600.0" in words and len(film.arms) == 6 * len(WAYS) + 1
    assert "--ways loud" in message(lambda: MicrophoneStudy.Config(ways=("loud",)))
    assert "--seeds" in message(lambda: MicrophoneStudy.Config(seeds=0))
