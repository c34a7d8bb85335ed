"""Films: one draw a film, settings averaged over time, a film in a file, and the judge of flicker."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image
from refusals import message

import migaki as mg
from migaki.changes.match import Match
from migaki.changes.pan import Pan
from migaki.core.fit import Run
from migaki.data.files.image_file import read_image
from migaki.data.folder import ImageFolder
from migaki.data.sets.clips import Clips, averaged, clips_of
from migaki.judges.flicker import Flicker
from migaki.stages.apply import apply, apply_change
from migaki.stages.apply_job import ApplyJob
from migaki.stages.evaluate import run_judge
from migaki.stages.train import train
from migaki.systems.camera_refiner import CameraRefiner
from migaki.systems.keypoints import Keypoints
from migaki.systems.simgan import SimGAN

FRAMES = 6
CPU: dict[str, Any] = {"device": "cpu", "precision": "fp32"}
TINY = Run(device="cpu", precision="fp32", log_every=1, sample_every=0)


def write_stills(folder: Path, count: int = 2, size: tuple[int, int] = (32, 36), seed: int = 0) -> Path:
    """Smooth colourful pictures with a point, a box and a mask."""
    folder.mkdir(parents=True)
    random, lines = np.random.default_rng(seed), []
    (folder / "masks").mkdir()
    for number in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (6, 7, 3), np.uint8))
        coarse.resize((size[1], size[0]), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
        Image.fromarray((np.arange(size[0] * size[1]) % 3).reshape(size).astype(np.uint8)).save(
            folder / "masks" / f"{number}.png")
        lines.append({"file_name": f"{number}.png", "mask_file_name": f"masks/{number}.png",
                      "keypoints": [[15.0, 16.0]], "boxes": [[10, 8, 12, 14]], "classes": [0]})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def stills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stills(tmp_path_factory.mktemp("stills") / "set")


@pytest.fixture(scope="module")
def films(stills: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    job = ApplyJob(input=stills, out=tmp_path_factory.mktemp("films") / "set", variants=FRAMES, batch_size=4)
    return apply_change("pan", Pan(Pan.Config(period=20, window=0.7)), job, quiet=True)


@pytest.fixture(scope="module")
def runs(films: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two refiners of random weights for the films' size."""
    root = tmp_path_factory.mktemp("runs")
    photos = write_stills(root / "photos", 4, seed=9)
    made = {}
    for name, system, config in (
            ("camera", CameraRefiner, CameraRefiner.Config(steps=12, batch_size=4, features=8, photographs=8,
                                                           learning_rate=0.05)),
            ("simgan", SimGAN, SimGAN.Config(steps=3, batch_size=2, features=8, blocks=1, history=4,
                                             discriminator_pretraining=1, noise_channels=1, shortcut=False, ema=0.0))):
        data = system.Data(synthetic=films, real=photos)
        train(system, data, config, TINY, root / name, quiet=True)
        made[name] = root / name
    return made


def pictures(folder: Path) -> torch.Tensor:
    found = ImageFolder(folder)
    return found.read(range(len(found)), ("image",))["image"]


def changed(what: Path, films: Path, out: Path, **options: Any) -> Path:
    return apply(what, ApplyJob(input=films, out=out, **{**CPU, **options}), quiet=True)


def test_rows_of_films_in_time() -> None:
    rows: list[dict[str, Any]] = [{"clip": "a", "frame": 2}, {"clip": "b", "frame": 0}, {"clip": "a", "frame": 0},
                                  {"clip": "a", "frame": 1}, {"file_name": "still.png"}]
    clips = Clips(rows, "set")
    assert clips.films == [[2, 3, 0], [1]] and [clips.first(row) for row in range(5)] == [2, 1, 2, 2, 4]
    assert Clips([{"clip": 7}, {"clip": 7}], "set").films == [[0, 1]]  # without numbers in the order of the rows
    near = clips.around(3, 1.0)
    side = np.exp(-0.5)
    assert near == {2: pytest.approx(side / (1 + 2 * side)), 3: pytest.approx(1 / (1 + 2 * side)),
                    0: pytest.approx(side / (1 + 2 * side))}
    assert clips.around(3, 0) == {3: 1.0} and clips.around(4, 2.0) == {4: 1.0}
    assert clips_of([{"file_name": "x"}], "set") is None
    wrong: list[tuple[list[dict[str, Any]], str]] = [
        ([{"clip": ["a"]}], "name or the number"), ([{"clip": "a", "frame": "x"}], "number of a frame"),
        ([{"clip": "a", "frame": 1}, {"clip": "a"}], "number all or none")]
    for broken, word in wrong:
        assert word in message(partial(Clips, broken, "set"))
    found = averaged({"look": torch.tensor([[1.0, 0.0], [3.0, 4.0]])}, [5, 7], [{5: 0.25, 7: 0.75}, {7: 1.0}])
    assert found["look"].tolist() == [[2.5, 3.0], [3.0, 4.0]]


