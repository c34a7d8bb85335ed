"""Self-training: a gaze model learns from what another one has read off photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toy_folders import write_folder

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


def test_labels_go_before_readings(read: Path, tmp_path: Path) -> None:
    """A folder with both is a labelled one; one with neither is refused."""
    again = apply(tmp_path / "teacher", ApplyJob(input=tmp_path / "eyes", out=tmp_path / "both"), quiet=True)
    _, source = Gaze.open(Gaze.Data(data=(again,)), SMALL, 0)
    truth = ImageFolder(tmp_path / "eyes").labels["gaze"]
    for row in source.batch(0)["gaze"].numpy():
        assert np.abs(truth - row).sum(1).min() < 1e-6
    with pytest.raises(UserError, match="no label 'gaze'"):
        Gaze.open(Gaze.Data(data=(tmp_path / "photos",)), SMALL, 0)
