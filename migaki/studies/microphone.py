"""The visual microphone: how faint a motion still gives a sound, by which weights, and what a rolling shutter hears.

    migaki study microphone --out OUT
    migaki study microphone --film guitar.mp4 --film-fps 600 --out OUT

Films of textures that a known melody shakes by 0.3 to 0.001 px are heard in several ways; beside every figure stands
that of the film's mean brightness, which costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from migaki.changes.microphone import ARRAYS, SOUND, Microphone
from migaki.core.errors import UserError
from migaki.core.files import read_json
from migaki.core.sound import read_wav
from migaki.judges.sound import Sound
from migaki.lab.arms import Arm, Measure, Trial
from migaki.lab.chain import Phase, Step
from migaki.lab.steps import change_step, judge_step, simulate_step
from migaki.lab.study import Plan, Study
from migaki.lab.study_report import StudyReport
from migaki.ops.sound import Peak
from migaki.report.page import Number
from migaki.report.sound_figures import by_amplitude, snr_map, spectrogram, spectrum
from migaki.report.tables import Entry, Table
from migaki.simulate.vibration import Vibration
from migaki.stages.apply_job import ApplyJob
from migaki.stages.simulate import SimulateJob

_CORRELATION = Measure(key="correlation", name="correlation", higher_is_better=True, places=3)
_DISTORTION = Measure(key="si_sdr_db", name="SI-SDR, dB", higher_is_better=True, places=1)
_PEAK = Measure(key="peak_error_percent", name="largest peak error, %", places=2)

WAYS: dict[str, tuple[str, Microphone.Config]] = {
    "snr": ("by spectral SNR", Microphone.Config()),
    "no_lag": ("by spectral SNR, no lag", Microphone.Config(lag=0)),
    "energy": ("A² alone", Microphone.Config(weights="energy")),
    "energy_any_lag": ("A² alone, any lag", Microphone.Config(weights="energy", lag=64)),
}
"""Ways to weight tiles and bands: name in tables, options."""

_ABOUT = """\
Correlation and SI-SDR: as `migaki evaluate sound` says. Each film has its own texture and noise; the melody is the \
same. Mean brightness: the sound that one number a frame gives, without any filter."""


class MicrophoneStudy(Study):
    """Correlation by amplitude and weights, tones of a rolling shutter, and a film of your own."""

    title = "The visual microphone"
    subtitle = "Films of textures that a known sound shakes are turned back into the sound."
    factors = ("film",)
    measures = (_CORRELATION, _DISTORTION)

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The films; the defaults take about ten minutes of one core."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "amplitudes ways seeds film film_fps"}

        amplitudes: tuple[float, ...] = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)  # px
        ways: tuple[str, ...] = ("snr", "no_lag", "energy", "energy_any_lag")  # of weighting the bands
        seeds: int = 3  # films of each amplitude
        seed: int = 0  # the first
        size: int = 192  # px, sides of the texture
        count: int = 500  # frames
        fps: float = 2200.0  # frames a second
        noise: float = 0.01  # standard deviation of the sensor's noise, shares of white
        rolling: bool = True  # also hear tones through a rolling shutter
        tones: tuple[float, ...] = (437.0, 1013.0, 1787.0)  # Hz, of the rolling shutter
        rolling_fps: float = 30.0  # frames a second
        rows: int = 480  # of the rolling shutter
        gap: float = 0.1  # share of a frame's time without a row
        rolling_count: int = 30  # frames
        film: Path | None = None  # a film of your own, shown on the page
        film_fps: float = 0.0  # frames a second at which it was filmed; 0 = what it says

        @classmethod
        def quick(cls) -> MicrophoneStudy.Config:
            """Two amplitudes, one small film of each: a minute of one core."""
            return cls(amplitudes=(0.1, 0.01), seeds=1, size=96, count=256, rows=160, rolling_count=20,
                       ways=("snr", "energy"), tones=(437.0, 1013.0))

        def __post_init__(self) -> None:
            if self.seeds < 1 or not self.amplitudes or not self.ways:
                raise UserError("migaki study microphone: --seeds is at least 1, and --amplitudes and --ways name one")
            if wrong := [way for way in self.ways if way not in WAYS]:
                raise UserError(f"migaki study microphone: --ways {wrong[0]}: known are {', '.join(WAYS)}")

    config: Config

    def plan(self, out: Path, quiet: bool) -> Plan:
        """Returns the films, what is heard in them, and the judgements."""
        config = self.config
        phases = [Phase(title=f"{amplitude:g} px", steps=tuple(
            step for seed in self._seeds() for step in self._film(out, amplitude, seed, quiet)))
            for amplitude in config.amplitudes]
        arms = [Arm(name=f"{WAYS[way][0]}, {amplitude:g} px", slug=f"{way}_{amplitude:g}", saw="nothing", trials=tuple(
            Trial(seeds=(seed,), evaluation=out / f"judged_{way}_{amplitude:g}_{seed}") for seed in self._seeds()))
            for amplitude in config.amplitudes for way in config.ways]
        if config.rolling:
            phases.append(Phase(title="rolling shutter", steps=tuple(
                step for seed in self._seeds() for step in self._rolling(out, seed, quiet))))
            arms.append(Arm(name="rolling shutter", slug="rolling", saw="nothing", trials=tuple(
                Trial(seeds=(seed,), evaluation=out / f"judged_rolling_{seed}") for seed in self._seeds())))
        if config.film is not None:
            phases.append(Phase(title="a film", steps=(change_step("microphone", Microphone.Config(
                fps=config.film_fps), ApplyJob(input=config.film, out=out / "film"), quiet, cost=20),)))
        return Plan(phases=tuple(phases), arms=tuple(arms))

    def compose(self, report: StudyReport) -> None:
        """Compose the page: figures by amplitude, what it sounds like, the rolling shutter, the film."""
        faint = min(self.config.amplitudes, key=lambda one: abs(np.log(one / 0.01)))
        shown = report[f"{self.config.ways[0]}_{faint:g}"].spread(_CORRELATION)
        report.numbers([Number(f"correlation at {faint:g} px", shown.mean_text, WAYS[self.config.ways[0]][0]),
                        report.time_card()])
        self._amplitudes(report)
        self._sounds(report, faint)
        if self.config.rolling:
            self._rows(report)
        if self.config.film is not None:
            _own_film(report)
        report.section("How it was measured", is_folded=True)
        report.text(_ABOUT)

    def _seeds(self) -> range:
        return range(self.config.seed, self.config.seed + self.config.seeds)

    def _film(self, out: Path, amplitude: float, seed: int, quiet: bool) -> list[Step]:
        config, film = self.config, out / f"film_{amplitude:g}_{seed}"
        made = Vibration.Config(amplitude=amplitude, fps=config.fps, height=config.size, width=config.size,
                                noise=(0.0, config.noise**2))
        steps = [simulate_step("vibration", made, SimulateJob(out=film, count=config.count, seed=seed), quiet, cost=5)]
        for way in config.ways:
            name = f"{way}_{amplitude:g}_{seed}"
            steps += self._heard(out, film, name, WAYS[way][1], quiet)
        return steps

    def _rolling(self, out: Path, seed: int, quiet: bool) -> list[Step]:
        config, film = self.config, out / f"film_rolling_{seed}"
        made = Vibration.Config(sound="tones", tones=config.tones, fps=config.rolling_fps, height=config.rows,
                                width=config.rows, shutter="rolling", gap=config.gap, noise=(0.0, config.noise**2))
        job = SimulateJob(out=film, count=config.rolling_count, seed=seed)
        return [simulate_step("vibration", made, job, quiet, cost=3),
                *self._heard(out, film, f"rolling_{seed}", Microphone.Config(), quiet)]

    def _heard(self, out: Path, film: Path, name: str, config: Microphone.Config, quiet: bool) -> list[Step]:
        heard = out / f"heard_{name}"
        return [change_step("microphone", config, ApplyJob(input=film, out=heard), quiet, cost=6),
                judge_step(Sound(Sound.Config(data=heard, truth=film)), (), out / f"judged_{name}", quiet=quiet,
                           cost=2)]

    def _amplitudes(self, report: StudyReport) -> None:
        config = self.config
        report.section("How faint a motion still sounds")
        for measure, slug in ((_CORRELATION, "correlation"), (_DISTORTION, "distortion")):
            rows: list[list[Entry]] = []
            for amplitude in config.amplitudes:
                outcomes = [report[f"{way}_{amplitude:g}"] for way in config.ways]
                rows.append([f"{amplitude:g}", *(one.spread(measure) for one in outcomes),
                             outcomes[0].free_spread(measure)])
            report.table(slug, Table([f"px ({measure.name})", *(WAYS[way][0] for way in config.ways),
                                      "mean brightness"], rows, "Mean over the films with the standard deviation; of "
                                     "two both values. Mean brightness: of the first film."))
        curves = {WAYS[way][0]: [(amplitude, report[f"{way}_{amplitude:g}"].spread(_CORRELATION).mean)
                                 for amplitude in config.amplitudes] for way in config.ways}
        report.figure("amplitude", by_amplitude(curves, "correlation with the true sound"),
                      "Correlation by amplitude and weights.", is_chart=True)

    def _sounds(self, report: StudyReport, faint: float) -> None:
        report.section("What it sounds like")
        name = f"{self.config.ways[0]}_{faint:g}_{self.config.seed}"
        truth = report.out / f"film_{faint:g}_{self.config.seed}" / "truth.wav"
        sound, rate = _stored(report.out / f"heard_{name}", "sound")
        report.page.sound((report.out / f"heard_{name}" / SOUND).read_bytes(), f"Recovered at {faint:g} px.")
        report.page.sound(truth.read_bytes(), "The true sound.")
        samples, true_rate = read_wav(truth)
        report.figure("spectrogram", spectrogram([(f"recovered at {faint:g} px", sound, rate),
                                                  ("truth", samples, float(true_rate))]),
                      "Loudness over time and frequency, 50 dB from dark to bright.", is_chart=True)

    def _rows(self, report: StudyReport) -> None:
        config, outcome = self.config, report["rolling"]
        report.section("A rolling shutter")
        rows: list[list[Entry]] = []
        for tone in config.tones:
            found = [min((one[0] for one in figures["peaks"]), key=lambda hz: abs(hz - tone))
                     for figures in outcome.figures if figures["peaks"]]
            worst = max((abs(hz / tone - 1) for hz in found), default=None)
            rows.append([f"{tone:g}", ", ".join(f"{hz:.1f}" for hz in found),
                         None if worst is None else f"{100 * worst:.2f}"])
        report.table("rolling", Table(["tone, Hz", "nearest of the three highest peaks, Hz", "largest error, %"], rows,
                                      f"{config.rolling_fps:g} frames a second of {config.rows} rows, a gap of "
                                      f"{100 * config.gap:g} %: the frames alone could hear up to "
                                      f"{config.rolling_fps / 2:g} Hz."))
        report.compare("rolling_figures", ["rolling"])
        sound, rate = _stored(report.out / f"heard_rolling_{config.seed}", "sound")
        report.figure("rolling", spectrum([("recovered", sound, rate)], _peaks(outcome.figures[0]["peaks"])),
                      "The spectrum of the first film's rows.", is_chart=True)


def _own_film(report: StudyReport) -> None:
    folder = report.out / "film"
    record = read_json(folder / "microphone.json")
    sound, rate = _stored(folder, "sound")
    peaks = [Peak(one["hz"], one["db_over_median"]) for one in record["peaks"]]
    report.section("A film")
    report.page.sound((folder / SOUND).read_bytes(), "Below 200 Hz it needs headphones.")
    report.table("film", Table(["peak, Hz", "dB over the median"], [[peak.hz, peak.decibels] for peak in peaks]))
    report.figure("film_spectrum", spectrum([("film", sound, rate)], peaks[:4], record["high_pass_hz"]),
                  "The four highest peaks have their frequency in Hz.", is_chart=True)
    with np.load(folder / ARRAYS, allow_pickle=False) as stored:
        picture = snr_map(stored["frame"], stored["snr"], record["region"])
    report.figure("film_map", picture, "Where the film shows the sound.", is_chart=True)


def _peaks(pairs: Sequence[Sequence[float]]) -> list[Peak]:
    return [Peak(hz, decibels) for hz, decibels in pairs]


def _stored(folder: Path, name: str) -> tuple[Any, float]:
    """The sound at the film's own rate, and that rate."""
    with np.load(folder / ARRAYS, allow_pickle=False) as stored:
        return stored[name].astype(float), float(read_json(folder / "microphone.json")["sample_rate"])
