"""SimGAN's warnings: they come for each fault of a training, and not otherwise."""

from __future__ import annotations

import pytest
import torch
from simgan_rounds import changed, plain, round_of, weights
from torch import Tensor, nn

from migaki.systems.simgan import SimGAN


def words(system: SimGAN, scalars: dict[str, Tensor], step: int = 10_000) -> str:
    return " ".join(system.watch({key: float(value) for key, value in scalars.items()}, step))


def test_watchman_identity() -> None:
    """A weight of the self-regularisation that leaves no room: the refiner learns the identity."""
    system = plain(shortcut=True, lambda_reg=1e4, max_norm=1.0, learning_rate=1e-5)
    for step in range(5):
        scalars = system.update(round_of(system), step)
    assert "is the identity" in words(system, scalars)


def test_watchman_all_rounds_beforehand() -> None:
    """Fewer rounds than pre-training takes: the refiner would stay as it began, and nothing would tell."""
    assert "are pre-training" in words(plain(steps=20, discriminator_pretraining=20), {})
    assert "are pre-training" not in words(plain(steps=21, discriminator_pretraining=20), {})


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
    for step in range(30):
        batch = round_of(system)
        batch = {key: 0.1 * value for key, value in batch.items()}
        batch["image"][..., 4:12, 4:12] += 0.8
        batch["real"][..., 12:20, 26:34] += 0.8
        scalars = system.update(batch, step)
        seen = int(system.layout.counts.min())
        assert ("differ in layout" in words(system, scalars)) == (seen >= 100)  # no alarm before there is evidence
    assert seen >= 100


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


def test_the_players_are_judged_by_the_rounds_they_have_played() -> None:
    """The paper's pre-trainings take 1,200 rounds: what is seen in the first rounds of play is no evidence yet."""
    sick = {"refiner/adversarial": 0.7, "refiner/change": 0.0, "refiner/diversity": 0.9, "drift/px": 9.0,
            "refiner/skipped": 0.0}
    system = plain(steps=2200, refiner_pretraining=1000, discriminator_pretraining=200, max_drift="1px")
    assert system.watch(sick, 1210) == system.watch(sick, 1499) == []
    assert len(system.watch(sick, 1500)) == 2
    assert "not finite" in " ".join(system.watch(sick | {"refiner/skipped": 0.05}, 20))  # a fact at any time


def test_no_watchman_cries_over_a_real_round() -> None:
    """Two sets of one kind with a change of looks between them, after a few honest rounds."""
    system = plain(batch_size=8, learning_rate=2e-3, history=8, height=24, width=40, lambda_reg=0.1, augment=True)
    torch.manual_seed(3)
    base = torch.nn.functional.interpolate(torch.rand(200, 1, 4, 6), (24, 40), mode="bilinear")
    for step in range(60):
        pick = torch.randint(0, 200, (24,))
        scalars = system.update({"image": base[pick[:16]], "real": 0.85 * base[pick[16:]] + 0.1}, step)
    assert words(system, scalars) == ""


def test_watchmen_of_looks_speak_in_a_run_and_are_silent_in_another() -> None:
    """A refiner that draws grain and a checkerboard on smooth pictures, among smooth photographs; one that does not."""
    torch.manual_seed(0)
    base = torch.nn.functional.interpolate(torch.rand(600, 1, 3, 4), (24, 32), mode="bilinear") * 0.6 + 0.2
    y, x = torch.meshgrid(torch.arange(24), torch.arange(32), indexing="ij")
    board = 0.1 * (1 - 2 * ((x + y) % 2)) + 0.1 * torch.randn(24, 32)
    for drawn in (0.0, 1.0):
        system = plain(height=24, width=32, batch_size=16, shortcut=True, ema=0.0)
        refine = system.refiner.forward
        system.refiner.forward = lambda *given, refine=refine, drawn=drawn: refine(*given) + drawn * board
        for step in range(41):
            pick = torch.randint(0, 300, (48,))
            scalars = system.update({"image": base[pick[:32]], "real": base[300 + pick[32:]]}, step)
        said = words(system, {key: value for key, value in scalars.items() if key.startswith(LOOKS)} | QUIET)
        for text in ("draws grain", "checkerboard", "easier to tell"):
            assert (text in said) == bool(drawn), (text, said)


LOOKS = ("grain/", "checkerboard/", "apart/", "told/")
QUIET = {"refiner/skipped": torch.zeros(())}