def test_labels_move_with_the_camera(stills: Path, films: Path) -> None:
    found = ImageFolder(films)
    assert len(found) == 2 * FRAMES and found.shape == (3, 22, 25)
    row = found.rows[FRAMES + 3]
    assert (row["clip"], row["frame"]) == ("1", 3)
    motion = np.array(row["motion"])
    scene = motion @ np.array([(2 * row["keypoints"][0][0] + 1) / 25 - 1, (2 * row["keypoints"][0][1] + 1) / 22 - 1, 1])
    place = ((scene + 1) * np.array([36, 32]) - 1) / 2
    assert place == pytest.approx([15.0, 16.0], abs=1e-3)
    assert len({tuple(map(tuple, row["motion"])) for row in found.rows}) == 2 * FRAMES
    assert {row["mask_file_name"] for row in found.rows if row["clip"] == "0"}  # a mask for each frame
    assert "frames of films already" in message(lambda: apply_change(
        "pan", Pan(), ApplyJob(input=films, out=stills.parent / "no"), quiet=True))
    assert "leaves no room" in message(lambda: apply_change(
        "pan", Pan(Pan.Config(window=1.0)), ApplyJob(input=stills, out=stills.parent / "no2"), quiet=True))


def test_a_whole_step_is_a_crop(stills: Path) -> None:
    """At a window of the still's own pixels without turn and zoom, the frame is a part of the still, moved."""
    change = Pan(Pan.Config(window=0.5, zoom=0, turn=0))
    image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    made = change.change({"image": image, "frame": torch.tensor([2])}, torch.tensor([5]))
    x, y = (made["affine"][0, :, 2]).tolist()
    assert made["affine"][0, :, :2].tolist() == [[pytest.approx(1), 0], [0, pytest.approx(1)]]
    left, top = int(np.floor(-x)), int(np.floor(-y))
    across, down = -x - left, -y - top
    part = image[0, 0, top : top + 9, left : left + 9]
    mixed = (1 - across) * part[:, :8] + across * part[:, 1:]
    expected = (1 - down) * mixed[:8] + down * mixed[1:]
    torch.testing.assert_close(made["image"][0, 0], expected, atol=1e-5, rtol=0)


