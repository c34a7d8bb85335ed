"""frame: `apply frame` under the name that studies call it by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from migaki.changes.frame import Frame
from migaki.stages.apply import apply_change
from migaki.stages.apply_job import ApplyJob


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameJob:
    """What to frame and how."""

    input: Path  # a folder of single characters, bright ink on black
    out: Path  # the folder to write; an unfinished one is gone on with
    size: int = 24  # px, both sides of the pictures to be made
    box: int = 20  # px, the longer side of the ink in them
    upright: bool = True  # take the slant out
    resume: bool = True  # go on with a folder that was begun before


def frame(job: FrameJob, *, command: str = "", quiet: bool = False) -> Path:
    """Write every picture of `job.input` with its ink scaled to one box, centred and upright; labels are carried."""
    config = Frame.Config(size=job.size, box=job.box, upright=job.upright)
    asked = ApplyJob(input=job.input, out=job.out, resume=job.resume)
    return apply_change("frame", Frame(config), asked, command=command, quiet=quiet)
