"""migaki apply RUN --input DIR --out DIR"""

from __future__ import annotations

from pathlib import Path

from migaki.commands.options import Single, command_line, parse
from migaki.commands.restorers import names_restorer

ABOUT = "Apply the trained system in the folder RUN to a folder of images; metadata and names are carried over."

RESTORE = "Restore pictures of any size, or a video, with the trained system in the folder RUN."

_RUN = Single(kind=Path, about="the folder of a trained run", operand="RUN")


def run(words: list[str]) -> int:
    """Run the command."""
    if names_restorer(words):
        options = parse("apply", RESTORE, words, run=_RUN, job="migaki.stages.restore:RestoreJob")
        from migaki.stages.restore import restore

        print(f"written: {restore(options.run, options.job, command=command_line())}")
        return 0
    options = parse("apply", ABOUT, words, run=_RUN, job="migaki.stages.apply:ApplyJob")
    from migaki.stages.apply import apply

    apply(options.run, options.job, command=command_line())
    print(f"written: {options.job.out}")
    return 0
