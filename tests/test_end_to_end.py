"""SimGAN on a toy whose answer is known: discs, and the same as a brighter, flatter, noisy camera sees them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_folders import disc, flatten

from migaki.core.fit import Run
from migaki.data.folder import ImageFolder
from migaki.metrics.distances import mmd_squared
from migaki.stages.apply import ApplyJob, apply
from migaki.stages.train import train
from migaki.systems.simgan import SimGAN

SIZE, COUNT = (16, 24), 64


@pytest.mark.slow
def test_refined_discs_look_like_the_photographs_and_stay_in_their_places(image_folder: Callable[..., Path],
                                                                          tmp_path: Path) -> None:
    synthetic = image_folder("synthetic", COUNT, SIZE, seed=1)
    real = image_folder("real", COUNT, SIZE, seed=2, real=True, labels=())  # other discs: nothing is paired
    config = replace(
        SimGAN.tiny()[0], channels=0, height=0, width=0, steps=260, batch_size=16, features=16, blocks=1, history=64,
        refiner_pretraining=0, discriminator_pretraining=20, noise_channels=0, r1=0.0, discriminator_width=0.25,
        num_refiner_steps=1, num_discriminator_steps=1, shortcut=True, scale=1, lambda_reg=0.05, psi="identity",
        learning_rate=2e-3, beta1=0.5, optimizer="adam", ema=0.95, augment=False, instance_noise=0.1, max_norm=10.0,
        match=False, layout="eyes", statistics=0.0, discriminator_rate=1.0,
    )
    run = Run(device="cpu", precision="fp32", sample_every=0, log_every=20)
    train(SimGAN, SimGAN.Data(synthetic=synthetic, real=real), config, run, tmp_path / "run", quiet=True)
    out = apply(tmp_path / "run", ApplyJob(input=synthetic, out=tmp_path / "refined", device="cpu", precision="fp32"),
                quiet=True)
    before, after, photos = (ImageFolder(p).read(range(COUNT), ("image",))["image"] for p in (synthetic, out, real))
    answer = torch.from_numpy(np.stack([flatten(disc(n, SIZE, 1, 1)[0]) for n in range(COUNT)])).permute(0, 3, 1, 2)

    def gap(images: torch.Tensor) -> float:
        return float((images - answer).abs().mean())

    def distance(images: torch.Tensor) -> float:
        return mmd_squared(photos.flatten(1).numpy(), images.flatten(1).numpy())

    # Nearer to the photographs as a set, and image by image to the answer, which the training never saw.
    assert abs(after.mean() - photos.mean()) < 0.4 * abs(before.mean() - photos.mean())
    assert gap(after) < 0.5 * gap(before)
    assert distance(after) < 0.5 * distance(before)
    # The label is true still: the disc is where it was.
    for old, new in zip(before[:, 0], after[:, 0], strict=True):
        assert np.corrcoef(old.flatten(), new.flatten())[0, 1] > 0.8
