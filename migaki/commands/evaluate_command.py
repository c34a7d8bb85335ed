"""migaki evaluate RUN --data DIR"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import tyro

from migaki.commands.options import command_line, parse
from migaki.commands.restorers import names_restorer
from migaki.core.files import show
from migaki.stages.compare import CompareJob, compare
from migaki.stages.evaluate import EvaluateJob, evaluate_into

ABOUT = "Judge the trained system in the folder RUN by the labels of a folder: JSON, errors, pictures and a page."

PAIRS = "Judge the trained restorer in the folder RUN by pairs, input/ and target/: figures, a sheet and a page."


def run(words: list[str]) -> int:
    """Run the command."""
    positional = (Annotated[Path, tyro.conf.Positional], ...)
    if names_restorer(words):
        options = parse("evaluate", PAIRS, words, run=positional, job=CompareJob)
        out, figures = compare(options.run, options.job, command=command_line())
    else:
        options = parse("evaluate", ABOUT, words, run=positional, job=EvaluateJob)
        out, figures = evaluate_into(options.run, options.job, command=command_line())
    for name, value in figures.items():
        if not isinstance(value, list | dict):
            print(f"{name:<22} {_shown(value)}")
    print(f"written: {show(out / 'evaluation.html')}")
    return 0


def _shown(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
