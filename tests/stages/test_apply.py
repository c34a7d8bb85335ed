"""apply: what goes in comes out refined, labels untouched, whatever the order, the batch or the interruptions."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from toy_folders import write_folder

from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.data.folder import ImageFolder
from migaki.stages.apply import ApplyJob, apply
from migaki.stages.train import train
from migaki.systems.gaze import Gaze
from migaki.systems.simgan import SimGAN

RUN = Run(device="cpu", precision="fp32", log_every=1, sample_every=0)
CPU: dict[str, Any] = {"device": "cpu", "precision": "fp32"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A refiner with and one without noise, a gaze model, and the folders they saw."""
    root = tmp_path_factory.mktemp("runs")
    synthetic = write_folder(root / "synthetic", 7, (24, 40))
    real = write_folder(root / "real", 5, (24, 40), real=True, labels=())
    for name, noise in (("plain", 0), ("noisy", 2)):
        config = replace(SimGAN.tiny()[0], channels=0, height=0, width=0, noise_channels=noise, shortcut=False, ema=0.9,
                         match=False)
        train(SimGAN, SimGAN.Data(synthetic=synthetic, real=real), config, RUN, root / name, quiet=True)
    gaze = replace(Gaze.tiny()[0], channels=0, height=0, width=0)
    train(Gaze, Gaze.Data(data=(synthetic,)), gaze, RUN, root / "gaze", quiet=True)
    return {name: root / name for name in ("plain", "noisy", "gaze", "synthetic", "real")}


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_labels_are_untouched_and_images_are_refined(runs: dict[str, Path], tmp_path: Path) -> None:
    before = tree(runs["synthetic"])
    out = apply(runs["plain"], ApplyJob(input=runs["synthetic"], out=tmp_path / "out", **CPU), quiet=True)
    assert rows(out) == rows(runs["synthetic"]) and tree(runs["synthetic"]) == before
    for row in rows(out):
        old, new = (np.asarray(Image.open(folder / row["file_name"]), float) for folder in (runs["synthetic"], out))
        assert old.shape == new.shape and np.abs(old - new).mean() > 1
    record = json.loads((out / "dataset.json").read_text())
    assert record["system"] == "simgan" and record["parent_fingerprint"] == ImageFolder(runs["synthetic"]).fingerprint


@pytest.mark.parametrize("name", ["plain", "noisy"])
def test_the_batch_size_changes_nothing(name: str, runs: dict[str, Path], tmp_path: Path) -> None:
    made = []
    for size in (1, 3, 64):
        job = ApplyJob(input=runs["synthetic"], out=tmp_path / f"out{size}", batch_size=size, **CPU)
        folder = ImageFolder(apply(runs[name], job, quiet=True))
        made.append((folder.rows, folder.read(range(7), ("image",))["image"]))
    # Convolutions of other batch sizes may round differently: by one grey level, rarely.
    for rows_, images in made[1:]:
        assert rows_ == made[0][0]
        torch.testing.assert_close(images, made[0][1], atol=1.01 / 255, rtol=0)


def test_an_interrupted_apply_goes_on(runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = apply(runs["noisy"], ApplyJob(input=runs["synthetic"], out=tmp_path / "a", batch_size=2, **CPU), quiet=True)
    job = ApplyJob(input=runs["synthetic"], out=tmp_path / "b", batch_size=2, **CPU)
    calls = []
    predict = SimGAN.predict

    def dying(self: SimGAN, batch: Any) -> Any:
        calls.append(len(batch["image"]))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return predict(self, batch)

    monkeypatch.setattr(SimGAN, "predict", dying)
    with pytest.raises(KeyboardInterrupt):
        apply(runs["noisy"], job, quiet=True)
    with pytest.raises(UserError, match="not finished"):
        ImageFolder(tmp_path / "b")
    apply(runs["noisy"], job, quiet=True)
    assert sum(calls[3:]) < 7  # what was done is not done again
    ours, theirs = tree(tmp_path / "b"), tree(whole)
    assert ours.keys() == theirs.keys()
    assert all(ours[name] == theirs[name] for name in ours if name.endswith(".png"))


def test_variants_share_labels_and_differ(runs: dict[str, Path], tmp_path: Path) -> None:
    job = ApplyJob(input=runs["synthetic"], out=tmp_path / "out", variants=3, seed=5, **CPU)
    out = apply(runs["noisy"], job, quiet=True)
    made = rows(out)
    assert len(made) == 21
    assert made[0]["gaze_pitch"] == made[2]["gaze_pitch"] == rows(runs["synthetic"])[0]["gaze_pitch"]
    assert [row["file_name"] for row in made[:3]] == ["000_0.png", "000_1.png", "000_2.png"]
    assert len({(out / row["file_name"]).read_bytes() for row in made[:3]}) == 3
    with pytest.raises(UserError, match="noise-channels"):
        apply(runs["plain"], replace(job, out=tmp_path / "other"), quiet=True)


def test_numbers_become_columns(runs: dict[str, Path], tmp_path: Path) -> None:
    out = apply(runs["gaze"], ApplyJob(input=runs["synthetic"], out=tmp_path / "out", **CPU), quiet=True)
    for row, old in zip(rows(out), rows(runs["synthetic"]), strict=True):
        assert {key: row[key] for key in old} == old
        assert {"predicted_gaze_pitch", "predicted_gaze_yaw"} == set(row) - set(old)
        assert np.isfinite([row["predicted_gaze_pitch"], row["predicted_gaze_yaw"]]).all()


def test_other_sizes_and_channels_are_brought_to_the_models(runs: dict[str, Path], image_folder: Callable[..., Path],
                                                            tmp_path: Path) -> None:
    odd = image_folder("odd", 3, (37, 61), channels=3)
    out = apply(runs["plain"], ApplyJob(input=odd, out=tmp_path / "out", **CPU), quiet=True)
    assert ImageFolder(out).shape == (1, 24, 40)


def test_another_run_does_not_go_on_with_the_folder(runs: dict[str, Path], tmp_path: Path) -> None:
    job = ApplyJob(input=runs["synthetic"], out=tmp_path / "out", **CPU)
    apply(runs["plain"], job, quiet=True)
    with pytest.raises(UserError, match="made with another"):
        apply(runs["noisy"], job, quiet=True)
    with pytest.raises(UserError, match="made with another"):
        apply(runs["plain"], replace(job, input=runs["real"]), quiet=True)


def test_the_average_is_what_is_applied(runs: dict[str, Path], tmp_path: Path) -> None:
    from migaki.core.trained import load_system

    system = load_system(runs["plain"])
    out = apply(runs["plain"], ApplyJob(input=runs["synthetic"], out=tmp_path / "out", **CPU), quiet=True)
    image = ImageFolder(runs["synthetic"]).read([0], ("image",))
    with torch.inference_mode():
        expected = system.predict(image)["refined"]
    found = ImageFolder(out).read([0], ("image",))["image"]
    torch.testing.assert_close(found, expected, atol=1.01 / 255, rtol=0)
