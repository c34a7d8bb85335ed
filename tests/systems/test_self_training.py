"""Self-training: a gaze model learns from what another one has read off photographs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_folders import write_folder

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.data.folder import ImageFolder
from migaki.stages.apply import ApplyJob, apply
from migaki.stages.train import train
from migaki.systems.gaze import Gaze

SMALL = Gaze.Config(steps=3, batch_size=8, features=4)


@pytest.fixture
def read(tmp_path: Path) -> Path:
    """Photographs without labels, as an untrained model has read them."""
    eyes = write_folder(tmp_path / "eyes", 12, (24, 40), labels=("gaze",))
    photos = write_folder(tmp_path / "photos", 10, (24, 40), labels=("side",), real=True)
    train(Gaze, Gaze.Data(data=(eyes,)), SMALL, Run(sample_every=0), tmp_path / "teacher", quiet=True)
    return apply(tmp_path / "teacher", ApplyJob(input=photos, out=tmp_path / "read"), quiet=True)


def test_what_was_read_is_learned_from(read: Path, tmp_path: Path) -> None:
    _, source = Gaze.open(Gaze.Data(data=(tmp_path / "eyes", read)), SMALL, 0)
    batch = source.batch(0)
    assert batch["image"].shape[0] == 8 and batch["gaze"].shape == (8, 2)  # from both folders equally many
    columns = ImageFolder(read).labels["predicted_gaze"]
    assert columns.shape == (10, 2) and columns.std() > 0
    for row in batch["gaze"][4:].numpy():
        assert np.abs(columns - row).sum(1).min() < 1e-6
    run = train(Gaze, Gaze.Data(data=(tmp_path / "eyes", read)), SMALL, Run(sample_every=0), tmp_path / "student",
                quiet=True)
    assert (tmp_path / "student" / "model.safetensors").exists() and run is not None


def test_readings_go_before_labels(read: Path, tmp_path: Path) -> None:
    """Labels that the photographs happen to have must not be learned by who trains on what was read off them."""
    again = apply(tmp_path / "teacher", ApplyJob(input=tmp_path / "eyes", out=tmp_path / "both"), quiet=True)
    columns = ImageFolder(again).labels
    assert {"gaze", "predicted_gaze"} <= set(columns)
    _, source = Gaze.open(Gaze.Data(data=(again,)), SMALL, 0)
    for row in source.batch(0)["gaze"].numpy():
        assert np.abs(columns["predicted_gaze"] - row).sum(1).min() < 1e-6 < np.abs(columns["gaze"] - row).sum(1).min()


def test_a_folder_without_either_is_refused(read: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no label 'gaze'"):
        Gaze.open(Gaze.Data(data=(tmp_path / "photos",)), SMALL, 0)


def _matched(sides: list[int]) -> Gaze:
    """A model brought to the prior of gaze by 64 photographs of these sides, 2 = unknown."""
    config, _ = Gaze.tiny()
    torch.manual_seed(0)
    system = Gaze(replace(config, match_prior=True, batch_size=64))
    side = torch.tensor(sides).repeat(64)[:64]
    # The sides look different, so that each has readings of its own.
    real = torch.rand(64, 1, 24, 40) + torch.linspace(0, 1, 40) * side.view(-1, 1, 1, 1)

    class Fixed:
        def batch(self, step: int) -> Batch:
            known = {"real_side": side} if min(sides) < 2 else {}
            return {"gaze": torch.randn(64, 2) * 0.1 + 0.05, "real": real.clamp(0, 1), **known}

    system.finish(Fixed())
    return system.eval()


@pytest.mark.parametrize("sides", [[0, 1], [2], [0]])
def test_the_prior_reaches_every_side(sides: list[int]) -> None:
    """Each side has its own match; one of which there were no photographs has that of all of them."""
    system = _matched(sides)
    for row in range(3):
        assert not torch.equal(system.scale[row], torch.ones(2)) and system.offset[row].abs().min() > 0, row
    for row in (0, 1):
        assert torch.equal(system.scale[row], system.scale[2]) == (row not in sides or sides == [0])
    image = torch.rand(1, 1, 24, 40)
    read = [system.predict({"image": image, "side": torch.tensor([side])})["gaze"] for side in (0, 1)]
    assert torch.equal(*read) == (sides != [0, 1])
