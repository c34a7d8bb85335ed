"""SimGAN: each test is a way in which a public implementation went wrong (or ours could)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.fit import Run, fit
from migaki.core.system import descend
from migaki.losses.adversarial import patch_accuracy, patch_cross_entropy
from migaki.losses.consistency import label_drift
from migaki.systems import simgan
from migaki.systems.gaze import Gaze
from migaki.systems.simgan import SimGAN

PLAIN: dict[str, Any] = {
    "augment": False, "instance_noise": 0.0, "r1": 0.0, "noise_channels": 0, "refiner_pretraining": 0,
    "discriminator_pretraining": 0, "optimizer": "adam", "learning_rate": 1e-3, "num_refiner_steps": 1,
    "num_discriminator_steps": 1, "lambda_reg": 1.0, "consistency": 0.0, "psi": "identity", "spectral": False,
}
"""Nothing but Algorithm 1, so that no default of ours decides a test."""


def plain(**changes: Any) -> SimGAN:
    """A tiny SimGAN of PLAIN with `changes`."""
    torch.manual_seed(0)
    return SimGAN(replace(SimGAN.tiny()[0], **{**PLAIN, **changes})).train()


def round_of(system: SimGAN, synthetic: float | None = None, real: float | None = None) -> Batch:
    """Images for one round, random or of one brightness."""
    config = system.config
    shape = (config.channels, config.height, config.width)
    count = config.num_refiner_steps + config.num_discriminator_steps
    image = torch.rand(config.batch_size * count, *shape)
    photos = torch.rand(config.batch_size * config.num_discriminator_steps, *shape)
    return {"image": image if synthetic is None else torch.full_like(image, synthetic) + 0.1 * image,
            "real": photos if real is None else torch.full_like(photos, real) + 0.1 * photos}


def weights(module: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def changed(module: nn.Module, before: list[Tensor]) -> bool:
    return any(not torch.equal(p, b) for p, b in zip(module.parameters(), before, strict=True))


class Spy:
    """What a module was given, call by call."""

    def __init__(self, module: nn.Module) -> None:
        self.seen: list[Tensor] = []
        module.register_forward_pre_hook(lambda _, inputs: self.seen.append(inputs[0].detach().clone()))


# ------------------------------------------------------------------------------------------------ the round


@pytest.mark.parametrize(("k_g", "k_d"), [(1, 1), (3, 1), (1, 2), (3, 2)])
def test_a_round_takes_k_g_then_k_d_descents(monkeypatch: pytest.MonkeyPatch, k_g: int, k_d: int) -> None:
    system = plain(num_refiner_steps=k_g, num_discriminator_steps=k_d)
    names = {id(optimizer): name for name, optimizer in system.optimizers.items()}
    taken: list[str] = []

    def counted(loss: Tensor, optimizer: torch.optim.Optimizer, max_norm: float = 0.0) -> Tensor:
        taken.append(names[id(optimizer)])
        return descend(loss, optimizer, max_norm)

    monkeypatch.setattr(simgan, "descend", counted)
    system.update(round_of(system), 3)
    assert taken == ["refiner"] * k_g + ["discriminator"] * k_d


def test_every_descent_of_a_round_has_its_own_images() -> None:
    system = plain(num_refiner_steps=2, num_discriminator_steps=2, history=0)
    refiner, discriminator = Spy(system.refiner), Spy(system.discriminator)
    batch = round_of(system)
    system.update(batch, 3)
    assert torch.equal(torch.cat(refiner.seen), batch["image"] * 2 - 1)
    # R, R, then (refined, real) twice
    assert torch.equal(torch.cat([discriminator.seen[3], discriminator.seen[5]]), batch["real"] * 2 - 1)


def test_pretraining_moves_first_the_refiner_then_the_discriminator() -> None:
    system = plain(refiner_pretraining=2, discriminator_pretraining=2)
    moved = []
    for step in range(5):
        refiner, discriminator = weights(system.refiner), weights(system.discriminator)
        spy = Spy(system.discriminator)
        scalars = system.update(round_of(system), step)
        moved.append((changed(system.refiner, refiner), changed(system.discriminator, discriminator)))
        if step < 2:
            assert not spy.seen and "refiner/adversarial" not in scalars
    assert moved == [(True, False)] * 2 + [(False, True)] * 2 + [(True, True)]


def test_pretraining_takes_the_plain_refiner_towards_the_identity() -> None:
    system = plain(shortcut=False, refiner_pretraining=100, learning_rate=3e-3)
    batch = round_of(system)
    terms = [float(system.update(batch, step)["refiner/self_regularisation"]) for step in range(60)]
    assert terms[-1] < 0.6 * terms[0]


def test_inside_images_lie_in_minus_one_to_one() -> None:
    """Inputs in [0, 1] against the tanh output would let D tell the sets apart at a glance."""
    system = plain(shortcut=True)
    refiner, discriminator = Spy(system.refiner), Spy(system.discriminator)
    batch = {key: (value > 0.5).float() for key, value in round_of(system).items()}
    system.update(batch, 3)
    for images in refiner.seen + discriminator.seen:
        assert images.min() == pytest.approx(-1, abs=0.05) and images.max() == pytest.approx(1, abs=0.05)
    made = system.predict(batch)["refined"]
    assert made.min() >= 0 and made.max() <= 1


# ------------------------------------------------------------------------------------------------ directions


def test_refiner_steps_lower_the_judgement_refined() -> None:
    system = plain(lambda_reg=0.0, learning_rate=3e-3)
    batch = round_of(system, 0.2, 0.7)
    for step in range(20):
        system._discriminator_step(batch["image"][4:] * 2 - 1, batch["real"] * 2 - 1, step)
    images = batch["image"] * 2 - 1
    frozen = weights(system.discriminator)

    def judged() -> float:
        with torch.no_grad():
            return float(system.discriminator(system.refine(images)).mean())

    before = judged()
    assert before > 0  # D says refined, and is right
    for _ in range(15):
        system._refiner_step(images, adversarial=True)
    assert judged() < before - 0.1 and not changed(system.discriminator, frozen)


def test_discriminator_steps_tell_the_sets_apart() -> None:
    system = plain(learning_rate=3e-3)
    batch = round_of(system, 0.1, 0.8)
    refiner = weights(system.refiner)
    scalars = [system._discriminator_step(batch["image"][:4] * 2 - 1, batch["real"] * 2 - 1, step)
               for step in range(40)]
    assert scalars[-1]["discriminator/accuracy_refined"] > 0.95 and scalars[-1]["discriminator/accuracy_real"] > 0.95
    assert scalars[-1]["discriminator/loss"] < 0.5 * scalars[0]["discriminator/loss"]
    assert not changed(system.refiner, refiner)
    with torch.no_grad():
        assert system.discriminator(system.refine(batch["image"] * 2 - 1)).mean() > 0
        assert system.discriminator(batch["real"] * 2 - 1).mean() < 0


def test_the_logged_terms_are_equations_2_and_4() -> None:
    system = plain(lambda_reg=0.7, history=0)
    images, photos = round_of(system)["image"][:4] * 2 - 1, round_of(system)["real"] * 2 - 1
    with torch.no_grad():
        refined = system.refine(images)
        fool = patch_cross_entropy(system.discriminator(refined), is_refined=False)
        fake, true = system.discriminator(refined), system.discriminator(photos)
    scalars = system._discriminator_step(images, photos, 3)
    torch.testing.assert_close(scalars["discriminator/loss"], patch_cross_entropy(fake, is_refined=True)
                               + patch_cross_entropy(true, is_refined=False))
    assert scalars["discriminator/accuracy_real"] == patch_accuracy(true, is_refined=False)
    assert scalars["discriminator/accuracy_refined"] == patch_accuracy(fake[:2], is_refined=True)
    fresh = plain(lambda_reg=0.7, history=0)
    found = fresh._refiner_step(images, adversarial=True)
    torch.testing.assert_close(found["refiner/adversarial"], fool)
    torch.testing.assert_close(found["refiner/self_regularisation"], (refined - images).abs().mean())


def test_lambda_weighs_the_second_term(monkeypatch: pytest.MonkeyPatch) -> None:
    losses: list[float] = []
    monkeypatch.setattr(simgan, "descend", lambda loss, *_: losses.append(float(loss.detach())) or torch.zeros(()))
    images = torch.rand(4, 1, 12, 16)
    found = []
    for weight in (0.0, 2.0):
        system = plain(lambda_reg=weight, shortcut=False)
        found.append(system._refiner_step(images, adversarial=True))
    keep = float(found[1]["refiner/self_regularisation"])
    assert losses[1] - losses[0] == pytest.approx(2 * keep, rel=1e-4) and keep > 0.01


# ------------------------------------------------------------------------------------------------ history


def test_the_discriminator_sees_half_history() -> None:
    system = plain(history=8, num_discriminator_steps=1)
    for step in range(2):
        system.update(round_of(system), step)
    assert float(system.history.fullness()) == 1.0
    stored = system.history.images.clone()
    refiner, discriminator = Spy(system.refiner), Spy(system.discriminator)
    system.update(round_of(system), 2)
    shown = discriminator.seen[1]  # after the R step's look
    with torch.no_grad():
        now = system.refine(refiner.seen[1])  # R does not move in the D step
    torch.testing.assert_close(shown[:2], now[:2])
    for image in shown[2:]:
        assert any(torch.equal(image, old) for old in stored)
    assert sum(not torch.equal(a, b) for a, b in zip(system.history.images, stored, strict=True)) == 2


def test_without_history_it_sees_the_current_images_only() -> None:
    system = plain(history=0)
    for step in range(3):
        refiner, discriminator = Spy(system.refiner), Spy(system.discriminator)
        system.update(round_of(system), step)
    with torch.no_grad():
        torch.testing.assert_close(discriminator.seen[1], system.refine(refiner.seen[1]))


def test_the_checkpoint_holds_the_buffer_and_the_model_does_not(tmp_path: Path) -> None:
    system = plain(steps=4, history=8)

    class Source:
        def batch(self, step: int) -> Batch:
            torch.manual_seed(step)
            return round_of(system)

    run = Run(device="cpu", precision="fp32", log_every=1, sample_every=0)
    fit(system, Source(), run, tmp_path / "run", quiet=True)
    state = torch.load(tmp_path / "run" / "checkpoint", weights_only=True)
    assert torch.equal(state["system"]["history.images"], system.history.images) and system.history.images.any()
    assert set(state["optimizers"]) == {"refiner", "discriminator"}
    assert b"history" not in (tmp_path / "run" / "model.safetensors").read_bytes()[:20000]


# ------------------------------------------------------------------------------------------------ use


def test_the_average_follows_and_is_what_is_used() -> None:
    system = plain(ema=0.9)
    assert system.average is not None
    batch = round_of(system)
    before = weights(system.average)
    system.update(batch, 3)
    for old, new, target in zip(before, system.average.parameters(), system.refiner.parameters(), strict=True):
        torch.testing.assert_close(new, 0.9 * old + 0.1 * target)
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
    torch.testing.assert_close(system.psi(images), system.discriminator.first_features(images))
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
    system.estimator = Gaze(config).eval().requires_grad_(False)
    system.train()
    assert not system.estimator.training
    before = {key: value.clone() for key, value in system.estimator.state_dict().items()}
    batch = round_of(system)
    drifts = [float(system.update(batch, step)["refiner/label_drift"]) for step in range(15)]
    assert all(torch.equal(value, before[key]) for key, value in system.estimator.state_dict().items())
    free = plain(height=24, width=40, consistency=0.0, lambda_reg=0.0, learning_rate=3e-3)
    for step in range(15):
        free.update(batch, step)
    free.estimator = system.estimator
    images = batch["image"][:4] * 2 - 1
    with torch.no_grad():
        before, after = free._readings(images, free.refine(images))
        assert drifts[-1] < float(label_drift(after, before))
    assert system.config.consistency > 0 and not any(
        key.startswith("estimator.") for key in simgan.SimGAN(replace(system.config, consistency=0.0)).state_dict())


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



# ------------------------------------------------------------------------------------------------ watchmen


def words(system: SimGAN, scalars: dict[str, Tensor], step: int = 10_000) -> str:
    return " ".join(system.watch({key: float(value) for key, value in scalars.items()}, step))


def test_watchman_identity() -> None:
    """A weight of the self-regularisation that leaves no room: the refiner learns the identity."""
    system = plain(shortcut=True, lambda_reg=1e4, max_norm=1.0, learning_rate=1e-5)
    for step in range(5):
        scalars = system.update(round_of(system), step)
    assert "is the identity" in words(system, scalars)


def test_watchman_collapse() -> None:
    """A refiner that paints one image whatever it is given."""
    system = plain(shortcut=False, discriminator_width=0.05)
    nn.init.zeros_(system.refiner.tail.weight)
    assert "has collapsed" in words(system, system.update(round_of(system), 3))


def test_watchman_discriminator_has_won() -> None:
    system = plain(learning_rate=3e-3, discriminator_pretraining=50, lambda_reg=1.0)
    for step in range(51):
        scalars = system.update(round_of(system, 0.1, 0.8), step)
    assert "discriminator has won" in words(system, scalars)


def test_watchman_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The append whose result is thrown away: the buffer never fills."""
    system = plain(history=8)
    monkeypatch.setattr(system.history, "mix", lambda refined, step: refined)
    assert "history buffer" in words(system, system.update(round_of(system), 200))
    stuck = plain(history=8)
    for step in range(2):
        stuck.update(round_of(stuck), step)
    monkeypatch.setattr(stuck.history, "mix", lambda refined, step: refined)
    assert "history buffer" in words(stuck, stuck.update(round_of(stuck), 200))


