"""`benchmarks/hands.py --compare` lays two studies of hands side by side, seed by seed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "hands.py"


def test_two_studies_are_compared(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("hands_benchmark", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for study, refined in (("today", (10.0, 10.5)), ("changed", (9.5, 9.75))):
        for seed in range(2):
            for arm, value in (("synthetic_3x", 10.5 + seed), ("refined_3x", refined[seed])):
                folder = tmp_path / study / f"{arm}_{seed}" / "evaluation"
                folder.mkdir(parents=True)
                (folder / "evaluation.json").write_text(json.dumps({"figures": {"mean_px": value}}))
    lines = module.compare(tmp_path / "today", tmp_path / "changed")
    assert "| refined_3x | 10.00, 10.50 | 9.50, 9.75 |" in lines and "| refined | - | - |" in lines
    assert lines[-1] == "| refined_3x - synthetic_3x | -0.50, -1.00 | -1.00, -1.75 |"
