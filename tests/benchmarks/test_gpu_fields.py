"""The GPU benchmark of fields runs in small on a CPU."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import gpu  # type: ignore[import-not-found, unused-ignore]


def test_it_runs_in_small(tmp_path: Path) -> None:
    out = tmp_path / "table.md"
    assert gpu.main(["fields", "--device", "cpu", "--tiny", "--budget", "20", "--out", str(out)]) == 0
    rows = {row.split("|")[1].strip(): row.split("|")[2].strip() for row in out.read_text().splitlines()[2:]}
    assert rows["rays a step, updates planned"] == "32, 6"
    last = next(value for name, value in rows.items() if "6 updates" in name)
    assert float(last.split(" dB")[0]) > 3 and float(rows["nearest view of those learned from"].split()[0]) > 3
