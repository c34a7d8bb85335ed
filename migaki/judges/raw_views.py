"""Compares what fields show of held-out views with clean linear truth, beside the noisy raw and its denoising."""

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
from migaki.core.judge import Findings, Judge, Progress, Section
from migaki.core.trained import load_system
from migaki.data.batches.raw_pixels import RAW_COLUMNS, require_raw
from migaki.data.batches.ray_pixels import divide_views, evenly
from migaki.data.folder import ImageFolder
from migaki.data.sets.optional import columns_of
from migaki.data.sets.raw_columns import COLOURS, NOISE
from migaki.metrics.restoration import psnr, ssim
from migaki.ops.anscombe import stabilised, unstabilised
from migaki.ops.linear_light import luminance, to_linear
from migaki.ops.raw_light import aligned, demosaicked, developed, from_camera, to_camera, white_of
from migaki.report.sheets import sheet
from migaki.report.tables import Entry, Table

_SHOWN = 5  # views on the sheet
_CAMERA = ("camera_to_world", "intrinsics")
_STRENGTHS = (0.3, 0.5, 0.7, 0.9, 1.2)  # of non-local means, in deviations of the noise
_NOTE = ("Means over held-out views, in dB but for SSIM and errors: of developed pictures, of linear light up to "
         "white, and of the darkest third of the pixels that are not black. Colours are aligned by a factor and a shift"
         " first. error_above_white is that of luminance, relative, where the longest shutter sees nothing but white.")
_VIEW, _DENOISED = "the noisy view", "non-local means"


class RawViews(Judge):
    """PSNR and SSIM of held-out views of fields in the dark, against the exact `radiance` that the set keeps.

    Runs of `raw_field` are judged by their linear light, other fields by their pictures. Before it is compared, each
    colour of each view is aligned: the truth is fitted to it by a factor and a shift, which are undone. Then both are
    developed alike, with the truth's own exposure. Beside the fields stand the held-out view's own noisy raw, and its
    best denoising by non-local means (its strength chosen by the truth, so no user would do better).
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The set of raws with truth."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "denoise", "run": "device"}

        data: Path  # of `migaki simulate sensor`, its folder input/
        denoise: bool = True  # also by non-local means (extra migaki[photos])
        device: hardware.Device = "auto"  # auto: a GPU where there is one

    config: Config
    takes_runs = True

    def sources(self) -> tuple[Path, ...]:
        """The set."""
        return (self.config.data,)

    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns the figures of the first run, and of further ones as `psnr_2` and so on."""
        if not runs:
            raise UserError("evaluate raw_views: name a trained field: migaki evaluate raw_views RUN --data DIR")
        fields = [_field(run, self.config.device) for run in runs]
        folder = ImageFolder(self.config.data, channels=3)
        folder.require("radiance")
        require_raw(folder)
        columns_of(folder, *COLOURS, *NOISE, "preview_gain")
        held = divide_views(folder, int(getattr(fields[0].config, "hold_out", 0)))[1]
        if not held:
            raise UserError(f"{show(folder.path)}: no view is held out, so none can be judged: train with --hold-out 8")
        names = ["field", *(f"field_{number}" for number in range(2, len(runs) + 1))]
        found = _Figures(evenly(held, _SHOWN))
        for number, place in enumerate(held):
            light = {name: _rendered(field, folder, place) for name, field in zip(names, fields, strict=True)}
            light |= self._free(folder, place)
            truth = folder.read_label("radiance", [place])[0]
            if not torch.isfinite(truth).all():
                raise UserError(f"{show(folder.path)}: the radiance of {show(folder.names[place])} is not finite: "
                                "render it again, or leave the row out")
            found.add(place, truth, light, _above_white(folder, place, truth))
            progress(number + 1, len(held))
        return self._findings(found, names, runs)

    def _free(self, folder: ImageFolder, place: int) -> dict[str, Tensor]:
        """What costs no training: the noisy raw of the view, and its denoising at several strengths."""
        row = folder.read([place], (*RAW_COLUMNS, *(key for key in (*COLOURS, *NOISE) if key in folder.labels)))
        black, white = float(row["black_level"]), float(row["white_level"])
        light = demosaicked((row["raw"][0].float() - black) / (white - black), row["mosaic"][0])
        found = {_VIEW: _balanced(light, row)}
        if self.config.denoise and all(key in row for key in NOISE):
            noise = float(row["shot_noise"]), float(row["read_noise"])
            flat = stabilised(light, *noise)
            for strength in _STRENGTHS:
                quiet = unstabilised(_quiet(flat, strength), *noise)
                found[f"{_DENOISED} {strength:g}"] = _balanced(quiet, row)
        return found

    def _findings(self, found: _Figures, names: Sequence[str], runs: Sequence[Path]) -> Findings:
        means = found.means()
        best = max((name for name in means if name.startswith(_DENOISED)), key=lambda name: means[name]["psnr"],
                   default="")
        shown = [*names, _VIEW, *([best] if best else [])]
        figures: dict[str, Any] = {}
        for number, name in enumerate(names, 1):
            ending = f"_{number}" if number > 1 else ""
            figures |= {f"{key}{ending}": value for key, value in means[name].items()}
        if best:
            figures |= {f"{key}_denoised": value for key, value in means[best].items()}
        figures["num_views"] = found.count
        rows: list[list[Entry]] = [[name, *(round(value, 3) for value in means[name].values())] for name in shown]
        table, pictures = Table(["of held-out views", *means[_VIEW]], rows), found.sheet(shown)
        return Findings(
            title="Views in the dark", figures=figures, baseline=means[_VIEW], baseline_name=_VIEW,
            record={"run": [str(run) for run in runs], "data": str(self.config.data), "version": __version__},
            sections=[Section(columns=table.columns, rows=table.rows),
                      Section(picture=pictures, caption="Held-out views, evenly chosen, all developed alike.")],
            notes=[_NOTE, *(f"{name}: {run}" for name, run in zip(names, runs, strict=True))],
            files={"views.png": pictures, "views.csv": table.csv().encode()})


