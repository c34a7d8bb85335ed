"""damage: clean photographs in, pairs of damaged and clean ones out, with what was done to them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from migaki import __version__
from migaki.core.batch import Batch
from migaki.core.config import to_dict
from migaki.core.damage import Damage
from migaki.core.errors import UserError
from migaki.core.files import apart
from migaki.core.progress import Bar
from migaki.core.seeds import fold
from migaki.data.files import framing
from migaki.data.files.image_file import read_header, read_image, show
from migaki.data.files.member import FilePath
from migaki.data.folder import ImageFolder
from migaki.data.writers.writer import FolderWriter, batch_rows


@dataclass(frozen=True, kw_only=True, slots=True)
class DamageJob:
    """What to damage, how often, and where to."""

    GROUPS: ClassVar[dict[str, str]] = {"usual": "count channels format seed", "run": "resume"}

    input: Path  # a folder of clean photographs of any sizes
    out: Path  # gets input/ (damaged) and target/ (clean), pairs under one name; gone on with if unfinished
    count: int = 1  # damaged variants of each photograph
    channels: int | None = None  # 1, 3 or 4 to convert to; None: those of the file, alpha left off
    format: Literal["png", "tiff", "npy"] = "png"  # png: 8 bits; the others float32, for any number of channels
    seed: int = 0  # variant v of photograph i is always the same
    resume: bool = True  # go on with folders that were begun before


def damage_folder(name: str, damage: Damage, job: DamageJob, *, command: str = "", quiet: bool = False) -> Path:
    """Damage every photograph of `job.input` `job.count` times; scalars of the damage become columns, a mask a file.

    An interrupted run goes on where it stopped, to the same files. The target is written with each variant, so that
    `input` and `target` pair by name for every reader. Raises UserError if the folders hold something else.
    """
    if job.count < 1:
        raise UserError(f"--count {job.count}: give the number of variants of each photograph, at least 1")
    apart(job.out, job.input)
    photos = ImageFolder(job.input)
    info = {"command": command, "damage": name, "config": to_dict(damage.config), "seed": job.seed,
            "count": job.count, "channels": job.channels, "parent": str(job.input),
            "parent_fingerprint": photos.fingerprint, "version": __version__}
    total = len(photos) * job.count
    with (FolderWriter(job.out / "target", info, total, resume=job.resume, image_format=job.format) as clean_writer,
          FolderWriter(job.out / "input", info, total, resume=job.resume, image_format=job.format) as writer,
          Bar(f"damage {name}", total, len(clean_writer.done & writer.done), quiet) as bar):
        for number, file in enumerate(photos.names):
            places = [number * job.count + variant for variant in range(job.count)]
            places = [place for place in places if place not in clean_writer.done or place not in writer.done]
            clean = _whole(photos.file(number), job.channels, damage) if places else None
            for place in places:
                assert clean is not None
                stem = str(PurePosixPath(file).with_suffix(""))
                stem += f"_{place % job.count:02d}" if job.count > 1 else ""
                damaged, row = _damaged(damage, clean, fold(job.seed, place))
                _check_format(job.format, len(clean))
                clean_writer.write(place, stem, clean, {})
                writer.write(place, stem, damaged, row)
                bar.advance(1)
    return job.out


def _read(path: FilePath, channels: int | None) -> torch.Tensor:
    """A photograph (C, H, W) float32 in [0, 1]."""
    array = framing.check_values(read_image(path), None, path)
    has_alpha = path.suffix.lower() != ".npy" and read_header(path).has_alpha
    wanted = len(array) - has_alpha if channels is None else channels
    unit = framing.to_unit(framing.convert_channels(array, wanted, has_alpha=has_alpha, path=path))
    return torch.from_numpy(np.ascontiguousarray(unit))


def _whole(path: FilePath, channels: int | None, damage: Damage) -> torch.Tensor:
    """A photograph without what a downscaling by a whole number would leave over."""
    clean = _read(path, channels)
    scale = getattr(damage.config, "scale", 1)  # only `blur` has one
    height, width = (side - side % scale for side in clean.shape[1:])
    if not height or not width:
        raise UserError(f"{show(path)}: is {clean.shape[2]} x {clean.shape[1]}, too small to be made {scale} times "
                        "smaller: leave it out")
    return clean[:, :height, :width]


def _damaged(damage: Damage, clean: torch.Tensor, seed: int) -> tuple[torch.Tensor, dict[str, Any]]:
    """The damaged image (C', H', W') and its metadata row: scalars, and a mask where there is one."""
    images, parameters = damage.damage(clean[None], torch.tensor([seed]))
    kept: Batch = {key: value for key, value in parameters.items() if value.ndim == 1 or key == "mask"}
    return images[0], batch_rows(kept)[0] if kept else {}


def _check_format(kind: str, channels: int) -> None:
    if kind == "png" and channels not in (1, 3, 4):
        raise UserError(f"--format png holds 1, 3 or 4 channels, not {channels}: use tiff or npy")
