"""Judges a restorer by pairs in input/ and target/ of equal names, and compares it with the input itself."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from migaki import __version__
from migaki.core import hardware
from migaki.core.errors import UserError
from migaki.core.judge import Findings, Judge, Progress, Section, each_once, share_of
from migaki.core.trained import load_system
from migaki.data.files import framing
from migaki.data.files.image_file import read_header, read_image, show
from migaki.data.files.member import FilePath, place
from migaki.data.files.restored_file import read_original
from migaki.data.folder import ImageFolder
from migaki.data.whole import Restore, restorer
from migaki.metrics.restoration import MaskOverlap, Restoration
from migaki.report.several import over_runs
from migaki.report.sheets import picture, sheet
from migaki.report.tables import Table

_SHOWN = 3  # of the worst and of the best images
_SHOWN_SIDE = 900  # px; larger pictures are made smaller on the page
_NAMES = {"psnr": "PSNR, RGB (dB)", "ssim": "SSIM, RGB", "psnr_y": "PSNR, Y (dB)", "ssim_y": "SSIM, Y",
          "spectral_angle": "spectral angle (rad)", "iou": "mask, intersection over union"}


class Pairs(Judge):
    """Restores every input and measures it against its target.

    Figures ending in `_before` are those of the damaged input itself, the baseline.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The pairs and how to read them."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "exclude value_range", "run": "device precision"}

        data: Path  # a folder with input/ and target/, pairs of one name
        exclude: tuple[str, ...] = ()  # names of pairs to leave out, without their endings
        value_range: tuple[float, float] | None = None  # file values that map to 0 and 1; None: the files' type decides
        device: hardware.Device = "auto"  # auto: a GPU where there is one
        precision: hardware.Precision = "auto"  # auto: bf16 where the hardware computes in it

    config: Config
    takes_runs = True

    def sources(self) -> tuple[Path, ...]:
        """Returns the folder of pairs."""
        return (self.config.data,)

    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns the mean over the pairs, the figures of each pair, and the first run's worst and best pairs."""
        runs, config = each_once(runs), self.config
        pairs = find_pairs(config.data, config.exclude)
        found = [_Judged(run, config, pairs, share_of(progress, number * len(pairs), len(runs) * len(pairs)))
                 for number, run in enumerate(runs)]
        first = found[0]
        table = Table(columns=("name", *_columns(first.rows)), rows=tuple(
            (row["name"], *(row.get(key) for key in _columns(first.rows))) for row in first.rows))
        figures, sections, overview = first.figures, first.sections(pairs, config), first.overview
        if len(runs) > 1:
            figures, by_run = over_runs(list(map(str, runs)), [one.figures for one in found])
            sections = [by_run, *sections]
        sections.append(Section(heading="Every pair", columns=table.columns, rows=table.rows, is_folded=True))
        record = {"run": str(runs[0]) if len(runs) == 1 else list(map(str, runs)), "data": str(config.data),
                  "exclude": list(config.exclude), "version": __version__}
        return Findings(title=f"{first.name}: restored against true pictures", record=record, figures=figures,
                        baseline={key.removesuffix("_before"): value for key, value in first.figures.items()
                                  if key.endswith("_before")}, baseline_name="the input itself", sections=sections,
                        files={"images.csv": table.csv().encode(), "sheet.png": overview})


