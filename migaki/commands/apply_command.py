"""migaki apply RUN --input DIR --out DIR"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from migaki.commands.options import command_line, parse
from migaki.commands.restorers import names_restorer
from migaki.core.files import show
from migaki.stages.apply import ApplyJob, apply
from migaki.stages.restore import RestoreJob, restore

ABOUT = "Apply the trained system in the folder RUN to a folder of images; metadata and names are carried over."

RESTORE = "Restore pictures of any size, or a video, with the trained system in the folder RUN."


def run(words: list[str]) -> int:
    """Run the command."""
    if names_restorer(words):
        options = parse("apply", RESTORE, words, run=(Annotated[Path, tyro.conf.Positional], ...), job=RestoreJob)
        print(f"written: {show(restore(options.run, options.job, command=command_line()))}")
        return 0
    options = parse("apply", ABOUT, words, run=(Annotated[Path, tyro.conf.Positional], ...), job=ApplyJob)
    apply(options.run, options.job, command=command_line())
    print(f"written: {show(options.job.out)}")
    return 0
