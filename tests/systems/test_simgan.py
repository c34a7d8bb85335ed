"""SimGAN's round: each test is a way in which a public implementation went wrong (or ours could)."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from simgan_rounds import Spy, changed, plain, round_of, weights
from torch import Tensor, nn

from migaki.core.batch import Batch
from migaki.core.fit import Run, fit
from migaki.core.system import descend
from migaki.losses.adversarial import patch_accuracy, patch_cross_entropy
from migaki.systems import simgan
from migaki.systems.simgan import SimGAN

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


def test_a_round_of_pretraining_is_one_descent() -> None:
    """The paper trains R for 1,000 steps beforehand, whatever K_g is, and D for 200."""
    system = plain(num_refiner_steps=3, num_discriminator_steps=2, refiner_pretraining=1, discriminator_pretraining=1,
                   history=0)
    refiner, discriminator = Spy(system.refiner), Spy(system.discriminator)
    found = []
    for step in range(3):
        refiner.seen.clear()
        discriminator.seen.clear()
        system.update(round_of(system), step)
        found.append((len(refiner.seen), len(discriminator.seen)))
    # D looks at refined and real images in a descent of its own, at refined ones in each of R's.
    assert found == [(1, 0), (1, 2), (3 + 2, 3 + 2 * 2)]


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


# ------------------------------------------------------------------------------------------------ the paper's preset


def test_the_papers_first_round_is_algorithm_1_with_plain_descent() -> None:
    """None of our terms, no matching, no average: R moves down eq. 4, then D down eq. 2 on what the new R makes."""
    config = replace(SimGAN.Config.paper(), channels=1, height=12, width=16, batch_size=4, features=8, blocks=1,
                     refiner_pretraining=0, discriminator_pretraining=0, num_refiner_steps=1, history=4,
                     learning_rate=0.1)
    torch.manual_seed(0)
    system = SimGAN(config).train()
    refiner, discriminator = copy.deepcopy(system.refiner), copy.deepcopy(system.discriminator)
    batch = {"image": torch.rand(8, 1, 12, 16), "real": torch.rand(4, 1, 12, 16)}
    (first, second), photos = (batch["image"] * 2 - 1).chunk(2), batch["real"] * 2 - 1
    system.update(batch, 0)
    refined = refiner(first)
    eq4 = torch.nn.functional.softplus(discriminator(refined)).mean() + (refined - first).abs().mean()
    stepped(refiner, eq4, system.refiner)
    with torch.no_grad():
        shown = system.refiner(second)
    eq2 = (torch.nn.functional.softplus(-discriminator(shown)).mean()
           + torch.nn.functional.softplus(discriminator(photos)).mean())
    stepped(discriminator, eq2, system.discriminator)
    assert system.average is None and system.bank is None


def stepped(before: nn.Module, loss: Tensor, after: nn.Module) -> None:
    """`after` is `before` moved down the gradient of the loss by a tenth of it."""
    slopes = torch.autograd.grad(loss, list(before.parameters()))
    for old, slope, new in zip(before.parameters(), slopes, after.parameters(), strict=True):
        torch.testing.assert_close(new, old - 0.1 * slope, atol=1e-6, rtol=1e-4)
