"""migaki drift --before DIR --after DIR --estimator RUN --out DIR"""

from __future__ import annotations

from migaki.commands.options import command_line, parse
from migaki.core.errors import UserError

ABOUT = "Tell by how much refinement moved the labels, in their own unit, as estimators of synthetic images see."


def run(words: list[str]) -> int:
    """Run the command."""
    job = parse("drift", ABOUT, words, job="migaki.stages.drift:DriftJob").job
    if not job.estimator:
        raise UserError("--estimator: name at least one run of `migaki train` on the synthetic images")
    from migaki.stages.drift import drift, figures_table

    out, rows = drift(job, command=command_line())
    print(figures_table(rows).markdown(), end="")
    print(f"written: {out / 'drift.html'}")
    return 0
