"""The GPU benchmark runs in small on a CPU, stops by itself, and leaves a table whatever it reached."""

from __future__ import annotations

import re
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import gpu  # type: ignore[import-not-found, unused-ignore]


def rows(text: str) -> dict[str, list[str]]:
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert lines[0] == list(gpu.COLUMNS) and all(len(line) == 4 for line in lines)
    return {line[0]: line[1:] for line in lines[2:]}


def test_it_runs_in_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "table.md"
    words = ["refiner", "--device", "cpu", "--tiny", "--budget", "900", "--peak", "1", "--out", str(out)]
    assert gpu.main(words) == 0
    found = rows(out.read_text())
    assert out.read_text() in capsys.readouterr().out
    assert len(found) == 10 and all("-" not in cell[:1] for name in found for cell in found[name][:2]), found
    step = next(name for name in found if name.startswith("refiner step"))
    assert re.match(r"[\d.]+ ms \(", found[step][0]) and "limit: --peak 1 TFLOP/s" in found[
        "rate, and its share of the limit"][2]
    assert all(re.match(r"5 of 5 rounds in \d+ s; whole", cell) for cell in found["the paper's schedule"][:2])


def test_the_flop_are_those_of_the_round() -> None:
    """Twice the images cost twice the FLOP; the share follows from rate and limit."""
    config = gpu.tasks(gpu.TINY)["eyes"][1]
    counts = []
    for batch in (2, 4):
        one = gpu.Measured(replace(config, batch_size=batch), torch.device("cpu"), 1e12)
        one.rate, one.images, one.photos = 100.0, torch.rand(8, 1, 36, 60), torch.rand(8, 1, 36, 60)
        one.build()
        one.step(gpu.Clock(0.0))
        counts.append(float(one.rows["FLOP in a round"].split()[0]))
        rate, share = re.findall(r"[\d.e-]+", one.rows["rate, and its share of the limit"])
        assert float(share) == pytest.approx(100 * float(rate), rel=0.02)  # the limit is 1 TFLOP/s
    assert counts[1] == pytest.approx(2 * counts[0], rel=0.02)


def test_the_budget_ends_it(tmp_path: Path) -> None:
    start = time.perf_counter()
    text = gpu.refiner(torch.device("cpu"), gpu.TINY, 0.0, 1.0, lambda _: None)
    assert time.perf_counter() - start < 60 and text.count("\n") == 1
    assert gpu.peak_of(torch.device("cpu"), 0.0)[0] > 0 and gpu.peak_of(torch.device("cpu"), 2.5)[0] == 2.5e12
