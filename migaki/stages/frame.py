"""frame: `apply frame` as a Python call, for the studies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from migaki.changes.frame import Frame
from migaki.stages.apply import apply_change
from migaki.stages.apply_job import ApplyJob


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameJob:
    """Which pictures to frame, and how."""

    input: Path  # a folder of single characters, bright ink on black
    out: Path  # the folder to write; an unfinished one is continued
    size: int = 24  # px, both sides of the output pictures
    box: int = 20  # px, the longer side of the ink in them
    upright: bool = True  # remove the slant
    resume: bool = True  # continue an unfinished folder


def frame(job: FrameJob, *, command: str = "", quiet: bool = False) -> Path:
    """Write every picture of `job.input` with its ink scaled to one box, centred and upright; labels are kept."""
    config = Frame.Config(size=job.size, box=job.box, upright=job.upright)
    asked = ApplyJob(input=job.input, out=job.out, resume=job.resume)
    return apply_change("frame", Frame(config), asked, command=command, quiet=quiet)
