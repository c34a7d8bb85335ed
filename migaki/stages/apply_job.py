"""The options of `migaki apply` that are common to systems and changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from migaki.core import hardware
from migaki.core.errors import UserError
from migaki.data.files.image_file import show
from migaki.data.files.names import stem_of
from migaki.data.files.restored_file import Format as FileFormat
from migaki.data.folder import ImageFolder
from migaki.data.walk import OutputJob


@dataclass(frozen=True, kw_only=True, slots=True)
class ApplyJob(OutputJob):
    """Input, output and options of `migaki apply`."""

    GROUPS: ClassVar[dict[str, str]] = {
        "usual": "seed variants smooth keep drop estimator reject_drift rejected min_confidence file_format "
                 "value_range",
        "run": "batch_size device precision",
    }

    input: Path  # a folder of images, labelled or not, or shards; also one picture, or a film
    batch_size: int = 64  # images at once
    seed: int = 0  # of all random draws; row i of a seed is always the same
    variants: int = 1  # outputs of each input, for random changes and systems
    smooth: float = 4.0  # frames: spread in time of what is measured on frames of films (column `clip`); 0 = off
    keep: tuple[str, ...] = ()  # columns to copy unchanged when pixels move, although they may hold positions
    drop: tuple[str, ...] = ()  # columns and further pictures to leave out
    estimator: Path | None = None  # a run that estimates each image's drift (a column); none: the refiner's own, if any
    reject_drift: str = ""  # reject images whose labels drift by more than this, such as 2deg or 1px
    min_confidence: float = 0.0  # pixels of masks (255 instead) and boxes that are read less surely are left out
    rejected: Literal["drop", "flag"] = "drop"  # leave them out, or keep them with 1 in the column `rejected`
    file_format: FileFormat = "auto"  # of pictures of any size; auto: PNG of 8 or 16 bits; TIFF and .npy stay
    value_range: tuple[float, float] | None = None  # file values that map to 0 and 1; None: the files' type decides
    device: hardware.Device = "auto"  # auto: a GPU if there is one
    precision: hardware.Precision = "auto"  # auto: bf16 if the hardware computes in it


@dataclass(frozen=True, kw_only=True, slots=True)
class AloneJob:
    """Output of a change that reads no set."""

    out: Path  # the file to write


def naming(folder: ImageFolder, job: ApplyJob, digits: int = 0) -> Callable[[int], str]:
    """Returns a function from place to output name: the input's name without its ending, with the variant's number.

    Numbers have `digits` digits. Raises UserError if two inputs would get the same name.
    """
    stems: dict[str, str] = {}
    for name in folder.names:
        other = stems.setdefault(stem_of(name), name)
        if other != name:
            raise UserError(f"{show(folder.path)}: the outputs of '{show(other)}' and '{show(name)}' would have the "
                            "same name: give each its own name, not only its own ending")

    def name_of(place: int) -> str:
        stem = stem_of(folder.names[place // job.variants])
        # All images get a variant number or none does, so that no two share a name.
        return stem + (f"_{place % job.variants:0{digits}d}" if job.variants > 1 else "")

    return name_of


def refuse_row_options(name: str, job: ApplyJob) -> None:
    """UserError for options of `apply` that belong to rows, for a change whose result is no set of pictures."""
    told = [("--variants", job.variants != 1), ("--keep", job.keep), ("--drop", job.drop),
            ("--estimator", job.estimator is not None), ("--reject-drift", job.reject_drift),
            ("--rejected", job.rejected != "drop"), ("--min-confidence", job.min_confidence),
            ("--format", job.format != "folder"), ("--value-range", job.value_range is not None)]
    if wrong := [option for option, is_given in told if is_given]:
        raise UserError(f"apply {name}: writes no pictures, so {', '.join(wrong)} "
                        f"mean{'s' if len(wrong) == 1 else ''} nothing: leave out")
