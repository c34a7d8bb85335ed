"""migaki apply RUN --input DIR --out DIR"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from migaki.commands.options import command_line, parse
from migaki.stages.apply import ApplyJob, apply

ABOUT = "Apply the trained system in the folder RUN to a folder of images; metadata and names are carried over."


def run(words: list[str]) -> int:
    """Run the command."""
    options = parse("apply", ABOUT, words, run=(Annotated[Path, tyro.conf.Positional], ...), job=ApplyJob)
    apply(options.run, options.job, command=command_line())
    print(f"written: {options.job.out}")
    return 0
