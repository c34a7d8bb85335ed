"""Measures an adversarial patch on photographs that it was not made with, beside its controls; writes a print sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from migaki import __version__
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.judge import Findings, Judge, Progress, Section
from migaki.core.seeds import generator
from migaki.core.trained import load_system, read_record
from migaki.data.folder import ImageFolder
from migaki.metrics.shares import share_of_pictures
from migaki.nets.published import is_published
from migaki.nets.scorer import Scorer, fit_pictures, open_single
from migaki.ops.patches import NUMBERS
from migaki.ops.views import draw_views, photographed
from migaki.report.print_sheet import as_pdf, as_png, print_sheet, require_width
from migaki.report.sheets import image_png, sheet
from migaki.systems.patch import Patch

_HELD_OUT, _NOISE = 5527, 3  # folded into the seed
_SHOWN = 8

_ABOUT = (
    "Success: the share of placements in which the model says the target, of photographs of which it does not say the "
    "target by itself. The controls cover the same pixels in the same light: a patch of random colours, and a "
    "photograph of the target where one is known. Intervals are Wilson's at 95 % with the photographs as trials. "
    "sheet.png and sheet.pdf are to be printed at 100 %.")


class Patches(Judge):
    """Puts a trained patch (`migaki train patch`) into photographs at drawn places and counts how often it succeeds.

    The controls are no patch, a patch of random colours, and a photograph of the target class.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The photographs, and how often the patch is put into each."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "model photo repeats seed print_cm"}

        data: Path  # photographs that the patch was not trained with
        model: Path | None = None  # another classifier than that of the training: does the patch carry over?
        photo: Path | None = None  # a photograph of the target class, as a control
        repeats: int = 4  # placements in each photograph
        seed: int = 0  # of the placements
        print_cm: float = 12.0  # width of the patch on the sheet to print

        def __post_init__(self) -> None:
            if self.repeats < 1:
                raise UserError(f"--repeats {self.repeats}: at least 1")
            require_width(self.print_cm)

    config: Config
    takes_runs = True

    def sources(self) -> tuple[Path, ...]:
        """Returns the photographs."""
        return (self.config.data,)

    def default_out(self, runs: Sequence[Path]) -> Path | None:
        """Returns a folder beside the run."""
        return runs[0] / "patches" if runs else None

    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns the success of the patch and of its controls."""
        if len(runs) != 1:
            raise UserError("evaluate patches: name one run of `migaki train patch`")
        config = self.config
        system, scores = opened_patch(runs[0], config.model)
        folder = ImageFolder(config.data, size=(system.config.height, system.config.width),
                             channels=system.config.channels)
        kinds = {"patch": system.patch.detach(), "noise": noise_patch(system, config.seed)}
        if config.photo is not None:
            kinds["photo"] = _photo_patch(system, config.photo)
        hits: dict[str, list[float]] = {name: [] for name in kinds}
        counted: list[int] = []
        shown: list[Tensor] = []
        for index in range(len(folder)):
            picture = folder.read([index], ("image",))["image"]
            if int(scores(picture).argmax()) != system.target:  # pictures of the target prove nothing
                counted.append(index)
                for name, patch in kinds.items():
                    seen = self._seen(system, picture, patch, index)
                    with torch.no_grad():
                        said = scores(seen).argmax(1)
                    hits[name].append(float((said == system.target).float().mean()))
                    shown += [seen[:1]] if name == "patch" and len(shown) < _SHOWN else []
            progress(index + 1, len(folder))
        if not counted:
            raise UserError(f"{show(config.data)}: the model says the target of every photograph by itself: give "
                            "photographs of other classes")
        return self._findings(runs[0], system, scores, folder, hits, shown)

    def _seen(self, system: Patch, picture: Tensor, patch: Tensor, index: int) -> Tensor:
        """Returns a photograph with a patch at the drawn places, the same for every patch: (repeats, C, H, W)."""
        draw, repeats = generator(self.config.seed, _HELD_OUT, index), self.config.repeats
        numbers = 2 * torch.rand(repeats, NUMBERS, generator=draw) - 1
        seen = draw_views(system.config.views, repeats, (picture.shape[2], picture.shape[3]), draw)
        with torch.no_grad():
            return photographed(system.put(picture.expand(repeats, -1, -1, -1), numbers, patch), seen)

    def _findings(self, run: Path, system: Patch, scores: Scorer, folder: ImageFolder, hits: dict[str, list[float]],
                  shown: list[Tensor]) -> Findings:
        config = self.config
        target = scores.class_name(system.target)
        figures: dict[str, Any] = {"count": len(hits["patch"]), "area": system.config.share,
                                   **share_of_pictures("success", hits["patch"])}
        if "photo" in hits:
            figures |= share_of_pictures("photo_success", hits["photo"])
        record = {"run": str(run), "data": str(config.data), "model": str(config.model or ""), "target": target,
                  "repeats": config.repeats, "seed": config.seed, "data_fingerprint": folder.fingerprint,
                  "version": __version__}
        page = sheet_of(system, scores, config.print_cm)
        return Findings(
            title="An adversarial patch", record=record, figures=figures,
            baseline=share_of_pictures("success", hits["noise"]), baseline_name="patch of random colours",
            notes=[_ABOUT], sections=[Section(heading="Pictures", picture=sheet([("patched", torch.cat(shown))]),
                                              caption="The first photographs with the patch.")],
            files={"patch.png": image_png(alone_on_white(system), min_side=1), "sheet.png": as_png(page),
                   "sheet.pdf": as_pdf(page)})


def noise_patch(system: Patch, seed: int) -> Tensor:
    """Returns a patch of the same size whose pixels are uniform within what can be printed, (1, C, S, S)."""
    low, high = system.config.printed
    draw = generator(seed, _NOISE)
    return low + (high - low) * torch.rand(system.colours.shape, generator=draw)


def _photo_patch(system: Patch, path: Path) -> Tensor:
    """Returns a photograph in the size of the patch."""
    size = system.colours.shape[-1]
    photo = ImageFolder(path, size=(size, size), channels=system.config.channels).read([0], ("image",))["image"]
    low, high = system.config.printed
    return F.interpolate(photo, (size, size)).clamp(low, high)


def _victim(run: Path, model: Path | None) -> Scorer:
    if model is not None:
        return open_single(model)
    known = read_record(run).get("data", {}).get("model")
    if not isinstance(known, str) or not (Path(known).exists() or is_published(known)):
        raise UserError(f"{run}: the classifier of its training is no longer at {show(str(known))}: name it with "
                        "--model")
    return open_single(known)


def opened_patch(run: Path, model: Path | None) -> tuple[Patch, Scorer]:
    """Returns a trained patch, and the classifier `model` or by default that of its training; UserError if they do not
    fit."""
    system = load_system(run)
    if not isinstance(system, Patch):
        raise UserError(f"{run}: is no patch: give a run of `migaki train patch`")
    scores, config = _victim(run, model), system.config
    if scores.num_classes != config.num_classes:
        raise UserError(f"--model: knows {scores.num_classes} classes, and the patch was made for a model of "
                        f"{config.num_classes}: give a model of the same classes")
    if problem := fit_pictures(scores, (config.channels, config.height, config.width)):
        raise UserError(f"--model: a picture of the patch's training {problem}")
    return system, scores


def alone_on_white(system: Patch) -> Tensor:
    """Returns the patch (C, S, S), white where it is not shown."""
    return (system.patch * system.shown + 1 - system.shown).detach()[0]


def sheet_of(system: Patch, scores: Scorer, centimetres: float) -> Image.Image:
    """Returns the sheet to print; see `report.print_sheet`."""
    caption = f"Adversarial patch, target: {scores.class_name(system.target)}"
    return print_sheet(alone_on_white(system), centimetres, caption)