class _Figures:
    """The figures of all candidates, view by view."""

    def __init__(self, shown: Sequence[int]) -> None:
        self._shown = set(shown)
        self._rows: list[dict[str, dict[str, float]]] = []
        self._pictures: list[dict[str, Tensor]] = []

    @property
    def count(self) -> int:
        """Views."""
        return len(self._rows)

    def add(self, place: int, truth: Tensor, light: dict[str, Tensor], above: Tensor) -> None:
        """Judge linear light (3, H, W) of each candidate against the truth; `above` (H, W) marks what is too bright for
        the sensor at the longest shutter."""
        gain = 1 / white_of(truth[None])
        bright = luminance(truth[None])[0, 0]
        lit = bright > 0 if (bright > 0).any() else bright <= 0
        dark = lit & (bright <= torch.quantile(bright[lit], 1 / 3))
        clean = developed(truth, gain)
        row, pictures = {}, {"truth": clean[None]}
        for name, one in light.items():
            moved = aligned(one.flatten(1), truth.flatten(1)).view_as(truth)
            made = developed(moved, gain)
            row[name] = {"psnr": float(psnr(made[None], clean[None])),
                         "psnr_linear": float(psnr((moved * gain).clamp(0, 1)[None], (truth * gain).clamp(0, 1)[None])),
                         "psnr_dark": float(psnr(made[None, :, dark][..., None], clean[None, :, dark][..., None]))}
            if above.any():
                apart = (luminance(moved[None]) / luminance(truth[None]) - 1).abs()[0, 0]
                row[name]["error_above_white"] = float(apart[above].mean())
            if min(truth.shape[-2:]) >= 11:
                row[name]["ssim"] = float(ssim(made[None], clean[None], precision=torch.float32))
            pictures[name] = made[None]
        self._rows.append(row)
        if place in self._shown:
            self._pictures.append(pictures)

    def means(self) -> dict[str, dict[str, float]]:
        """The means over views, by candidate and figure."""
        found: dict[str, dict[str, float]] = {}
        for name in self._rows[0]:
            keys = dict.fromkeys(key for row in self._rows for key in row[name])
            values = {key: [row[name][key] for row in self._rows if key in row[name]] for key in keys}
            found[name] = {key: sum(some) / len(some) for key, some in values.items()}
        return found

    def sheet(self, names: Sequence[str]) -> bytes:
        """The truth and these candidates."""
        return sheet([(name, torch.cat([one[name] for one in self._pictures])) for name in ("truth", *names)],
                     min_side=160)


