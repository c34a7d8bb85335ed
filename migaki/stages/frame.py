"""frame: the characters of a folder brought to one size and place: sets then differ in looks, not in layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar

from migaki import __version__
from migaki.core.errors import UserError
from migaki.core.files import apart
from migaki.core.progress import Bar
from migaki.data.folder import ImageFolder
from migaki.data.writers.writer import FolderWriter
from migaki.ops.strokes import frame_ink

_BATCH = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameJob:
    """What to frame and how."""

    GROUPS: ClassVar[dict[str, str]] = {"usual": "size box upright", "run": "resume"}

    input: Path  # a folder of single characters, bright ink on black
    out: Path  # the folder to write; an unfinished one is gone on with
    size: int = 24  # px, both sides of the pictures to be made
    box: int = 20  # px, the longer side of the ink in them
    upright: bool = True  # take the slant out
    resume: bool = True  # go on with a folder that was begun before


def frame(job: FrameJob, *, command: str = "", quiet: bool = False) -> Path:
    """Write every picture of `job.input` with its ink scaled to one box, centred and upright; rows are carried over.

    Each picture is treated alone, so that framing a test set looks at nothing but the picture itself. Raises
    UserError for a box that does not fit.
    """
    if not 1 <= job.box <= job.size or job.size > 4096:
        raise UserError(f"--box {job.box} --size {job.size}: the box is at least 1 and fits the size, at most 4096")
    apart(job.out, job.input)
    folder = ImageFolder(job.input)
    info = {"command": command, "frame": {"size": job.size, "box": job.box, "upright": job.upright},
            "parent": str(job.input), "parent_fingerprint": folder.fingerprint, "version": __version__}
    with FolderWriter(job.out, info, len(folder), resume=job.resume) as writer:
        left = writer.missing(range(len(folder)))
        with Bar("frame", len(folder), len(folder) - len(left), quiet) as bar:
            for start in range(0, len(left), _BATCH):
                places = left[start : start + _BATCH]
                images = frame_ink(folder.read(places, ("image",))["image"], job.size, job.box, upright=job.upright)
                for place, image in zip(places, images, strict=True):
                    # Pixel positions and further pictures would not fit the moved ink.
                    row = {key: value for key, value in folder.rows[place].items()
                           if key != "file_name" and not key.endswith("_file_name")}
                    writer.write(place, str(PurePosixPath(folder.names[place]).with_suffix("")), image, row)
                bar.advance(len(places))
    return job.out
