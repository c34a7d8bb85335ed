"""compare: a restorer judged by pairs, folders input/ and target/ of equal names."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from migaki import __version__
from migaki.core import hardware
from migaki.core.errors import UserError
from migaki.core.files import apart, atomic_write, exclusive, write_json, write_text
from migaki.core.progress import Bar
from migaki.core.system import System
from migaki.core.trained import load_system
from migaki.data.files import framing
from migaki.data.files.image_file import read_header, read_image, show
from migaki.data.files.restored_file import read_original
from migaki.data.folder import ImageFolder
from migaki.metrics.restoration import MaskOverlap, Restoration
from migaki.report.page import Number, Page
from migaki.report.sheets import picture, sheet
from migaki.report.tables import Table
from migaki.stages.evaluate import require_own
from migaki.stages.restore import Restore, RestoreJob, restorer

_SHOWN = 3  # of the worst and of the best images
_SHOWN_SIDE = 900  # px; larger pictures are made smaller on the page
_NAMES = {"psnr": "PSNR, RGB (dB)", "ssim": "SSIM, RGB", "psnr_y": "PSNR, Y (dB)", "ssim_y": "SSIM, Y",
          "spectral_angle": "spectral angle (rad)", "iou": "mask, intersection over union"}


@dataclass(frozen=True, kw_only=True, slots=True)
class CompareJob:
    """What to judge by."""

    data: Path  # a folder with input/ and target/, pairs of one name
    out: Path | None = None  # where the figures and the page go; by default RUN/evaluation
    exclude: tuple[str, ...] = ()  # names of pairs to leave out, without their endings
    value_range: tuple[float, float] | None = None  # of the files' values that is [0, 1]; None: by the type's range
    device: hardware.Device = "auto"
    precision: hardware.Precision = "auto"


class _Pair(NamedTuple):
    """One pair, files relative to nothing."""

    name: str
    damaged: Path
    target: Path
    mask: Path | None


def compare(run: Path, job: CompareJob, *, command: str = "", quiet: bool = False) -> tuple[Path, dict[str, float]]:
    """Restore every input and measure it against its target; returns the folder written and the mean figures.

    Leaves evaluation.json, images.csv (the figures of each pair), sheet.png and evaluation.html. Figures ending in
    `_before` are those of the damaged input itself. Raises UserError for folders that do not pair.
    """
    pairs = find_pairs(job.data, job.exclude)
    system = load_system(run)
    work = restorer(system, RestoreJob(input=job.data, out=job.data, value_range=job.value_range, device=job.device,
                                       precision=job.precision))
    out = job.out or run / "evaluation"
    apart(out, job.data)
    require_own(out)
    with exclusive(out):
        return out, _compare_into(out, run, job, system, work, pairs, command, quiet)


def _compare_into(out: Path, run: Path, job: CompareJob, system: System, work: Restore, pairs: list[_Pair],
                  command: str, quiet: bool) -> dict[str, float]:
    overlap = MaskOverlap()
    rows: list[dict[str, Any]] = []
    with Bar("evaluate", len(pairs), quiet=quiet) as bar:
        for pair in pairs:
            damaged, restored, target = _restored(pair, work, system.config.channels, job.value_range, overlap)
            rows.append({"name": pair.name, **_measured(damaged, restored, target)})
            bar.advance(1)
    figures = {key: float(np.mean([row[key] for row in rows if key in row])) for key in _columns(rows)}
    if any(pair.mask for pair in pairs):
        figures |= overlap.compute()
    table = Table(columns=("name", *_columns(rows)),
                  rows=tuple((row["name"], *(row.get(key) for key in _columns(rows))) for row in rows))
    write_text(out / "images.csv", table.csv())
    chosen = _worst_and_best(rows)
    shown = [(rows[i], _restored(pairs[i], work, system.config.channels, job.value_range, None)) for i in chosen]
    _write_page(out, type(system).__name__, figures, rows, shown, command)
    # Last: whoever finds it finds everything else too.
    write_json(out / "evaluation.json", {
        "run": str(run), "data": str(job.data), "exclude": list(job.exclude), "version": __version__,
        "command": command, "figures": figures | {"num_images": len(rows)}})
    return figures | {"num_images": len(rows)}


def find_pairs(data: Path, exclude: Sequence[str] = ()) -> list[_Pair]:
    """The pairs in data/input and data/target, matched by name without ending, in order; UserError if one is alone."""
    inputs, targets = ImageFolder(data / "input"), ImageFolder(data / "target")
    by_stem = {_stem(name): data / "target" / name for name in targets.names}
    masks = inputs.files.get("mask", [None] * len(inputs))
    pairs = []
    for name, mask in zip(inputs.names, masks, strict=True):
        if _stem(name) in exclude:
            continue
        if _stem(name) not in by_stem:
            raise UserError(f"{show(data)}: input/{show(name)} has no partner in target/: give both one name")
        pairs.append(_Pair(_stem(name), data / "input" / name, by_stem[_stem(name)],
                           data / "input" / mask if mask else None))
    unknown = set(exclude) - {_stem(name) for name in inputs.names}
    if unknown or not pairs:
        raise UserError(f"{show(data)}: --exclude {' '.join(sorted(unknown)) or '...'}: "
                        + ("no pair has that name" if unknown else "no pair is left"))
    return pairs


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _restored(pair: _Pair, work: Restore, channels: int, value_range: tuple[float, float] | None,
              overlap: MaskOverlap | None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Damaged, restored and target, each (1, C, H, W) in [0, 1]; a mask is counted into `overlap`."""
    pixels = read_original(pair.damaged, channels).pixels
    result, mask = work(pixels)
    if overlap is not None and mask is not None and pair.mask is not None:
        overlap.update({"mask": torch.from_numpy(mask[None])}, {"mask": torch.from_numpy(read_image(pair.mask).copy())})
    wanted = read_image(pair.target)
    if len(wanted) < len(result) or read_header(pair.target).has_alpha:
        wanted = framing.convert_channels(wanted, len(result), has_alpha=len(wanted) in (2, 4), path=pair.target)
    if wanted.shape[1:] != result.shape[1:]:
        raise UserError(f"{show(pair.target)}: is {wanted.shape[2]} x {wanted.shape[1]}, the restored picture "
                        f"{result.shape[2]} x {result.shape[1]}: give targets of that size, or inputs scaled as the "
                        "network was trained to (--scale)")
    damaged, restored, target = (
        torch.from_numpy(framing.to_unit(framing.check_values(array, value_range, pair.damaged)))[None]
        for array in (pixels, result, wanted))
    return damaged, restored, target[:, :restored.shape[1]]


