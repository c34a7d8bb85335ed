"""damage: turns clean photographs into pairs of damaged and clean ones, and records the damage and the labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from migaki.core.damage import Damage
from migaki.core.errors import UserError
from migaki.core.files import apart
from migaki.data.others import Others
from migaki.data.walk import OutputJob, walk
from migaki.simulate.damaged_pairs import DamagedPairs
from migaki.stages.apply_job import ApplyJob
from migaki.stages.change_work import ChangeWork


@dataclass(frozen=True, kw_only=True, slots=True)
class DamageJob(OutputJob):
    """What to damage and how often; OUT gets input/ (damaged) and target/ (clean), where pairs share one name."""

    GROUPS: ClassVar[dict[str, str]] = {"usual": "count channels file_format seed keep drop"}

    input: Path  # a folder of clean photographs of any sizes, labelled or not
    count: int = 1  # damaged variants of each photograph
    channels: int | None = None  # convert to 1, 3 or 4 channels; None: as in the file, without alpha
    file_format: Literal["png", "tiff", "npy"] = "png"  # png: 8 bits; the others float32, for any number of channels
    seed: int = 0  # variant v of photograph i is always the same
    keep: tuple[str, ...] = ()  # columns to copy unchanged when pixels move, although they may hold positions
    drop: tuple[str, ...] = ()  # columns and further pictures to leave out


def damage_folder(name: str, damage: Damage, job: DamageJob, *, command: str = "", quiet: bool = False) -> Path:
    """Damage every photograph of `job.input` `job.count` times; damage parameters become columns, a mask a file.

    Both folders keep the labels. An interrupted run continues where it stopped and yields the same files, with any
    number of workers. The target is written once per variant, so that any reader can pair `input` and `target` by name.
    Raises UserError if the folders hold something else.
    """
    if job.count < 1:
        raise UserError(f"--count {job.count}: give the number of variants of each photograph, at least 1")
    apart(job.out, job.input)
    if damage.mixes:
        damage.others = Others(job.input)
    asked = ApplyJob(input=job.input, out=job.out, seed=job.seed, variants=job.count, batch_size=job.count,
                     format=job.format, file_format=job.file_format, keep=job.keep, drop=job.drop)
    arguments = (f"damage {name}", DamagedPairs(damage), asked, job.channels, 2)
    walk(ChangeWork, arguments, job, command=command, quiet=quiet)
    return job.out
