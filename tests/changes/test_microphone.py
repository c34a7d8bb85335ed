"""The visual microphone: sounds of simulated films, signs, lags, rolling shutters, files, and what is refused."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from refusals import message

from migaki.changes.microphone import Microphone
from migaki.changes.parts.motion_series import Grid, measure
from migaki.changes.parts.sound_weights import by_energy, by_snr, spectra, summed
from migaki.core.reduction import Frames
from migaki.core.sound import read_wav
from migaki.ops.sound import aligned, high_pass, highest_peaks, subtract_noise
from migaki.simulate.vibration import Vibration
from migaki.stages.apply import apply_change
from migaki.stages.apply_job import ApplyJob
from migaki.stages.simulate import SimulateJob, simulate

SIZE, COUNT, FPS = 48, 120, 1000.0
TONES = (90.0, 210.0)


def film(count: int = COUNT, seed: int = 0, **options: Any) -> np.ndarray:
    """(count, SIZE, SIZE) frames of two tones, 0.3 px."""
    config = Vibration.Config(**{"sound": "tones", "tones": TONES, "fps": FPS, "height": SIZE, "width": SIZE,
                                 "amplitude": 0.3, **options})
    return Vibration(config).render(seed, range(count))["image"].numpy()[:, 0]


def frames_of(pictures: np.ndarray, rate: float = FPS, **said: Any) -> Frames:
    return Frames(path=Path("film.mp4"), count=len(pictures), rate=rate, said=said,
                  read=lambda: (one[None] for one in pictures))


def heard(pictures: np.ndarray, tmp_path: Path, rate: float = FPS, said: dict[str, Any] | None = None,
          **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """The sound at the film's own rate, and the record."""
    made = Microphone(Microphone.Config(**options)).reduce(frames_of(pictures, rate, **(said or {})), tmp_path,
                                                           lambda done, total: None)
    (tmp_path / "arrays.npz").write_bytes(made.files["arrays.npz"])
    with np.load(tmp_path / "arrays.npz", allow_pickle=False) as stored:
        return stored["sound"].astype(float), dict(made.record)


def truth(count: int = COUNT, tones: tuple[float, ...] = TONES) -> np.ndarray:
    return Vibration(Vibration.Config(sound="tones", tones=tones)).sound(np.arange(count) / FPS)


def likeness(found: np.ndarray, true: np.ndarray, low: float = 25.0) -> float:
    return aligned(high_pass(found, FPS, low), high_pass(true, FPS, low), 0)[2]


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return film()


@pytest.mark.parametrize("weights", ["snr", "energy"])
def test_the_sound_of_a_texture(weights: str, pictures: np.ndarray, tmp_path: Path) -> None:
    found, record = heard(pictures, tmp_path, weights=weights)
    assert likeness(found, truth()) > 0.97
    assert sorted(one["hz"] for one in record["peaks"][:2]) == pytest.approx(TONES, abs=2)
    assert record["sample_rate"] == FPS and record["frames"] == COUNT and record["best_snr_db"] > 0
    free = high_pass(pictures.mean((1, 2)), FPS, 25)
    assert likeness(free, truth()) < 0.6


def test_a_region_a_denoised_sound_and_equal_bits(pictures: np.ndarray, tmp_path: Path) -> None:
    beside = np.concatenate([pictures, np.full_like(pictures, 0.5)], axis=2)
    options: dict[str, Any] = {"region": (4, 6, 40, 36), "high_pass": 40.0}
    found, record = heard(beside, tmp_path, **options)
    assert likeness(found, truth(), 40) > 0.95 and record["region"] == [4, 6, 40, 36]
    assert np.array_equal(found, heard(beside, tmp_path, **options)[0])
    quiet = heard(beside, tmp_path, denoise=True, **options)[0]
    np.testing.assert_allclose(quiet, subtract_noise(found, FPS), rtol=1e-3, atol=1e-3 * np.abs(found).max())


def test_what_moves_the_other_way_does_not_cancel(pictures: np.ndarray, tmp_path: Path) -> None:
    both = np.concatenate([pictures, film(seed=1, direction=180.0, contrast=0.149)], axis=2)
    assert likeness(heard(both, tmp_path, tile=16)[0], truth()) > 0.95


