"""SimGAN in use: what predicts, every option, the label consistency, the folders it opens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from simgan_rounds import changed, plain, round_of, weights

from migaki.core.errors import UserError
from migaki.losses.consistency import label_drift
from migaki.systems import simgan
from migaki.systems.gaze import Gaze
from migaki.systems.simgan import SimGAN

# ------------------------------------------------------------------------------------------------ use


def test_the_average_follows_and_is_what_is_used() -> None:
    system = plain(ema=0.9)
    assert system.average is not None
    batch = round_of(system)
    before = weights(system.average)
    system.update(batch, 3)
    for old, new, target in zip(before, system.average.parameters(), system.refiner.parameters(), strict=True):
        torch.testing.assert_close(new, 4 / 13 * old + 9 / 13 * target)  # its memory is short at first
    images = batch["image"]
    expected = ((system.average(images * 2 - 1) + 1) / 2).clamp(0, 1)
    torch.testing.assert_close(system.predict({"image": images})["refined"], expected)
    last = plain(ema=0.0)
    assert last.average is None
    last.update(batch, 3)
    torch.testing.assert_close(last.predict({"image": images})["refined"],
                               ((last.refiner(images * 2 - 1) + 1) / 2).clamp(0, 1))


def test_noise_gives_variants_and_none_gives_the_same() -> None:
    system = plain(noise_channels=2, lambda_reg=0.0, learning_rate=1e-2)
    for step in range(5):
        system.update(round_of(system), step)
    images = torch.rand(2, 1, 12, 16)
    still = [system.predict({"image": images})["refined"] for _ in range(2)]
    assert torch.equal(*still)
    noisy = system.predict({"image": images, "noise": torch.randn(2, 2, 12, 16)})["refined"]
    assert not torch.equal(noisy, still[0])


def test_variety_makes_variants_differ_as_much_as_asked() -> None:
    spread = {}
    for variety in (0.0, 0.03, 0.06):
        system = plain(noise_channels=2, learning_rate=1e-3, variety=variety, steps=400, ema=0.0)
        batch = round_of(system)
        for step in range(60):  # noise starts silent, so the term overshoots before it rests
            told = system.update(batch, step)
        assert ("refiner/variety" in told) == (variety > 0)
        image = batch["image"][:1].expand(32, -1, -1, -1)
        with torch.no_grad():
            refined = system.predict({"image": image, "noise": torch.randn(32, 2, 12, 16)})["refined"]
        spread[variety] = float((refined[:16] - refined[16:]).abs().mean())
    assert spread[0.0] < 0.005 < 0.02 < spread[0.03] < 0.05 < spread[0.06] < 0.09
    with pytest.raises(UserError, match="--noise-channels"):
        plain(variety=0.1)


@pytest.mark.parametrize("size", [(37, 61), (8, 8), (35, 55)])
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("scale", [1, 2])
def test_odd_sizes_and_many_channels(size: tuple[int, int], channels: int, scale: int) -> None:
    system = plain(height=size[0], width=size[1], channels=channels, scale=scale, augment=True, instance_noise=0.1)
    batch = round_of(system)
    for step in range(3):
        assert all(torch.isfinite(v) for v in system.update(batch, step).values())
    assert system.predict(batch)["refined"].shape == batch["image"].shape
    assert len(system.sheet(batch)) >= 3


@pytest.mark.parametrize("changes", [
    {"is_global": True}, {"spectral": True}, {"layout": "hands", "height": 40, "width": 40}, {"psi": "features"},
    {"psi": "gradients"}, {"psi": "channel_mean"}, {"optimizer": "sgd"}, {"max_norm": 0.0}, {"r1": 1.0}, {"history": 1},
    {"batch_size": 1, "history": 4}, {"num_refiner_steps": 3}, {"discriminator_width": 0.01},
])
def test_every_option_trains(changes: dict[str, Any]) -> None:
    system = plain(**changes)
    before = weights(system.refiner), weights(system.discriminator)
    for step in range(3):
        scalars = system.update(round_of(system), step)
        assert all(torch.isfinite(v) for v in scalars.values())
        assert scalars["refiner/skipped"] == scalars["discriminator/skipped"] == 0
    assert changed(system.refiner, before[0]) and changed(system.discriminator, before[1])


def test_psi_of_features_sees_what_the_first_layer_sees_and_does_not_teach_it() -> None:
    system = plain(psi="features", refiner_pretraining=5)
    images = torch.rand(2, 1, 12, 16)
    torch.testing.assert_close(system.psi(images, system.discriminator),
                               system.discriminator.first_features(images))
    before = weights(system.discriminator)
    system.update(round_of(system), 0)
    assert not changed(system.discriminator, before)


def test_the_published_recipe() -> None:
    eyes, hands = SimGAN.Config.paper(), SimGAN.Config.paper_hands()
    assert (eyes.num_refiner_steps, eyes.num_discriminator_steps, eyes.refiner_pretraining,
            eyes.discriminator_pretraining) == (50, 1, 1000, 200)
    assert (hands.num_refiner_steps, hands.refiner_pretraining, hands.discriminator_pretraining, hands.blocks,
            hands.first_kernel, hands.layout) == (2, 500, 200, 10, 7, "hands")
    for config in (eyes, hands):
        assert (config.features, config.shortcut, config.scale, config.augment, config.noise_channels, config.ema,
                config.instance_noise, config.discriminator_width, config.spectral, config.is_global,
                config.learning_rate) == (64, False, 1, False, 0, 0.0, 0.0, 1.0, False, False, 0.001)
        assert config.history > 0 and config.psi == "identity"


def test_wrong_configurations_are_refused() -> None:
    with pytest.raises(UserError, match="too small"):
        plain(height=7)
    with pytest.raises(UserError, match="positive"):
        plain(channels=0)


# ------------------------------------------------------------------------------------------------ label consistency


def test_the_estimator_holds_labels_and_does_not_learn() -> None:
    config, _ = Gaze.tiny()
    system = plain(height=24, width=40, consistency=50.0, lambda_reg=0.0, learning_rate=3e-3)
    estimator = Gaze(config)
    system.readings.add(estimator)
    system.train()
    assert not estimator.training
    before = {key: value.clone() for key, value in estimator.state_dict().items()}
    batch = round_of(system)
    drifts = [float(system.update(batch, step)["refiner/label_drift"]) for step in range(15)]
    assert all(torch.equal(value, before[key]) for key, value in estimator.state_dict().items())
    free = plain(height=24, width=40, consistency=0.0, lambda_reg=0.0, learning_rate=3e-3)
    for step in range(15):
        free.update(batch, step)
    free.readings.add(estimator)
    images = batch["image"][:4] * 2 - 1
    with torch.no_grad():
        (before,), (after,) = free.readings.around((images + 1) / 2, (free.refine(images) + 1) / 2, learn=False)
        assert drifts[-1] < float(label_drift(after, before))
    assert system.config.consistency > 0 and not any(
        key.startswith("readings.") for key in simgan.SimGAN(replace(system.config, consistency=0.0)).state_dict())


# ------------------------------------------------------------------------------------------------ folders


def test_folders_of_different_sizes_and_counts(image_folder: Callable[..., Path]) -> None:
    synthetic = image_folder("synthetic", 5, (24, 40))
    real = image_folder("real", 3, (37, 61), real=True, labels=())
    config = replace(SimGAN.tiny()[0], channels=0, height=0, width=0, batch_size=4, num_refiner_steps=2,
                     num_discriminator_steps=1)
    config, source = SimGAN.open(SimGAN.Data(synthetic=synthetic, real=real), config, seed=1)
    assert (config.channels, config.height, config.width) == (1, 24, 40)
    batches = [source.batch(step) for step in range(5)]
    for batch in batches:
        assert batch["image"].shape == (12, 1, 24, 40) and batch["real"].shape == (4, 1, 24, 40)
        assert set(batch) == {"image", "real"}
    assert not torch.equal(batches[0]["image"][:4], batches[0]["image"][4:8])  # each descent has its own
    assert torch.equal(source.batch(3)["image"], batches[3]["image"])
    # Every image of the small folder is met equally often.
    seen = torch.cat([batch["real"] for batch in batches[:3]]).flatten(1)
    assert len(seen.unique(dim=0)) == 3 and len(seen) == 12
    SimGAN(config).update(batches[0], 3)


def test_consistency_is_on_where_an_estimator_is_given(image_folder: Callable[..., Path]) -> None:
    folder = image_folder("synthetic")
    without, _ = SimGAN.open(SimGAN.Data(synthetic=folder, real=folder), SimGAN.Config(consistency=1.0), seed=0)
    with_one, _ = SimGAN.open(
        SimGAN.Data(synthetic=folder, real=folder, estimator=folder), SimGAN.Config(consistency=1.0), seed=0)
    assert (without.consistency, with_one.consistency) == (0.0, 1.0)