def test_watchman_layout() -> None:
    """Objects in other places: nothing that a change of looks could mend."""
    system = plain(height=24, width=40)
    for step in range(4):
        batch = round_of(system)
        batch = {key: 0.1 * value for key, value in batch.items()}
        batch["image"][..., 4:12, 4:12] += 0.8
        batch["real"][..., 12:20, 26:34] += 0.8
        scalars = system.update(batch, step)
    assert "differ in layout" in words(system, scalars)


def test_watchman_skipped() -> None:
    system = plain()
    batch = round_of(system)
    batch["real"][0, 0, 0, 0] = float("inf")
    before = weights(system.discriminator)
    scalars = system.update(batch, 3)
    assert scalars["discriminator/skipped"] == 1 and not changed(system.discriminator, before)
    assert "not finite" in words(system, scalars)


def test_watchmen_are_silent_when_all_is_well_and_before_it_began() -> None:
    healthy = {"refiner/adversarial": 0.7, "refiner/change": 0.06, "refiner/diversity": 0.9, "layout/gap": 0.3,
               "discriminator/accuracy_refined": 0.7, "discriminator/accuracy_real": 0.8, "history/age": 200.0,
               "refiner/skipped": 0.0, "discriminator/skipped": 0.0}
    system = plain(history=3200, batch_size=32)
    assert system.watch(healthy, 10_000) == []
    sick = {**healthy, "refiner/change": 0.0, "discriminator/accuracy_refined": 1.0, "discriminator/accuracy_real": 1.0}
    assert len(system.watch(sick, 10_000)) == 2
    young = plain(steps=3000)
    assert young.watch(sick, 1) == []


def test_no_watchman_cries_over_a_real_round() -> None:
    """Two sets of one kind with a change of looks between them, after a few honest rounds."""
    system = plain(batch_size=8, learning_rate=2e-3, history=8, height=24, width=40, lambda_reg=0.1, augment=True)
    torch.manual_seed(3)
    base = torch.nn.functional.interpolate(torch.rand(200, 1, 4, 6), (24, 40), mode="bilinear")
    for step in range(60):
        pick = torch.randint(0, 200, (24,))
        scalars = system.update({"image": base[pick[:16]], "real": 0.85 * base[pick[16:]] + 0.1}, step)
    assert words(system, scalars) == ""
