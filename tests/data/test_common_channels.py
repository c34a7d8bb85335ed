"""Rendered pictures with alpha against photographs without: the alpha is no look that could be learned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from migaki.core.fit import Run
from migaki.data.batches.task_source import open_labelled
from migaki.data.folder import ImageFolder
from migaki.stages.apply import ApplyJob, apply
from migaki.stages.train import train
from migaki.systems.classifier import Classifier
from migaki.systems.simgan import SimGAN

SMALL = replace(SimGAN.tiny()[0], channels=0, height=0, width=0, noise_channels=0)


def colours(folder: Path, mode: str, count: int = 4) -> Path:
    """Pictures whose left half is transparent, with a recognisable colour."""
    folder.mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (12, 16, 4), np.uint8)
        pixels[..., 3] = 255
        pixels[:, :8] = (200, 100, 50, 0)
        Image.fromarray(pixels).convert(mode).save(folder / f"{number}.png")
    return folder


def test_alpha_is_left_out_and_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = SimGAN.Data(synthetic=colours(tmp_path / "renders", "RGBA"), real=colours(tmp_path / "photos", "RGB"))
    config, source = SimGAN.open(data, SMALL, 0)
    batch = source.batch(0)
    assert config.channels == 3 == batch["image"].shape[1] == batch["real"].shape[1]
    assert torch.allclose(batch["image"][0, :, 0, 0] * 255, torch.tensor([200.0, 100, 50]))  # its own colour
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "its alpha is ignored" in line and "3 channels" in line


def test_what_is_made_of_a_render_has_no_alpha(tmp_path: Path) -> None:
    data = SimGAN.Data(synthetic=colours(tmp_path / "renders", "RGBA"), real=colours(tmp_path / "photos", "RGB"))
    train(SimGAN, data, SMALL, Run(sample_every=0), tmp_path / "run", quiet=True)
    out = apply(tmp_path / "run", ApplyJob(input=data.synthetic, out=tmp_path / "out", device="cpu"), quiet=True)
    assert ImageFolder(out).shape == (3, 12, 16)


def test_grey_with_alpha(tmp_path: Path) -> None:
    data = SimGAN.Data(synthetic=colours(tmp_path / "renders", "LA"), real=colours(tmp_path / "photos", "L"))
    assert SimGAN.open(data, SMALL, 0)[0].channels == 1


def test_alpha_stays_where_all_have_it_or_it_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    renders, icons = colours(tmp_path / "renders", "RGBA"), colours(tmp_path / "icons", "RGBA")
    photos = colours(tmp_path / "photos", "RGB")
    assert SimGAN.open(SimGAN.Data(synthetic=renders, real=icons), SMALL, 0)[0].channels == 4
    assert SimGAN.open(SimGAN.Data(synthetic=renders, real=photos), replace(SMALL, channels=4), 0)[0].channels == 4
    assert SimGAN.open(SimGAN.Data(synthetic=photos, real=icons), SMALL, 0)[0].channels == 3
    assert capsys.readouterr().err == ""


def test_task_models_of_several_folders(tmp_path: Path) -> None:
    renders, photos = colours(tmp_path / "renders", "RGBA"), colours(tmp_path / "photos", "RGB")
    config = Classifier.Config()
    assert open_labelled(config, (renders,))[0].channels == 4
    for found in (open_labelled(config, (renders, photos)), open_labelled(config, (renders,), photos)):
        assert found[0].channels == 3 and all(folder.shape == (3, 12, 16) for folder in found[1])