def test_draws_are_shared_within_a_film(runs: dict[str, Path], films: Path, tmp_path: Path) -> None:
    """The same still frame twice in one film gives the same picture, in another film another."""
    frame = ImageFolder(films).file(0)
    for name, folder in (("same", ["a", "a"]), ("other", ["a", "b"])):
        (tmp_path / name).mkdir()
        lines = []
        for number, clip in enumerate(folder):
            (tmp_path / name / f"{number}.png").write_bytes(Path(str(frame)).read_bytes())
            lines.append({"file_name": f"{number}.png", "clip": clip, "frame": number})
        (tmp_path / name / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        for kind, run in runs.items():
            made = pictures(changed(run, tmp_path / name, tmp_path / f"{name}_{kind}"))
            assert torch.equal(made[0], made[1]) == (name == "same"), (name, kind)


def test_settings_are_averaged_over_time(runs: dict[str, Path], films: Path, tmp_path: Path) -> None:
    """Against a naive twin: the mean of what each frame gives, weighted in time, handed to `predict`."""
    from migaki.core.seeds import generator
    from migaki.core.trained import load_system

    system = load_system(runs["camera"])
    assert isinstance(system, CameraRefiner)
    given = pictures(films)
    for smooth in (0.0, 1.5):
        made = pictures(changed(runs["camera"], films, tmp_path / f"out{smooth}", smooth=smooth, batch_size=5))
        for row in (0, 3, FRAMES + 5):
            start = row // FRAMES * FRAMES
            drawn = {key: torch.randn(1, *shape, generator=generator(0, start))
                     for key, shape in system.drawn().items()}
            batch: dict[str, torch.Tensor] = {"image": given[row : row + 1], **drawn}
            if smooth:
                near = [one for one in range(start, start + FRAMES) if abs(one - row) <= int(3 * smooth)]
                weights = torch.tensor([np.exp(-0.5 * ((one - row) / smooth) ** 2) for one in near]).float()
                measured = [system.measured({"image": given[one : one + 1], **drawn}) for one in near]
                batch |= {key: sum(w * one[key] for w, one in zip(weights / weights.sum(), measured, strict=True))
                          for key in measured[0]}
            with torch.no_grad():
                expected = system.predict(batch)["refined"]
            torch.testing.assert_close(made[row : row + 1], (expected * 255).round() / 255, atol=1.01 / 255, rtol=0)


def test_workers_and_batches_do_not_matter(runs: dict[str, Path], films: Path, tmp_path: Path) -> None:
    one = pictures(changed(runs["simgan"], films, tmp_path / "one"))
    assert torch.equal(one, pictures(changed(runs["simgan"], films, tmp_path / "two", workers=2, batch_size=64)))
    assert ImageFolder(tmp_path / "one").made["films"] == 2


def test_matching_is_steady(films: Path, stills: Path, tmp_path: Path) -> None:
    """All frames of a film take one photograph, and with a wide spread one curve: the same offset and factor."""
    made = {}
    for smooth in (0.0, 1000.0):
        change = Match(Match.Config(to=write_stills(tmp_path / f"photos{smooth}", 3, seed=4)))
        out = apply_change("match", change, ApplyJob(input=films, out=tmp_path / f"out{smooth}", smooth=smooth),
                           quiet=True)
        made[smooth] = pictures(out)[:FRAMES]
    given = pictures(films)[:FRAMES]

    def curve(after: torch.Tensor) -> torch.Tensor:
        inside = (after[:, 0] > 0.02) & (after[:, 0] < 0.98)
        return torch.from_numpy(np.array([np.polyfit(given[k, 0][inside[k]], after[k, 0][inside[k]], 1)
                                          for k in range(FRAMES)]))

    assert curve(made[1000.0]).std(0).max() < 2e-3 < curve(made[0.0]).std(0).max()


def write_film(path: Path, count: int = 5, size: tuple[int, int] = (36, 48)) -> Path:
    random = np.random.default_rng(1)
    coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), np.uint8))
    wide = np.asarray(coarse.resize((size[1] + 2 * count, size[0]), Image.Resampling.BICUBIC))
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream("libx264", rate=10, options={"crf": "8"})
        stream.width, stream.height, stream.pix_fmt = size[1], size[0], "yuv420p"
        for number in range(count):
            pixels = np.ascontiguousarray(wide[:, 2 * number : 2 * number + size[1]])
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        file.mux(stream.encode(None))
    return path