def test_noise_beside_the_sound_counts_little(tmp_path: Path) -> None:
    faint = film(amplitude=0.05, noise=(0.0, 4e-4))
    noise = film(amplitude=0.0, noise=(0.0, 1e-2), seed=5)
    both = np.concatenate([faint, noise], axis=2)
    by_weight = {name: likeness(heard(both, tmp_path, weights=name, tile=16)[0], truth()) for name in ("snr", "energy")}
    assert by_weight["snr"] > 0.8 and by_weight["snr"] > by_weight["energy"] + 0.1, by_weight


def test_a_lag_is_found_and_bounded(tmp_path: Path) -> None:
    random = film(count=COUNT + 2)
    late = np.concatenate([random[2:], film(count=COUNT + 2, seed=1)[:COUNT]], axis=2)  # the right side comes 2 later
    grid = Grid(height=SIZE, width=2 * SIZE, tile=SIZE, is_rolling=False, frame_samples=1)
    with (tmp_path / "series").open("w+b") as file:
        series = measure(iter(late), grid, file, octaves=1, orientations=1, skip=0, path=tmp_path,
                         progress=lambda done: None)
        found = spectra(series, 25, FPS)
        for most, lag in ((3, 2), (1, 1), (0, 0)):
            for way in (by_snr, by_energy):
                chosen = way(series, found, most)
                right = chosen.lags[chosen.series == 1] - chosen.lags[chosen.series == 0]
                assert abs(int(right[0])) == lag, (way, most, chosen)
        with_lag, without = (summed(series, by_snr(series, found, most)) for most in (3, 0))
        assert likeness(with_lag[4:-4], truth(COUNT + 2)[6:-4]) > likeness(without[4:-4], truth(COUNT + 2)[6:-4])


def test_rows_of_a_rolling_shutter_are_samples(tmp_path: Path) -> None:
    config = Vibration.Config(sound="tones", tones=(437.0,), fps=30, shutter="rolling", gap=0.2, height=64, width=64,
                              amplitude=0.4)
    simulator = Vibration(config)
    seen = simulator.render(0, range(16))["image"].numpy()[:, 0]
    found, record = heard(seen, tmp_path, 30, simulator.names)
    assert record["sample_rate"] == 30 * 80 and record["shutter"] == "rolling" and len(found) == 16 * 80
    assert highest_peaks(found, 2400, 1, 60)[0].hz == pytest.approx(437, rel=0.01)
    whole = simulator.sound(np.arange(16 * 80) / 2400)
    assert abs(np.corrcoef(found, whole)[0, 1]) > 0.9
    ignored, plain = heard(seen, tmp_path, 30, simulator.names, shutter="rolling", gap=0.0)
    assert plain["sample_rate"] == 30 * 64 and len(ignored) == 16 * 64


def test_frames_are_not_kept(pictures: np.ndarray, tmp_path: Path) -> None:
    """However long the film, few of its frames are alive at a time."""
    alive: set[int] = set()
    most = [0]

    def read() -> Iterator[np.ndarray]:
        for number in range(200):
            one = pictures[number % 3][None].copy()
            alive.add(number)
            weakref.finalize(one, alive.discard, number)
            most[0] = max(most[0], len(alive))
            yield one

    Microphone(Microphone.Config(octaves=1, orientations=1)).reduce(
        Frames(path=tmp_path, count=0, rate=FPS, read=read), tmp_path, lambda done, total: None)
    assert most[0] <= 40


def test_a_film_becomes_a_folder(pictures: np.ndarray, tmp_path: Path) -> None:
    write_film(tmp_path / "film.mkv", pictures)
    job = ApplyJob(input=tmp_path / "film.mkv", out=tmp_path / "out")
    config = Microphone.Config(fps=FPS)
    out = apply_change("microphone", Microphone(config), job, command="migaki apply microphone", quiet=True)
    assert sorted(path.name for path in out.iterdir()) == ["arrays.npz", "brightness.wav", "microphone.html",
                                                           "microphone.json", "sound.wav"]
    samples, rate = read_wav(out / "sound.wav")
    assert rate == 8000 and len(samples) == 8 * COUNT and np.abs(samples).max() == pytest.approx(0.98, abs=0.01)
    assert likeness(samples[::8], truth()) > 0.97
    page = (out / "microphone.html").read_text()
    assert "US 2015/0319540" in page and "data:audio/wav;base64" in page and page.count("data:image/png") == 3
    record = json.loads((out / "microphone.json").read_text())
    assert record["fps"] == FPS and record["config"]["fps"] == FPS and record["command"]
    apply_change("microphone", Microphone(config), job, quiet=True)  # once more into the same folder


