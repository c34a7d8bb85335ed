"""The camera refiner in use: matching, variants, folders, what it warns of, and that labels stay."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.data.folder import ImageFolder
from migaki.nets.camera import uniform_of
from migaki.nets.looks_bank import LooksBank
from migaki.ops.appearance import mean_deviation
from migaki.stages.apply import apply
from migaki.stages.apply_job import ApplyJob
from migaki.stages.train import train
from migaki.systems.camera_refiner import CameraRefiner, clipped
from migaki.systems.classifier import Classifier

DRAW = torch.Generator().manual_seed(4)


def tiny(**changes: Any) -> tuple[CameraRefiner, dict[str, Tensor]]:
    config, batch = CameraRefiner.tiny()
    torch.manual_seed(0)
    return CameraRefiner(replace(config, **changes)), batch


def latents(system: CameraRefiner, count: int) -> dict[str, Tensor]:
    return {key: torch.randn(count, *shape, generator=DRAW) for key, shape in system.drawn().items()}


def test_the_bank_keeps_the_last_photographs() -> None:
    bank = LooksBank(5, 1)
    photos = torch.rand(12, 1, 8, 8, generator=DRAW)
    for step in range(4):
        bank.add(photos[3 * step : 3 * step + 3], step)
        assert int(bank.count) == min(5, 3 * step + 3)
    kept = {round(value, 5) for value in bank.means[:, 0].tolist()}
    assert kept == {round(value, 5) for value in photos[-5:].mean((1, 2, 3)).tolist()}


def test_a_drawn_photograph_gives_mean_and_deviation() -> None:
    bank = LooksBank(4, 3)
    images = torch.rand(5, 3, 16, 16, generator=DRAW)
    assert torch.equal(bank.match_drawn(images, torch.rand(5)), images)  # none is known yet
    photos = 0.4 + 0.1 * torch.rand(3, 3, 16, 16, generator=DRAW)
    bank.add(photos, 0)
    matched = bank.match_drawn(images, torch.tensor([0.0, 0.32, 0.34, 0.99, 1.0]))
    for found, wanted in zip(mean_deviation(matched), mean_deviation(photos), strict=True):
        torch.testing.assert_close(found, wanted[[0, 0, 1, 2, 2]], atol=1e-4, rtol=0)
    shares = uniform_of(torch.randn(4000, generator=DRAW))
    assert np.histogram(shares.numpy(), 4, (0, 1))[0].tolist() == pytest.approx([1000] * 4, abs=120)


def test_blank_photographs_are_passed_over() -> None:
    bank, images = LooksBank(4, 1), torch.rand(3, 1, 16, 16, generator=DRAW)
    photos = torch.rand(3, 1, 16, 16, generator=DRAW) / 2
    photos[0] = 0.3
    matched = bank.match(images, *bank.looks(photos))
    torch.testing.assert_close(mean_deviation(matched)[0][0], mean_deviation(photos)[0][1], atol=1e-3, rtol=0)
    assert torch.equal(bank.match(images, *bank.looks(photos[:1].expand(3, -1, -1, -1))), images)
    bank.add(photos[:1], 0)
    assert torch.equal(bank.match_drawn(images, torch.zeros(3)), images)


def test_other_draws_give_other_pictures_and_the_same_the_same() -> None:
    system, batch = tiny(learning_rate=1e-2)
    for step in range(6):
        system.update(batch, step)
    system.eval()
    one, other = latents(system, 4), latents(system, 4)
    first = system.predict({"image": batch["image"]} | one)["refined"]
    assert torch.equal(first, system.predict({"image": batch["image"]} | one)["refined"])
    for key in one:
        changed = system.predict({"image": batch["image"]} | one | {key: other[key]})["refined"]
        assert not torch.equal(changed, first), key


def test_the_average_is_what_is_used() -> None:
    system, batch = tiny(ema=0.9, match=False, learning_rate=1e-2)
    system.update(batch, 0)
    system.update(batch, 1)
    assert system.average is not None
    drawn = latents(system, 4)
    expected = system.average(batch["image"], drawn["latent"][:, 1:], drawn["noise"]).clamp(0, 1)
    torch.testing.assert_close(system.predict({"image": batch["image"]} | drawn)["refined"], expected)
    last = tiny(ema=0.0, match=False)[0]
    assert last.average is None and last.predict(batch)["refined"].shape == batch["image"].shape


def test_clipping_passes_the_gradient_of_saturated_pixels() -> None:
    images = torch.tensor([-0.5, 0.3, 1.7], requires_grad=True)
    found = clipped(images)
    (slope,) = torch.autograd.grad(found.sum(), images)
    assert found.tolist() == pytest.approx([0, 0.3, 1]) and slope.tolist() == [1, 1, 1]


def test_it_learns_blur_and_darkness_of_photographs() -> None:
    """Sharp bright squares towards soft dark ones: distance falls, and so does what is too bright."""
    squares = torch.full((16, 1, 24, 24), 0.3)
    for row, (y, x) in enumerate(torch.randint(2, 12, (16, 2), generator=DRAW).tolist()):
        squares[row, :, y : y + 9, x : x + 9] = 0.9
    photos = torch.nn.functional.avg_pool2d(squares.roll(1, 0), 5, 1, 2, count_include_pad=False) * 0.6
    config = CameraRefiner.Config(channels=1, height=24, width=24, steps=80, batch_size=16, features=32, match=False,
                                  discriminator_features=4, ema=0.0, learning_rate=1e-2, photographs=16)
    torch.manual_seed(0)
    system = CameraRefiner(config).train()
    scalars = [system.update({"image": squares, "real": photos}, step) for step in range(80)]
    last = scalars[-1]
    assert float(last["camera/statistics"]) < 0.5 * float(last["camera/statistics_before"])
    refined = system.predict({"image": squares} | latents(system, 16))["refined"].detach()
    assert float((refined.mean() - photos.mean()).abs()) < 0.3 * float(squares.mean() - photos.mean())
    steep = [float((pictures[..., 1:] - pictures[..., :-1]).abs().amax()) for pictures in (squares, refined, photos)]
    assert steep[1] < 0.6 * steep[0]


# ------------------------------------------------------------------------------------------------ watch

FINE = {"camera/change": 0.05, "camera/statistics": 0.3, "camera/statistics_before": 0.9, "grain/refined": -8.0,
        "grain/photos": -8.0, "camera/skipped": 0.0, "discriminator/skipped": 0.0}


@pytest.mark.parametrize(("changes", "text"), [
    ({}, ""), ({"camera/change": 0.003}, "is the identity"), ({"camera/statistics": 1.0}, "further from photographs"),
    ({"grain/refined": -7.2}, "more grain"), ({"grain/refined": -7.4}, ""), ({"drift/percent": 6.0}, "drift by"),
    ({"drift/percent": 4.0}, ""), ({"drift/px": 1.1}, "1 px"), ({"drift/deg": 1.1}, "1 deg"),
    ({"drift/std": 0.3}, "0.2 std"), ({"camera/skipped": 0.1}, "not finite"),
])
def test_each_warning_has_its_cause(changes: dict[str, float], text: str) -> None:
    system = tiny(steps=300)[0]
    said = system.watch(FINE | changes, 250)
    assert len(said) == bool(text) and all(text in line for line in said)
    assert len(system.watch(FINE | changes, 20)) == int("camera/skipped" in changes)  # too early to judge


def test_the_estimators_drift_is_measured_and_left_alone() -> None:
    system, batch = tiny(match=False)
    torch.manual_seed(1)
    estimator = Classifier(replace(Classifier.tiny()[0], channels=3, height=16, width=18))
    before = {key: value.clone() for key, value in estimator.state_dict().items()}
    system.readings.add(estimator)
    system.train()
    assert not estimator.training
    told = [system.update(batch, step) for step in range(3)][-1]
    assert 0 <= float(told["drift/percent"]) <= 100
    assert all(torch.equal(value, before[key]) for key, value in estimator.state_dict().items())


def test_the_smallest_pictures_are_learned_from() -> None:
    system = tiny(channels=1, height=8, width=9, jpeg=False)[0]
    batch = {key: torch.rand(4, 1, 8, 9, generator=DRAW) for key in ("image", "real")}
    told = [system.update(batch, step) for step in range(4)][-1]
    assert all(torch.isfinite(value) for value in told.values())
    assert system.predict(batch)["refined"].shape == (4, 1, 8, 9)


# ------------------------------------------------------------------------------------------------ folders


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    dice = np.random.default_rng(0)
    rows = []
    for name, size, count in (("synthetic", 20, 12), ("photos", 30, 10)):
        (tmp_path / name).mkdir()
        for number in range(count):
            pixels = dice.integers(0, 255, (size, size, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
            if name == "synthetic":
                rows.append({"file_name": f"{number}.png", "label": number % 3, "boxes": [[1, 2, 3.5, 4]]})
    (tmp_path / "synthetic" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def learned(folders: Path, **changes: Any) -> Path:
    data = CameraRefiner.Data(synthetic=folders / "synthetic", real=folders / "photos")
    config = replace(CameraRefiner.tiny()[0], height=0, width=0, channels=0, steps=3, **changes)
    train(CameraRefiner, data, config, Run(sample_every=2, device="cpu", precision="fp32"), folders / "run", quiet=True)
    return folders / "run"


def test_from_folders_to_variants_whose_labels_stay(folders: Path) -> None:
    run = learned(folders)
    apply(run, ApplyJob(input=folders / "synthetic", out=folders / "out", variants=2, device="cpu", precision="fp32"),
          quiet=True)
    made = ImageFolder(folders / "out")
    assert len(made) == 24 and made.shape == (3, 20, 20)
    for row in made.rows:
        assert row["boxes"] == [[1, 2, 3.5, 4]] and row["label"] in (0, 1, 2)
    first, second = made.decode(0), made.decode(1)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(("changes", "text"), [
    ({"channels": 2}, "--channels 3"), ({"height": 7, "width": 12}, "too small"), ({"latent": 0}, "--latent"),
    ({"photographs": 2}, "--photographs"),
])
def test_what_does_not_fit_is_named(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=text):
        tiny(**changes)


def test_photographs_given_as_synthetic_are_refused(folders: Path) -> None:
    (folders / "photos" / "dataset.json").write_text(json.dumps({"simulator": "signs"}))
    with pytest.raises(UserError, match="swap the two"):
        learned(folders)
    (folders / "photos" / "0.png").write_bytes(b"no picture")
    (folders / "photos" / "dataset.json").unlink()
    with pytest.raises(UserError, match=r"0\.png"):
        learned(folders)