def film_frames(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


def test_a_film_becomes_a_film(runs: dict[str, Path], stills: Path, tmp_path: Path) -> None:
    film = write_film(tmp_path / "in.mp4")
    for kind, run in runs.items():
        out = changed(run, film, tmp_path / f"{kind}.mp4")
        frames = film_frames(out)
        assert out == tmp_path / f"{kind}.mp4" and len(frames) == 5 and frames[0].shape == (22, 25, 3)
        assert film_frames(changed(run, film, tmp_path / f"{kind}"))[2].tolist() == frames[2].tolist()
    assert (tmp_path / "camera" / "in.mp4").is_file()
    change = Match(Match.Config(to=stills))
    out = apply_change("match", change, ApplyJob(input=film, out=tmp_path / "matched.mp4"), quiet=True)
    steady, loose = film_frames(out), film_frames(apply_change(
        "match", change, ApplyJob(input=film, out=tmp_path / "loose.mp4", smooth=0), quiet=True))
    assert len(steady) == 5 and steady[0].shape == (36, 48, 3) and (steady[0] != loose[0]).any()


def test_refused_films(runs: dict[str, Path], films: Path, stills: Path, tmp_path: Path) -> None:
    film = write_film(tmp_path / "in.mp4", 3)
    for options, word in (({"variants": 2}, "--variants 2"), ({"smooth": -1.0}, "--smooth -1"),
                          ({"estimator": stills}, "no labels that could drift")):
        assert word in message(partial(changed, runs["simgan"], film, tmp_path / "o.mp4", **options))
    assert "written as .mp4" in message(lambda: changed(runs["simgan"], film, tmp_path / "o.mkv"))
    assert "only a film becomes a film" in message(lambda: changed(runs["simgan"], films, tmp_path / "o.mp4"))
    (tmp_path / "cut.mp4").write_bytes(film.read_bytes()[:300])
    assert "cut.mp4" in message(lambda: changed(runs["camera"], tmp_path / "cut.mp4", tmp_path / "o.mp4"))
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile 'in.mp4'\n")
    assert "list.mp4" in message(lambda: changed(runs["camera"], tmp_path / "list.mp4", tmp_path / "o.mp4"))
    for what in ("match", str(runs["simgan"])):
        assert "a film becomes a film" in message(partial(mg.apply, what, film, tmp_path / "folder", quiet=True))
    assert "takes no films" in message(lambda: apply_change("pan", Pan(), ApplyJob(input=film, out=tmp_path / "p.mp4"),
                                                            quiet=True))
    assert not (tmp_path / "o.mp4").exists()
    kept = film.read_bytes()
    assert "take the place of the one" in message(lambda: changed(runs["simgan"], film, tmp_path))
    assert film.read_bytes() == kept


def test_the_judge_of_flicker(runs: dict[str, Path], films: Path, stills: Path, tmp_path: Path) -> None:
    """A brighter film is as steady as before; noise of its own for each frame is not; drift stands beside it."""
    def altered(name: str, how: Any) -> Path:
        out = tmp_path / name
        out.mkdir()
        (out / "metadata.jsonl").write_text((films / "metadata.jsonl").read_text())
        found = ImageFolder(films)
        for number, file in enumerate(found.names):
            values = how(read_image(found.file(number)).astype(float), number)
            Image.fromarray(values.clip(0, 255).round().astype(np.uint8).transpose(1, 2, 0)).save(out / file)
        shutil.copytree(films / "masks", out / "masks")
        return out

    random = np.random.default_rng(0)
    darker = altered("darker", lambda x, number: x / 2)
    noisy = altered("noisy", lambda x, number: x + random.normal(0, 12, x.shape))
    pulsing = altered("pulsing", lambda x, number: x / 2 + 10 * (number % 2))
    estimator = tmp_path / "estimator"
    config = Keypoints.Config(steps=2, batch_size=4, features=8, depth=1)
    train(Keypoints, Keypoints.Data(data=(films,)), config, TINY, estimator, quiet=True)
    figures = {path.name: run_judge(Flicker(Flicker.Config(before=films, after=path, estimator=estimator)), quiet=True)
               for path in (darker, noisy, pulsing)}
    own = figures["darker"].baseline["warping"]
    assert 0 < own < 8 and figures["darker"].baseline_name == "the films before the change"
    assert figures["darker"].figures["warping"] == pytest.approx(own / 2, abs=0.5)
    assert figures["noisy"].figures["warping"] > own + 5
    assert figures["pulsing"].figures["tone"] == pytest.approx(10, abs=1.5)
    assert figures["pulsing"].figures["warping"] > 8 > figures["darker"].figures["tone"] + 5
    assert any(name.startswith("drift_jitter_") for name in figures["noisy"].figures)
    assert "has no column `clip`" in message(lambda: run_judge(
        Flicker(Flicker.Config(before=stills, after=films)), quiet=True))