def test_a_set_of_frames_says_its_rate(tmp_path: Path) -> None:
    config = Vibration.Config(sound="tones", tones=TONES, fps=FPS, height=SIZE, width=SIZE, amplitude=0.3)
    simulate("vibration", Vibration(config), SimulateJob(out=tmp_path / "set", count=COUNT), quiet=True)
    out = apply_change("microphone", Microphone(), ApplyJob(input=tmp_path / "set", out=tmp_path / "out"), quiet=True)
    samples, rate = read_wav(out / "sound.wav")
    assert rate == 8000 and likeness(samples[::8], read_wav(tmp_path / "set" / "truth.wav")[0]) > 0.97


def write_film(path: Path, pictures: np.ndarray, rate: int = 30) -> None:
    """Without loss."""
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream("ffv1", rate=rate)
        stream.height, stream.width, stream.pix_fmt = *pictures.shape[1:], "gray"
        for one in np.rint(pictures * 255).astype(np.uint8):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(one, format="gray")))
        file.mux(stream.encode(None))


def test_bad_films_are_refused_in_one_line(pictures: np.ndarray, tmp_path: Path) -> None:
    reduce = lambda seen, **options: message(partial(heard, seen, tmp_path, **options))  # noqa: E731
    assert "has 3 frames, too few" in reduce(pictures[:3])
    assert "nothing moves" in reduce(np.repeat(pictures[:1], 40, 0))
    assert "give --fps" in reduce(pictures, rate=0.0)
    assert "lies outside of its 48 x 48 px" in reduce(pictures, region=(30, 0, 20, 20))
    assert "too few" in reduce(pictures, region=(0, 0, 8, 8))
    assert "have several sizes" in message(lambda: heard([*pictures[:9], pictures[9][:40]], tmp_path))  # type: ignore[arg-type]
    for options, word in (({"fps": -1.0}, "--fps -1"), ({"fps": float("nan")}, "--fps nan"), ({"gap": 2.0}, "--gap 2"),
                          ({"high_pass": -3.0}, "--high-pass"), ({"lag": 99}, "--lag"), ({"tile": 3}, "--tile")):
        assert word in message(lambda options=options: Microphone.Config(**options))


def test_bad_commands_leave_nothing(pictures: np.ndarray, tmp_path: Path) -> None:
    write_film(tmp_path / "film.mkv", pictures[:3])
    (tmp_path / "text.txt").write_text("no film")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    before = sorted(tmp_path.rglob("*"))
    for options, word in (({}, "too few"), ({"variants": 2}, "--variants means nothing"),
                          ({"input": tmp_path / "text.txt"}, "neither a picture nor a video"),
                          ({"out": tmp_path / "run"}, "holds config.json"),
                          ({"out": tmp_path / "new.mp4"}, "makes no film")):
        job = ApplyJob(**{"input": tmp_path / "film.mkv", "out": tmp_path / "out", **options})  # type: ignore[arg-type]
        assert word in message(lambda job=job: apply_change("microphone", Microphone(), job, quiet=True))
    assert sorted(tmp_path.rglob("*")) == before


def test_strings_of_a_guitar(real_data: Any, tmp_path: Path) -> None:
    """The strings are at 80.3, 108.4 and 142.5 Hz; half a second of film resolves 2 Hz. One octave is quick."""
    clip = real_data("scenes/motion/guitar.mp4")
    out = apply_change("microphone", Microphone(Microphone.Config(fps=600, skip=1, octaves=1, high_pass=50)),
                       ApplyJob(input=clip, out=tmp_path / "out"), quiet=True)
    peaks = json.loads((out / "microphone.json").read_text())["peaks"]
    assert sorted(one["hz"] for one in peaks[:3]) == pytest.approx([80.3, 108.4, 142.5], abs=1)
    assert peaks[3]["db_over_median"] <= peaks[2]["db_over_median"] - 5
