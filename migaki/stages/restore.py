"""restore: apply for systems that turn pictures of any size into pictures: folders, one file, or a video."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np
import torch

from migaki import __version__
from migaki.core import hardware
from migaki.core.errors import UserError
from migaki.core.files import apart, digest, make_folder
from migaki.core.progress import Bar
from migaki.core.restorer import Restorer
from migaki.core.system import System
from migaki.core.trained import load_system, read_record
from migaki.data.files import framing
from migaki.data.files.image_file import EXTENSIONS
from migaki.data.files.restored_file import Format, encode_restored, read_original, restored_suffix
from migaki.data.files.video import VIDEO_EXTENSIONS, count_frames, transform_video
from migaki.data.folder import ImageFolder
from migaki.data.writers.writer import FolderWriter
from migaki.ops.tiling import tiled_rows

Array = np.ndarray[Any, Any]
Restore = Callable[[Array], tuple[Array, Array | None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class RestoreJob:
    """What to restore. Pictures may have any sizes; their bit depth, alpha, profile and EXIF are kept."""

    GROUPS: ClassVar[dict[str, str]] = {"usual": "format value_range", "run": "device precision resume"}

    input: Path  # a folder of pictures, one picture, or a video
    out: Path  # the folder to write; an unfinished one is gone on with
    format: Format = "auto"  # auto: PNG of 8 or 16 bits; TIFF and .npy stay what they are
    value_range: tuple[float, float] | None = None  # of the files' values that is [0, 1]; None: by the type's range
    device: hardware.Device = "auto"  # auto: a GPU where there is one
    precision: hardware.Precision = "auto"  # auto: bf16 where the hardware computes in it
    resume: bool = True  # go on with a folder that was begun before


def is_restorer(run: Path) -> bool:
    """Whether the trained system in the folder `run` takes pictures of any size."""
    config = read_record(run).get("config", {})
    return isinstance(config, dict) and config.get("height") == 0 and config.get("width") == 0


def restore(run: Path, job: RestoreJob, *, command: str = "", quiet: bool = False) -> Path:
    """Restore `job.input` with the trained system in the folder `run`; returns what was written, a folder or a video.

    Every picture keeps its name and its metadata row; a mask that the system predicts is written beside it. Memory
    beyond the decoded picture and its result is that of a few tiles. Raises UserError for what cannot be read.
    """
    apart(job.out, job.input)
    work = restorer(load_system(run), job)
    if job.input.suffix.lower() in VIDEO_EXTENSIONS and job.input.is_file():
        return _video(work, job, quiet)
    folder, names, rows, fingerprint = _inputs(job.input)
    info = {"command": command, "system": read_record(run)["system"],
            "run": digest((run / "config.json").read_text(encoding="utf-8")), "parent": str(job.input),
            "parent_fingerprint": fingerprint, "value_range": job.value_range,
            "file_format": job.format, "version": __version__}
    channels = read_record(run)["config"]["channels"]
    with FolderWriter(job.out, info, len(names), resume=job.resume) as writer:
        left = writer.missing(range(len(names)))
        with Bar("restore", len(names), len(names) - len(left), quiet) as bar:
            for index in left:
                original = read_original(folder / names[index], channels)
                pixels, mask = work(original.pixels)
                suffix = restored_suffix(original.suffix, job.format)
                data = encode_restored(original, pixels, suffix, str(folder / names[index]))
                name = str(PurePosixPath(names[index]).with_suffix(suffix))
                writer.write_file(index, name, data, rows[index] | ({} if mask is None else {"mask": mask}))
                bar.advance(1)
    return job.out


def restorer(system: System, job: RestoreJob) -> Restore:
    """A function from pixels (C, H, W) to restored ones (C', H', W') of the same type, and a mask (H', W') or None."""
    if not isinstance(system, Restorer):
        raise UserError(f"{type(system).__name__} does not restore pictures of any size")
    device = hardware.choose_device(job.device)
    precision = hardware.choose_precision(job.precision, device)
    system.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return lambda pixels: _tiled(system, pixels, job.value_range, device, precision)


def _tiled(system: Any, pixels: Array, value_range: tuple[float, float] | None, device: torch.device,
           precision: Any) -> tuple[Array, Array | None]:
    """Restore band by band, so that only the picture and its result, in their own type, lie in memory whole."""
    framing.check_values(pixels[:, :1, :1] if pixels.dtype.kind in "ui" else pixels, value_range, Path("picture"))
    # Tensors of uint16 can do little; their bits travel as int16.
    image = torch.from_numpy(pixels.view(np.int16) if pixels.dtype == np.uint16 else pixels)
    has_mask = False

    def network(tile: torch.Tensor) -> torch.Tensor:
        nonlocal has_mask
        unit = _unit(tile, pixels.dtype, value_range).to(memory_format=torch.channels_last)
        with torch.inference_mode(), hardware.autocast(device, precision):
            made = system.predict({"image": unit})
        has_mask = "mask" in made
        return torch.cat([made["target"], made["mask"][:, None]], 1).float() if has_mask else made["target"].float()

    tiling = system.tiling
    result: Array | None = None
    mask: Array | None = None
    for top, rows in tiled_rows(network, image, tile=tiling.tile, context=tiling.context, blend=tiling.blend,
                                multiple=tiling.multiple, scale=tiling.scale, device=device):
        band = rows.cpu().numpy()
        colours = band[:-1] if has_mask else band
        if result is None:
            height, width = image.shape[1] * tiling.scale, image.shape[2] * tiling.scale
            result = np.empty((len(colours), height, width), pixels.dtype)
            mask = np.empty((height, width), np.uint8) if has_mask else None
        result[:, top : top + band.shape[1]] = _own(colours, pixels.dtype, value_range)
        if mask is not None:
            mask[top : top + band.shape[1]] = band[-1] >= 0.5
    assert result is not None
    return result, mask


def _unit(tile: torch.Tensor, dtype: np.dtype[Any], value_range: tuple[float, float] | None) -> torch.Tensor:
    """A tile's values as float32 in [0, 1]; bytes were divided by 255 on the way here."""
    if value_range is not None:
        low, high = value_range
        values = tile * 255 if dtype == np.uint8 else tile.int() & 0xFFFF if dtype == np.uint16 else tile
        return ((values.float() - low) / (high - low)).clamp(0, 1)
    return (tile.int() & 0xFFFF).float() / 65535 if dtype == np.uint16 else tile.float()


def _own(values: Array, dtype: np.dtype[Any], value_range: tuple[float, float] | None) -> Array:
    """Values in [0, 1] as the file's type has them."""
    low, high = value_range or (0.0, 1.0 if dtype.kind == "f" else float(np.iinfo(dtype).max))
    scaled = values.clip(0, 1) * (high - low) + low
    own: Array = scaled.astype(dtype) if dtype.kind == "f" else np.rint(scaled).astype(dtype)
    return own


def _inputs(path: Path) -> tuple[Path, list[str], list[dict[str, Any]], str]:
    """Folder, names, metadata rows without file columns, and a fingerprint: of a folder or of one picture."""
    if path.is_file():
        if path.suffix.lower() not in EXTENSIONS:
            raise UserError(f"{path}: neither a picture nor a video that is known: {', '.join(sorted(EXTENSIONS))}")
        return path.parent, [path.name], [{}], digest(f"{path.name} {path.stat().st_size}")
    folder = ImageFolder(path)
    rows = [{key: value for key, value in row.items() if not key.endswith("file_name")} for row in folder.rows]
    return path, folder.names, rows, folder.fingerprint


def _video(work: Restore, job: RestoreJob, quiet: bool) -> Path:
    target = make_folder(job.out) / f"{job.input.stem}.mp4"
    with Bar("restore frames", count_frames(job.input), quiet=quiet) as bar:
        def frame(pixels: Array) -> Array:
            bar.advance(1)
            return work(pixels)[0]

        transform_video(job.input, target, frame)
    return target
