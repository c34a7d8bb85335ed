"""Every backbone becomes an ONNX file that onnxruntime agrees with. Tracing takes seconds: the hardest one is always
checked, the others by `make test-long`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from migaki.core.discovery import find_class
from migaki.core.fit import Run, fit
from migaki.core.system import System
from migaki.stages.export import export

pytest.importorskip("onnxruntime", reason="the extra migaki[export] is not installed")
pytestmark = pytest.mark.usefixtures("one_operator_table")


class Same:
    """A source that gives one batch for ever."""

    def __init__(self, batch: dict[str, torch.Tensor]) -> None:
        self.made = batch

    def batch(self, step: int) -> dict[str, torch.Tensor]:
        return self.made


@pytest.mark.parametrize(("name", "options"), [
    ("simclr", {"backbone": "mobile_former"}),
    *(pytest.param("simclr", {"backbone": one}, marks=pytest.mark.long) for one in ("convnext", "poolformer")),
    *(pytest.param(one, {"backbone": "convnext"}, marks=pytest.mark.long) for one in ("classifier", "segmenter")),
    pytest.param("deep_detail", {"block": "gated_mlp"}, marks=pytest.mark.long)])
def test_it_runs_in_onnxruntime(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    cls = find_class("systems", name, System)
    config, batch = cls.tiny()
    torch.manual_seed(0)
    fit(cls(replace(config, steps=2, **options)), Same(batch), Run(sample_every=0), tmp_path / "run", quiet=True)
    gaps = export(tmp_path / "run", tmp_path / "model.onnx", (32, 32) if name == "deep_detail" else None, quiet=True)
    assert gaps and max(gaps.values()) < 1e-3
    card = (tmp_path / "run" / "README.md").read_text()
    assert ("million multiply-adds a picture" in card) == (name != "deep_detail")
