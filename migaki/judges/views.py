"""Compares what a field shows of held-out views with the photographs, beside answers that cost nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from migaki import __version__
from migaki.core import hardware
from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.judge import Findings, Judge, Progress, Section, share_of
from migaki.core.trained import load_system
from migaki.data.batches.ray_pixels import divide_views, evenly
from migaki.data.folder import ImageFolder
from migaki.metrics.restoration import psnr, ssim
from migaki.report.sheets import sheet
from migaki.report.tables import Table

_SHOWN = 6  # views on the sheet
_CAMERA = ("camera_to_world", "intrinsics")


class Views(Judge):
    """PSNR and SSIM of held-out views of a scene, of one field or of several, with depth where the set has it.

    Held out are the rows whose `split` is test or val, or the views that the training held out. Beside the field stand
    the training view from the nearest camera, and the mean of the training views. Values are clipped to [0, 1]; figures
    are means over views, as papers print them.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The posed set."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "every", "run": "device"}

        data: Path  # pictures with camera_to_world and intrinsics
        every: bool = False  # judge all rows, which are then no training views: a set of its own
        device: hardware.Device = "auto"  # auto: a GPU where there is one

    config: Config
    takes_runs = True

    def sources(self) -> tuple[Path, ...]:
        """The posed set."""
        return (self.config.data,)

    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns the figures of the first run, and of further ones as `psnr_2` and so on."""
        if not runs:
            raise UserError("evaluate views: name a trained field: migaki evaluate views RUN --data DIR")
        found = [self._one(run, share_of(progress, number * 100, 100 * len(runs))) for number, run in enumerate(runs)]
        figures, first = dict(found[0].figures), found[0]
        for number, other in enumerate(found[1:], 2):
            figures |= {f"{name}_{number}": value for name, value in other.figures.items()}
        record = {"run": [str(run) for run in runs], "data": str(self.config.data), "version": __version__}
        return Findings(
            title="Views", record=record, figures=figures, baseline=first.nearest,
            baseline_name="the training view from the nearest camera", notes=first.notes,
            sections=[Section(picture=first.sheet, caption="Held-out views, evenly chosen. Errors are four times as "
                              "strong; depth is bright where near."),
                      Section(heading="Each view", columns=first.table.columns, rows=first.table.rows)],
            files={"views.png": first.sheet, "views.csv": first.table.csv().encode()})

    def _one(self, run: Path, progress: Any) -> _Judged:
        system = load_system(run)
        if tuple(system.inputs) != _CAMERA or system.shape is None:
            raise UserError(f"{show(run)}: is no field that cameras look at: give a run of `migaki train voxel_field`")
        folder = ImageFolder(self.config.data, size=system.shape[1:], channels=3)
        folder.require(*_CAMERA)
        learned, held = divide_views(folder, int(getattr(system.config, "hold_out", 0)))
        if self.config.every:
            learned, held = [], list(range(len(folder)))
        if not held:
            raise UserError(f"{show(folder.path)}: no view is held out, so none can be judged: train with "
                            "--hold-out 8, or give another set with --every")
        device = hardware.choose_device(self.config.device)
        system.to(device)
        judged = _Judged(folder, learned, held)
        for number, place in enumerate(held):
            batch = folder.read([place], ("image", *_CAMERA))
            with torch.inference_mode():
                made = system.predict({key: batch[key].to(device) for key in _CAMERA})
            judged.add(place, {key: value.float().cpu() for key, value in made.items()}, batch["image"])
            progress(round(100 * (number + 1) / len(held)))
        return judged


class _Judged:
    """The figures of one field, view by view."""

    def __init__(self, folder: ImageFolder, learned: Sequence[int], held: Sequence[int]) -> None:
        self._folder, self._learned = folder, learned
        self._centres = folder.read_label("camera_to_world", range(len(folder)))[:, :, 3]
        self._shown = evenly(held, _SHOWN)
        self._pictures: list[Batch] = []
        self._has_depth = "depth" in folder.files
        self._rows: list[dict[str, Any]] = []
        self._mean = sum((folder.read([place], ("image",))["image"] for place in learned), torch.zeros(())) / max(
            1, len(learned))

    def add(self, place: int, made: Batch, truth: Tensor) -> None:
        """Judge one view."""
        folder, shown = self._folder, made["rendered"]
        row: dict[str, Any] = {"view": folder.names[place]} | _figures(shown, truth)
        near = truth
        if self._learned:
            distance = (self._centres[list(self._learned)] - self._centres[place]).norm(dim=1)
            near = folder.read([self._learned[int(distance.argmin())]], ("image",))["image"]
            row |= {f"{key}_nearest": value for key, value in _figures(near, truth).items()}
            row |= {f"{key}_mean": value for key, value in _figures(self._mean, truth).items()}
        if self._has_depth:
            depth = folder.read_label("depth", [place]).float()
            both = (depth > 0) & (made["rendered_depth"] > 0)
            apart = (depth - made["rendered_depth"]).abs()[both]
            row["depth_error"] = float(apart.mean()) if len(apart) else None
        self._rows.append(row)
        if place in self._shown:
            self._pictures.append({"truth": truth, "shown": shown, "nearest": near,
                                   "error": (4 * (shown - truth).abs()).clamp(0, 1),
                                   "depth": _bright_near(made["rendered_depth"])})
            if "rendered_normals" in made:
                self._pictures[-1]["normals"] = (made["rendered_normals"] / 2 + 0.5).clamp(0, 1)

    def _means(self, ending: str) -> dict[str, float]:
        found = {name: [row[name] for row in self._rows if row[name] is not None]
                 for name in self._rows[0] if name.endswith(ending) and name != "view"}
        return {name.removesuffix(ending): sum(values) / len(values) for name, values in found.items() if values}

    @property
    def figures(self) -> dict[str, Any]:
        """The means of the field, and of the mean picture."""
        own = {name: value for name, value in self._means("").items() if not name.endswith(("_nearest", "_mean"))}
        mean = {f"{name}_mean_picture": value for name, value in self._means("_mean").items()}
        return own | mean | {"num_views": len(self._rows)}

    @property
    def nearest(self) -> dict[str, float]:
        """The means of the nearest training views."""
        return self._means("_nearest")

    @property
    def notes(self) -> list[str]:
        """What was learned from and what was judged."""
        return [f"{len(self._rows)} views were judged; the field learned from {len(self._learned)} others of the set."
                if self._learned else f"{len(self._rows)} views of a set of its own were judged."]

    @property
    def table(self) -> Table:
        """One row a view."""
        rows = [[round(value, 4) if isinstance(value, float) else value for value in row.values()]
                for row in self._rows]
        return Table(list(self._rows[0]), rows)

    @property
    def sheet(self) -> bytes:
        """Photographs, views, the nearest training views, errors, depth and normals."""
        names = {"truth": "photograph", "shown": "field", "nearest": "nearest view", "error": "error x 4",
                 "depth": "depth", "normals": "normals"}
        return sheet([(caption, torch.cat([one[key] for one in self._pictures])) for key, caption in names.items()
                      if key in self._pictures[0]], min_side=160)


def _figures(image: Tensor, truth: Tensor) -> dict[str, float]:
    found = {"psnr": float(psnr(image.clamp(0, 1), truth))}
    if min(truth.shape[-2:]) >= 11:
        found["ssim"] = float(ssim(image.clamp(0, 1), truth, precision=torch.float32))
    return found


def _bright_near(depth: Tensor) -> Tensor:
    """Depth (1, H, W) as a grey picture (1, 1, H, W): the nearest white, what is not there black."""
    there = depth > 0
    if not there.any():
        return torch.zeros_like(depth)[:, None]
    low, high = depth[there].min(), depth[there].max()
    grey = 1 - 0.8 * (depth - low) / (high - low).clamp_min(1e-6)
    return torch.where(there, grey, torch.zeros_like(grey))[:, None]
