"""migaki evaluate RUN --data DIR"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import tyro

from migaki.commands.options import parse
from migaki.core.files import make_folder, write_json
from migaki.stages.evaluate import EvaluateJob, evaluate

ABOUT = "Judge the trained system in the folder RUN by the labels of a folder: a table, a JSON file and a curve."


def run(words: list[str]) -> int:
    """Run the command."""
    options = parse("evaluate", ABOUT, words, run=(Annotated[Path, tyro.conf.Positional], ...), job=EvaluateJob)
    figures = evaluate(options.run, options.job)
    out = make_folder(options.job.out or options.run / "evaluation")
    write_json(out / "evaluation.json", {"run": str(options.run), "data": str(options.job.data),
                                         "exclude": list(options.job.exclude), "figures": figures})
    for name, value in figures.items():
        if not isinstance(value, list | dict):
            print(f"{name:<22} {_shown(value)}")
    print(f"written: {out}")
    return 0


def _shown(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
