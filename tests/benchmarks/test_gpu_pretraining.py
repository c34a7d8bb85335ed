"""The GPU benchmark of pre-training runs in small on a CPU."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import gpu  # type: ignore[import-not-found, unused-ignore]
import gpu_pretraining  # type: ignore[import-not-found, unused-ignore]


def test_it_runs_in_small(tmp_path: Path) -> None:
    out = tmp_path / "table.md"
    assert gpu.main(["pretraining", "--device", "cpu", "--tiny", "--budget", "1", "--out", str(out)]) == 0
    rows = {row.split("|")[1].strip(): row.split("|")[2].strip() for row in out.read_text().splitlines()[2:]}
    assert rows["updates, and epochs"].startswith("5, ")
    assert all(0 <= float(rows[name]) <= 100 for name in ("linear probe, all labels", "20 neighbours, all labels",
                                                          "untrained: linear probe, all labels"))


def test_it_is_the_published_network() -> None:
    net = gpu_pretraining.ResNet18()
    assert sum(p.numel() for p in net.parameters()) == 11_168_832  # of torchvision's 11,689,512 without head and stem
    with torch.no_grad():
        assert net.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 512)
