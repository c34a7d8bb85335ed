"""The refiner held to labels: the estimator must read the label off a refined image (`--hold label`)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toy_folders import write_folder

from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.stages.train import train
from migaki.systems.gaze import Gaze
from migaki.systems.simgan import SimGAN


def plain(**changes: float) -> SimGAN:
    """A tiny SimGAN whose only pull is the adversary's and the estimator's."""
    torch.manual_seed(0)
    config = replace(SimGAN.tiny()[0], augment=False, instance_noise=0.0, r1=0.0, noise_channels=0,
                     refiner_pretraining=0, discriminator_pretraining=0, **changes)  # type: ignore[arg-type]
    return SimGAN(config).train()


class Reader(torch.nn.Module):
    """An estimator that reads the mean of an image as its gaze."""

    inputs, hints, shape, config = ("image",), (), None, None

    def metric(self) -> None:
        return None

    def predict(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"gaze": batch["image"].mean((1, 2, 3))[:, None].expand(-1, 2)}


@pytest.mark.parametrize("is_held", [True, False])
def test_the_estimator_must_read_the_label_where_it_is_given(is_held: bool) -> None:
    """What an image is darkened by its reader must not undo; to what its label asks the refiner must move."""
    system = plain(lambda_reg=0.0, learning_rate=3e-3, consistency=50.0)
    system.readings.add(Reader())  # type: ignore[arg-type]
    draw = torch.Generator().manual_seed(1)
    images = torch.rand(8, 1, 12, 16, generator=draw) * torch.linspace(0.4, 1.0, 8).view(8, 1, 1, 1)
    reading = images.mean((1, 2, 3))
    wanted = (reading + 0.05)[:, None].expand(-1, 2).contiguous()
    for _ in range(60):
        system._refiner_step(images * 2 - 1, adversarial=True, truth={"gaze": wanted} if is_held else None)
    with torch.no_grad():
        moved = ((system.refine(images * 2 - 1) + 1) / 2).mean((1, 2, 3)) - reading
    assert abs(float(moved.mean()) - (0.05 if is_held else 0.0)) < 0.02


def test_a_round_brings_the_labels_that_the_estimator_reads(tmp_path: Path) -> None:
    folder, run = write_folder(tmp_path / "eyes", 12, (24, 40)), tmp_path / "cnn"
    write_folder(tmp_path / "photos", 12, (24, 40), labels=(), real=True)
    task = Gaze.Data(data=(folder,))
    train(Gaze, task, Gaze.Config(steps=1, batch_size=4, features=4), Run(sample_every=0), run, quiet=True)
    data = SimGAN.Data(synthetic=folder, real=tmp_path / "photos", estimator=run)
    _, source = SimGAN.open(data, SimGAN.Config(hold="label", batch_size=4), 0)
    batch = source.batch(0)
    assert set(batch) == {"image", "gaze", "real"} and batch["gaze"].shape == (8, 2)
    _, plainly = SimGAN.open(data, SimGAN.Config(batch_size=4), 0)
    assert set(plainly.batch(0)) == {"image", "real"} and torch.equal(plainly.batch(0)["image"], batch["image"])
    bare = write_folder(tmp_path / "bare", 12, (24, 40), labels=("label",))
    with pytest.raises(UserError, match="predicts no label"):
        SimGAN.open(replace(data, synthetic=bare), SimGAN.Config(hold="label", batch_size=4), 0)