def _above_white(folder: ImageFolder, place: int, truth: Tensor) -> Tensor:
    """Which pixels (H, W) of a view are brighter in some colour than the sensor's white at the longest shutter."""
    if "preview_gain" not in folder.labels:
        return torch.zeros(truth.shape[-2:], dtype=torch.bool)
    row = folder.read([place], tuple(key for key in COLOURS if key in folder.labels))
    balance = row["white_balance"][0].float() if "white_balance" in row else torch.ones(3)
    matrix = row["colour_matrix"][0].float() if "colour_matrix" in row else torch.eye(3)
    least = float(folder.read_label("preview_gain", range(len(folder))).min())
    return (to_camera(truth, balance, matrix) / least).amax(0) > 1


def _field(run: Path, device: hardware.Device) -> Any:
    system = load_system(run)
    if tuple(system.inputs) != _CAMERA or system.shape is None:
        raise UserError(f"{show(run)}: is no field that cameras look at: give a run of `migaki train raw_field`")
    return system.to(hardware.choose_device(device))


def _rendered(field: Any, folder: ImageFolder, place: int) -> Tensor:
    """The linear light (3, H, W) that a field shows from the camera of a view, in sRGB's colours."""
    if field.shape[1:] != folder.shape[1:]:
        raise UserError(f"{show(folder.path)}: its pictures are {folder.shape[2]} x {folder.shape[1]} px, the field "
                        f"renders {field.shape[2]} x {field.shape[1]}: give the set that it has learned from")
    cameras: Batch = folder.read([place], _CAMERA)
    with torch.inference_mode():
        made = field.predict({key: value.to(_device_of(field)) for key, value in cameras.items()})
    if "rendered_radiance" not in made:
        return to_linear(made["rendered"][0].float().cpu())
    row = folder.read([place], tuple(key for key in COLOURS if key in folder.labels))
    return _balanced(made["rendered_radiance"][0].float().cpu(), row)


def _device_of(field: torch.nn.Module) -> torch.device:
    return next(field.parameters()).device


def _balanced(light: Tensor, row: Batch) -> Tensor:
    """Light of the camera's own colours (3, H, W) as linear sRGB."""
    balance = row["white_balance"][0].float() if "white_balance" in row else torch.ones(3)
    return from_camera(light, balance, row["colour_matrix"][0].float() if "colour_matrix" in row else torch.eye(3))


def _quiet(flat: Tensor, strength: float) -> Tensor:
    """Non-local means (Buades, Coll, Morel, CVPR 2005) of values (3, H, W) whose noise has the deviation 1."""
    try:
        from skimage.restoration import denoise_nl_means
    except ImportError as error:
        raise UserError("evaluate raw_views: non-local means needs an extra: pip install 'migaki[photos]', or "
                        "--no-denoise") from error
    made = denoise_nl_means(flat.numpy(), h=strength, sigma=1.0, patch_size=5, patch_distance=7, fast_mode=True,
                            channel_axis=0)
    return torch.from_numpy(made).float()
