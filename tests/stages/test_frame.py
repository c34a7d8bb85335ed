"""`migaki frame`: folder in, folder out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from migaki.cli import main
from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder
from migaki.ops.strokes import frame_ink
from migaki.stages.frame import FrameJob, frame


def test_pictures_are_framed_and_labels_carried_over(image_folder: Callable[..., Path], tmp_path: Path) -> None:
    given = image_folder("given", 5, (24, 40))
    assert main(["frame", "--input", str(given), "--out", str(tmp_path / "out"), "--size", "16", "--box", "12"]) == 0
    before, after = ImageFolder(given), ImageFolder(tmp_path / "out")
    assert after.shape == (1, 16, 16) and len(after) == 5
    assert after.labels["label"].tolist() == before.labels["label"].tolist()
    expected = frame_ink(before.read(range(5), ("image",))["image"], 16, 12)
    np.testing.assert_allclose(after.read(range(5), ("image",))["image"], expected, atol=0.6 / 255)
    frame(FrameJob(input=given, out=tmp_path / "plain", size=16, box=12, upright=False), quiet=True)
    plain = ImageFolder(tmp_path / "plain").read(range(5), ("image",))["image"]
    assert not torch.allclose(plain, expected, atol=0.05)


def test_a_box_that_does_not_fit_is_refused(image_folder: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--box 30 --size 24"):
        frame(FrameJob(input=image_folder("given"), out=tmp_path / "out", box=30), quiet=True)
