"""Export: every system that names its image size becomes an ONNX file that onnxruntime agrees with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.fit import Run, fit
from migaki.stages.export import export
from migaki.systems.classifier import Classifier
from migaki.systems.gaze import Gaze
from migaki.systems.simgan import SimGAN

pytest.importorskip("onnxruntime", reason="the extra migaki[export] is not installed")


class Same:
    """A source that gives one batch for ever."""

    def __init__(self, batch: Batch) -> None:
        self.made = batch

    def batch(self, step: int) -> Batch:
        return self.made


@pytest.mark.parametrize("cls", [Gaze, Classifier, SimGAN])
def test_every_trained_system_runs_in_onnxruntime(cls: type[Any], tmp_path: Path) -> None:
    config, batch = cls.tiny()
    torch.manual_seed(0)
    fit(cls(replace(config, steps=3)), Same(batch), Run(sample_every=0), tmp_path / "run", quiet=True)
    gaps = export(tmp_path / "run", tmp_path / "model.onnx")
    assert gaps and max(gaps.values()) < 1e-3
    assert (tmp_path / "model.onnx").stat().st_size > 1000


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        export(tmp_path / "nothing", tmp_path / "model.onnx")
