"""migaki evaluate RUN --data DIR"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from migaki.commands.options import Single, command_line, parse
from migaki.commands.restorers import names_restorer

ABOUT = "Judge the trained system in the folder RUN by the labels of a folder: JSON, errors, pictures and a page."

PAIRS = "Judge the trained restorer in the folder RUN by pairs, input/ and target/: figures, a sheet and a page."

_RUN = Single(kind=Path, about="the folder of a trained run", operand="RUN")


def run(words: list[str]) -> int:
    """Run the command."""
    if names_restorer(words):
        options = parse("evaluate", PAIRS, words, run=_RUN, job="migaki.stages.compare:CompareJob")
        from migaki.stages.compare import compare

        out, figures = compare(options.run, options.job, command=command_line())
    else:
        options = parse("evaluate", ABOUT, words, run=_RUN, job="migaki.stages.evaluate:EvaluateJob")
        from migaki.stages.evaluate import evaluate_into

        out, figures = evaluate_into(options.run, options.job, command=command_line())
    for name, value in figures.items():
        if not isinstance(value, list | dict):
            print(f"{name:<22} {_shown(value)}")
    print(f"written: {out / 'evaluation.html'}")
    return 0


def _shown(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