def _measured(damaged: torch.Tensor, restored: torch.Tensor, target: torch.Tensor) -> dict[str, float]:
    """The figures of one pair, and those of its input (enlarged bicubically, or made grey RGB, if need be)."""
    before = damaged[:, :target.shape[1]]
    if before.shape[-2:] != target.shape[-2:]:
        before = F.interpolate(before, target.shape[-2:], mode="bicubic", antialias=True).clamp(0, 1)
    figures: dict[str, float] = {}
    for image, suffix in ((restored, ""), (before.expand_as(target), "_before")):
        metric = Restoration()
        metric.update({"target": image}, {"target": target})
        figures |= {name + suffix: value for name, value in metric.compute().items() if name != "num_images"}
    return figures


def _columns(rows: list[dict[str, Any]]) -> list[str]:
    return [key for key in dict.fromkeys(key for row in rows for key in row) if key != "name"]


def _worst_and_best(rows: list[dict[str, Any]]) -> list[int]:
    """Indices by PSNR: the worst, then the best."""
    order = sorted(range(len(rows)), key=lambda i: rows[i]["psnr"])
    return order if len(order) <= 2 * _SHOWN else order[:_SHOWN] + order[-_SHOWN:]


_Shown = list[tuple[dict[str, Any], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]]


def _write_page(out: Path, system: str, figures: dict[str, float], rows: list[dict[str, Any]], shown: _Shown,
                command: str) -> None:
    stages = [[_shown(images[k]) for _, images in shown] for k in range(3)]
    overview = sheet([(name, torch.cat([_square(image) for image in images])) for name, images in
                      zip(("input", "output", "target"), stages, strict=True)])
    with atomic_write(out / "sheet.png") as file:
        file.write(overview)
    page = Page(f"{system}: restored against true pictures", f"{len(rows)} pairs")
    kinds = [key for key in _NAMES if key in figures]
    page.numbers([_card(key, figures) for key in kinds])
    page.section("The worst and the best")
    page.figure(overview, "Left the worst, right the best by PSNR; the middle of each picture.")
    for number, (row, _) in enumerate(shown):
        page.pair(_jpeg(stages[0][number]), _jpeg(stages[1][number]), names=("input", "output"),
                  caption=f"{row['name']}: {row['psnr_before']:.2f} dB, restored {row['psnr']:.2f} dB")
    page.section("Every pair")
    page.table(Table(columns=("name", *_columns(rows)),
                     rows=tuple((row["name"], *(row.get(key) for key in _columns(rows))) for row in rows)))
    if command:
        page.section("Made with")
        page.code(command)
    page.write(out / "evaluation.html")


def _card(key: str, figures: dict[str, float]) -> Number:
    """A figure of the restored pictures beside that of the damaged ones as they are, which cost nothing."""
    if key + "_before" not in figures:
        return Number(_NAMES[key], f"{figures[key]:.4g}")
    return Number.of_change(_NAMES[key], figures[key + "_before"], figures[key], "{:.4g}", "from input to output",
                            higher_is_better=key != "spectral_angle")


def _shown(image: torch.Tensor) -> torch.Tensor:
    """What a page can show of (1, C, H, W): one or three channels, not larger than a page."""
    image = image[:, :3] if image.shape[1] >= 3 else image[:, :1]
    factor = _SHOWN_SIDE / max(image.shape[-2:])
    if factor >= 1:
        return image.expand(-1, 3, -1, -1)
    size = [max(1, round(side * factor)) for side in image.shape[-2:]]
    return F.interpolate(image, size, mode="bilinear", antialias=True).expand(-1, 3, -1, -1)


def _square(image: torch.Tensor, side: int = 160) -> torch.Tensor:
    """The middle of a picture, enlarged first where it is smaller than that."""
    if min(image.shape[-2:]) < side:
        factor = side / min(image.shape[-2:])
        size = [max(side, round(length * factor)) for length in image.shape[-2:]]
        image = F.interpolate(image, size, mode="nearest")
    top, left = ((length - side) // 2 for length in image.shape[-2:])
    return image[..., top : top + side, left : left + side]


def _jpeg(image: torch.Tensor) -> bytes:
    buffer = io.BytesIO()
    picture(image[0]).save(buffer, "JPEG", quality=92, subsampling=0)
    return buffer.getvalue()
