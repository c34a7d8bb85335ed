"""Applies a trained system to whole pictures of any size, tile by tile; bit depth and metadata are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from migaki import __version__
from migaki.core.errors import UserError
from migaki.core.trained import load_system, read_record
from migaki.data.files.image_file import show
from migaki.data.files.restored_file import encode_restored, read_original, restored_suffix
from migaki.data.folder import ImageFolder
from migaki.data.further import carried_files
from migaki.data.sets.carry import carried, scaled
from migaki.data.sets.contents import contents
from migaki.data.sets.said import said_of
from migaki.data.walk import Done, Work
from migaki.data.whole import restorer
from migaki.data.writers.record import Record, plan
from migaki.stages.apply_job import ApplyJob, naming


class WholeWork(Work):
    """Restores pictures of any size: applies a system to any rows of the job's data set.

    Every picture keeps its name, its row, its bit depth, alpha, colour profile and EXIF. Positions in px are multiplied
    by the system's scale. A predicted mask is written beside the picture. Besides the decoded picture and its result,
    memory holds only a few tiles. Raises UserError for files that cannot be read.
    """

    name = "restore"
    batch_size = 1
    lanes = 1  # one picture at a time, on all cores

    def __init__(self, run: Path, job: ApplyJob) -> None:
        self.job = job
        system = load_system(run)
        self.channels, self.tiling = system.channels, system.tiling
        self.restore = restorer(system, job.value_range, job.device, job.precision)
        _refuse_options(job)
        self.folder = ImageFolder(job.input)
        self.total = len(self.folder)
        self.name_of = naming(self.folder, job)
        self._info = {"system": read_record(run)["system"], "run": contents(run),
                      "parent": str(job.input), "parent_fingerprint": self.folder.fingerprint,
                      "value_range": job.value_range, "file_format": job.file_format, "version": __version__,
                      **{name: list(value) for name, value in (("keep", job.keep), ("drop", job.drop)) if value},
                      **said_of(self.folder)}

    @property
    def info(self) -> dict[str, Any]:
        """The record of what makes the images."""
        return self._info

    def do(self, places: list[int]) -> list[Done]:
        """Read, restore and encode the pictures at these places."""
        return [Done(place=place, records=(self._record(place),)) for place in places]

    def _record(self, index: int) -> Record:
        job, path = self.job, self.folder.file(index)
        original = read_original(path, self.channels)
        pixels, mask = self.restore(original.pixels)
        suffix = restored_suffix(original.suffix, job.file_format)
        data = encode_restored(original, pixels, suffix, show(path))
        move = scaled(original.pixels.shape[1:], pixels.shape[1:])
        where = f"{show(job.input)}: '{show(self.folder.names[index])}'"
        row: dict[str, Any] = carried(self.folder.rows[index], move, where, keep=job.keep, drop=job.drop)
        files = carried_files(self.folder, index, move, drop=job.drop)
        if mask is not None and "mask" in files:
            raise UserError(f"{where}: has a mask of its own, and the system makes one too: leave out the set's with "
                            "--drop mask")
        row |= files | ({} if mask is None else {"mask": mask})
        name = self.name_of(index) + suffix
        others = plan(name, np.zeros((1, 1, 1), np.uint8), row, "png", suffix="").encode("png")
        return Record(others.row, ((name, data), *others.files[1:]))


def _refuse_options(job: ApplyJob) -> None:
    if job.min_confidence:
        raise UserError(f"--min-confidence {job.min_confidence:g}: a restorer reads nothing: leave it out")
    if job.variants != 1:
        raise UserError(f"--variants {job.variants}: only a refiner trained with --noise-channels makes several images")
    if job.estimator is not None or job.reject_drift or job.rejected != "drop":
        raise UserError("--estimator, --reject-drift and --rejected: a restorer's pictures have no labels that could "
                        "drift: leave them out")