class _Judged:
    """The results of one run on all pairs."""

    def __init__(self, run: Path, config: Pairs.Config, pairs: Sequence[_Pair],
                 progress: Callable[[int], None]) -> None:
        system = load_system(run)
        self.name, self.channels = type(system).__name__, system.channels
        self.work = restorer(system, config.value_range, config.device, config.precision)
        self.rows: list[dict[str, Any]] = []
        overlap = MaskOverlap()
        for number, pair in enumerate(pairs, 1):
            damaged, restored, target = _restored(pair, self.work, self.channels, config.value_range, overlap)
            self.rows.append({"name": pair.name, **_measured(damaged, restored, target)})
            progress(number)
        means = {key: float(np.mean([row[key] for row in self.rows if key in row])) for key in _columns(self.rows)}
        masks = overlap.compute() if any(pair.mask for pair in pairs) else {}
        self.figures: dict[str, Any] = means | masks | {"num_images": len(self.rows)}
        self.overview = b""

    def sections(self, pairs: Sequence[_Pair], config: Pairs.Config) -> list[Section]:
        """Returns the worst and the best pairs, as a sheet and one by one."""
        shown = [(self.rows[i], _restored(pairs[i], self.work, self.channels, config.value_range, None))
                 for i in _worst_and_best(self.rows)]
        stages = [[_shown(images[k]) for _, images in shown] for k in range(3)]
        self.overview = sheet([(name, torch.cat([_square(image) for image in images])) for name, images in
                               zip(("input", "output", "target"), stages, strict=True)])
        return [Section(heading="The worst and the best", picture=self.overview,
                        caption="Left the worst, right the best by PSNR; the middle of each picture."),
                *(Section(pair=(_jpeg(stages[0][number]), _jpeg(stages[1][number])), names=("input", "output"),
                          caption=f"{row['name']}: {row['psnr_before']:.2f} dB, restored {row['psnr']:.2f} dB")
                  for number, (row, _) in enumerate(shown))]


class _Pair(NamedTuple):
    """One pair."""

    name: str
    damaged: FilePath
    target: FilePath
    mask: FilePath | None


def find_pairs(data: Path, exclude: Sequence[str] = ()) -> list[_Pair]:
    """Match data/input with data/target by name without ending, in order; UserError for a picture without partner."""
    inputs, targets = ImageFolder(data / "input"), ImageFolder(data / "target")
    by_stem = {_stem(name): targets.file(number) for number, name in enumerate(targets.names)}
    masks = inputs.files.get("mask", [None] * len(inputs))
    pairs = []
    for number, (name, mask) in enumerate(zip(inputs.names, masks, strict=True)):
        if _stem(name) in exclude:
            continue
        if _stem(name) not in by_stem:
            raise UserError(f"{show(data)}: input/{show(name)} has no partner in target/: give both one name")
        pairs.append(_Pair(_stem(name), inputs.file(number), by_stem[_stem(name)],
                           place(inputs.path, inputs.rows[number], "mask_file_name") if mask else None))
    unknown = set(exclude) - {_stem(name) for name in inputs.names}
    if unknown or not pairs:
        raise UserError(f"{show(data)}: --exclude {' '.join(sorted(unknown)) or '...'}: "
                        + ("no pair has that name" if unknown else "no pair is left"))
    return pairs


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _restored(pair: _Pair, work: Restore, channels: int, value_range: tuple[float, float] | None,
              overlap: MaskOverlap | None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns damaged, restored and target, each (1, C, H, W) in [0, 1]; adds a predicted mask to `overlap`."""
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
    """Returns the figures of one pair and of its input (enlarged bicubically, or grey made RGB, where necessary)."""
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
    """Returns the indices of the worst pairs by PSNR, then of the best."""
    order = sorted(range(len(rows)), key=lambda i: rows[i]["psnr"])
    return order if len(order) <= 2 * _SHOWN else order[:_SHOWN] + order[-_SHOWN:]


def _shown(image: torch.Tensor) -> torch.Tensor:
    """Convert (1, C, H, W) to one or three channels, reduced to the width of a page."""
    image = image[:, :3] if image.shape[1] >= 3 else image[:, :1]
    factor = _SHOWN_SIDE / max(image.shape[-2:])
    if factor >= 1:
        return image.expand(-1, 3, -1, -1)
    size = [max(1, round(side * factor)) for side in image.shape[-2:]]
    return F.interpolate(image, size, mode="bilinear", antialias=True).expand(-1, 3, -1, -1)


def _square(image: torch.Tensor, side: int = 160) -> torch.Tensor:
    """Returns the central square of a picture, which is first enlarged if it is smaller than `side`."""
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
