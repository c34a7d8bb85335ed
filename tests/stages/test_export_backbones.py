"""Every backbone becomes an ONNX file that onnxruntime agrees with. Tracing takes many seconds, and the systems' own
networks are traced in `test_export`: these are for `make test-long`."""

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
pytestmark = [pytest.mark.usefixtures("one_operator_table"), pytest.mark.long]


class Same:
    """A source that gives one batch for ever."""

    def __init__(self, batch: dict[str, torch.Tensor]) -> None:
        self.made = batch

    def batch(self, step: int) -> dict[str, torch.Tensor]:
        return self.made


@pytest.mark.parametrize(("name", "options"), [
    *(("simclr", {"backbone": one}) for one in ("mobile_former", "convnext", "poolformer")),
    *((one, {"backbone": "convnext"}) for one in ("classifier", "segmenter")), ("deep_detail", {"block": "gated_mlp"})])
def test_it_runs_in_onnxruntime(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    cls = find_class("systems", name, System)
    config, batch = cls.tiny()
    torch.manual_seed(0)
    fit(cls(replace(config, steps=2, **options)), Same(batch), Run(sample_every=0), tmp_path / "run", quiet=True)
    gaps = export(tmp_path / "run", tmp_path / "model.onnx", (32, 32) if name == "deep_detail" else None, quiet=True)
    assert gaps and max(gaps.values()) < 1e-3
    card = (tmp_path / "run" / "README.md").read_text()
    assert ("million multiply-adds a picture" in card) == (name != "deep_detail")
