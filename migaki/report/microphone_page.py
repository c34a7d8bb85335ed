"""The page of `apply microphone`: a player, the spectrogram, the spectrum, and where the film shows the sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from migaki.changes.microphone import ARRAYS, BRIGHTNESS, SOUND, Microphone
from migaki.core.files import read_json, show
from migaki.ops.sound import Peak, high_pass
from migaki.report.page import Page
from migaki.report.sound_figures import snr_map, spectrogram, spectrum
from migaki.report.tables import Table

_PATENT = """\
The visual microphone is described in the patent application US 2015/0319540 (Massachusetts Institute of Technology). \
Ask whether you need a licence before you use it for more than research."""


def write_page(out: Path, given: Path, change: Microphone) -> None:
    """Write `microphone.html` into `out` from the files of the result; `given` is the film."""
    record = read_json(out / f"{change.record_name}.json")
    with np.load(out / ARRAYS, allow_pickle=False) as stored:
        sound, snr, frame, brightness = (stored[name] for name in ("sound", "snr", "frame", "brightness"))
    rate, fps, low = record["sample_rate"], record["fps"], record["high_pass_hz"]
    peaks = [Peak(one["hz"], one["db_over_median"]) for one in record["peaks"]]
    plain = high_pass(brightness, fps, min(low, 0.4 * fps))
    page = Page(f"What {show(given.name)} heard", f"{record['frames']} frames at {fps:g} a second, shutter "
                f"{record['shutter']}: {len(sound) / rate:.2f} s of sound at {rate:,.0f} samples a second.")
    page.numbers([("highest peaks", ", ".join(f"{peak.hz:.1f}" for peak in peaks[:3]) + " Hz", "in their order"),
                  ("best tile", _decibels(record["best_snr_db"]), "power over that of the noise"),
                  ("series that stand out", f"{record['standing_out']} of {record['series']}", "tiles times bands")])
    page.sound((out / SOUND).read_bytes(), "The sound. Below 200 Hz it needs headphones.")
    page.section("Spectrogram")
    page.figure(spectrogram([("sound", sound, rate), ("mean brightness, which costs nothing", plain, fps)], low),
                "Loudness over time and frequency, 50 dB from dark to bright.", is_chart=True)
    page.section("Spectrum")
    page.figure(spectrum([("sound", sound, rate), ("mean brightness", plain, fps)], peaks[:4], low),
                "The four highest peaks have their frequency in Hz.", is_chart=True)
    page.table(Table(["peak, Hz", "dB over the median"], [[peak.hz, peak.decibels] for peak in peaks]))
    page.section("Where it was seen")
    page.figure(snr_map(frame, snr, record["region"]),
                "How far the motion's spectrum stands out of the noise, the best band of each tile. --region x y width "
                "height looks at a part alone.", is_chart=True)
    page.section("What it is")
    page.text(_PATENT)
    page.links([(SOUND, SOUND), (BRIGHTNESS, BRIGHTNESS)])
    if "command" in record:
        page.section("Repeat it", is_folded=True)
        page.code(record["command"])
    page.write(out / "microphone.html")


def _decibels(value: float | None) -> str:
    return "none" if value is None else f"{value:.1f} dB"
