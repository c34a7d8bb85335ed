"""SimGAN starts from pictures in the looks of photographs, and several estimators hold its labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from simgan_rounds import Spy, plain, round_of
from torch import Tensor

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.core.trained import load_system
from migaki.data.folder import ImageFolder
from migaki.losses.consistency import relative_drift
from migaki.nets.looks_bank import LooksBank
from migaki.ops.appearance import mean_deviation
from migaki.stages.apply import ApplyJob, apply
from migaki.stages.train import train
from migaki.systems.simgan import SimGAN

RUN = Run(sample_every=2, device="cpu", precision="fp32", log_every=1)


def photos_of(count: int) -> Tensor:
    """Photographs of low contrast, each of another brightness."""
    level = torch.linspace(0.3, 0.7, count).view(-1, 1, 1, 1)
    return level + 0.1 * (torch.rand(count, 1, 12, 16) - 0.5)


def test_pictures_take_the_looks_of_a_steps_photographs_by_turns() -> None:
    bank, photos, images = LooksBank(3, 1), photos_of(2), torch.rand(5, 1, 12, 16)
    found = mean_deviation(bank.visit(images, photos, 0))
    for value, wanted in zip(found, mean_deviation(photos), strict=True):
        torch.testing.assert_close(value, wanted[[0, 1, 0, 1, 0]], atol=1e-4, rtol=0)
    assert int(bank.count) == 2
    bank.visit(images, photos_of(7), 1)  # more than it holds
    assert int(bank.count) == 3 and bank.means.min() > 0


def test_the_refiner_is_given_matched_pictures_and_kept_near_them() -> None:
    system = plain(match=True, history=0, shortcut=True)
    refiner = Spy(system.refiner)
    batch = round_of(system) | {"real": photos_of(4)}
    scalars = system.update(batch, 3)
    given = torch.cat(refiner.seen)
    expected = LooksBank(4, 1).visit(batch["image"], batch["real"], 0) * 2 - 1
    torch.testing.assert_close(given, expected)
    assert float(scalars["refiner/change"]) < 1e-3 < float((given - batch["image"] * 2 + 1).abs().mean())
    again = Spy(system.refiner)
    system.update(batch | {"real": batch["real"].flip(0)}, 4)
    assert not torch.equal(again.seen[0], refiner.seen[0])  # another photograph at the next visit


def test_use_draws_a_stored_photograph_from_the_row() -> None:
    system = plain(match=True, shortcut=True)
    batch = round_of(system) | {"real": photos_of(4)}
    image = batch["image"][:4]
    torch.testing.assert_close(system.predict({"image": image})["refined"], image, atol=1e-5, rtol=0)  # none is known
    system.update(batch, 0)
    assert system.drawn() == {"partner": (1,)} and plain().drawn() == {}
    found = system.predict({"image": image, "partner": torch.tensor([[-9.0], [-0.3], [0.3], [9.0]])})["refined"]
    torch.testing.assert_close(mean_deviation(found)[0], mean_deviation(photos_of(4))[0], atol=0.02, rtol=0)
    middle = system.predict({"image": image})["refined"]
    assert torch.equal(middle, system.predict({"image": image, "partner": torch.zeros(4, 1)})["refined"])


def test_matching_is_exact_under_bf16() -> None:
    system, twin = plain(match=True), plain(match=True)
    batch = round_of(system) | {"real": photos_of(4)}
    spies = Spy(system.refiner), Spy(twin.refiner)
    system.update(batch, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        twin.update(batch, 3)
    assert spies[1].seen[0].dtype == torch.float32 and torch.equal(spies[0].seen[0], spies[1].seen[0])


# ------------------------------------------------------------------------------------------------ readings


class Brightness(torch.nn.Module):
    """An estimator that reads the mean of an image, times a factor, as its gaze."""

    inputs, hints, shape, config = ("image",), (), None, None

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor

    def predict(self, batch: Batch) -> Batch:
        """(B, 2)"""
        mean = batch["image"].mean((1, 2, 3))
        return {"gaze": self.factor * torch.stack([mean, mean.square()], 1)}

    def metric(self) -> None:
        """None"""
        return None


def test_drift_is_that_of_the_refiner_and_not_of_matching() -> None:
    system = plain(match=True, shortcut=True, consistency=1.0)  # the identity
    system.readings.add(Brightness())  # type: ignore[arg-type]
    batch = round_of(system) | {"real": photos_of(4) / 3}
    scalars = system.update(batch, 3)
    assert float(scalars["refiner/label_drift"]) < 1e-6 and float(scalars["drift/deg"]) < 1e-3


def test_several_estimators_count_alike() -> None:
    system = plain(shortcut=False, consistency=1.0)
    for factor in (1.0, 3.0):
        system.readings.add(Brightness(factor))  # type: ignore[arg-type]
    images = torch.rand(4, 1, 12, 16)
    with torch.no_grad():
        refined = system.refine(images * 2 - 1)
    scalars = system._refiner_step(images * 2 - 1, adversarial=True)
    drifts, degrees = [], []
    for meter in system.readings.meters:
        before, after = (meter.estimator.predict({"image": x}) for x in (images, (refined + 1) / 2))
        drifts.append(relative_drift(after["gaze"], before["gaze"]))
        degrees.append(meter.away("gaze", after["gaze"], before["gaze"]).mean())
    assert degrees[1] > 2 * degrees[0]
    torch.testing.assert_close(scalars["refiner/label_drift"], torch.stack(drifts).mean())
    torch.testing.assert_close(scalars["drift/deg"], torch.stack(degrees).mean())


def test_a_label_holds_the_estimators_that_predict_it() -> None:
    system = plain(shortcut=False, consistency=1.0)
    system.readings.add(Brightness())  # type: ignore[arg-type]
    images, truth = torch.rand(4, 1, 12, 16) * 2 - 1, torch.rand(4, 2)
    before, after = system.readings.around((images + 1) / 2, (images.flip(2) / 2 + 1) / 2, learn=True)
    wanted = relative_drift(after[0]["gaze"], truth)
    torch.testing.assert_close(system.readings.drift(after, before, {"gaze": truth}), wanted)
    torch.testing.assert_close(system.readings.drift(after, before, {"label": truth}),
                               relative_drift(after[0]["gaze"], before[0]["gaze"]))


# ------------------------------------------------------------------------------------------------ folders


def pictures(folder: Path, mode: str, count: int = 6) -> Path:
    folder.mkdir()
    dice = np.random.default_rng(len(mode))
    for number in range(count):
        pixels = dice.integers(0, 255, (16, 20, len(mode))).astype(np.uint8).squeeze()
        Image.fromarray(pixels, mode).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize(("mode", "changes", "wanted"), [
    ("RGB", {}, True), ("L", {}, True), ("RGBA", {}, False), ("L", {"lost_readings": True, "noise_channels": 1}, False),
    ("RGB", {"match": False}, False),
])
def test_neither_depth_nor_alpha_is_matched(mode: str, changes: dict[str, Any], wanted: bool, tmp_path: Path) -> None:
    data = SimGAN.Data(synthetic=pictures(tmp_path / "a", mode), real=pictures(tmp_path / "b", mode))
    config, _ = SimGAN.open(data, replace(SimGAN.Config(), batch_size=2, **changes), 0)
    assert config.match == wanted and (SimGAN(config).bank is not None) == wanted


def test_the_papers_recipes_do_not_match() -> None:
    assert SimGAN.Config().match and not SimGAN.Config.paper().match and not SimGAN.Config.paper_hands().match


def test_from_folders_to_variants_in_other_looks(tmp_path: Path) -> None:
    data = SimGAN.Data(synthetic=pictures(tmp_path / "drawn", "RGB"), real=pictures(tmp_path / "photos", "RGB"))
    config = replace(SimGAN.tiny()[0], channels=0, height=0, width=0, steps=3, noise_channels=0, match=True)
    train(SimGAN, data, config, RUN, tmp_path / "run", quiet=True)
    system = load_system(tmp_path / "run")
    assert isinstance(system, SimGAN) and system.bank is not None and int(system.bank.count) == 12
    apply(tmp_path / "run", ApplyJob(input=data.synthetic, out=tmp_path / "out", variants=2, device="cpu",
                                     precision="fp32"), quiet=True)
    made = ImageFolder(tmp_path / "out")
    assert len(made) == 12 and not np.array_equal(made.decode(0), made.decode(1))


def test_further_estimators_need_a_first(image_folder: Callable[..., Path]) -> None:
    folder = image_folder("synthetic")
    data = SimGAN.Data(synthetic=folder, real=folder, further_estimators=(folder,))
    with pytest.raises(UserError, match="--estimator"):
        SimGAN.open(data, SimGAN.Config(), 0)
