"""Applies a system or a change to a film in a file, frame by frame, without flicker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from migaki.core import hardware
from migaki.core.batch import Batch
from migaki.core.change import Change
from migaki.core.errors import UnfitPicture, UserError
from migaki.core.files import make_folder, show
from migaki.core.progress import Bar
from migaki.core.seeds import fold, generator
from migaki.core.system import System
from migaki.core.trained import load_system
from migaki.data.files import framing
from migaki.data.files.encoding import to_bytes
from migaki.data.files.video import VIDEO_EXTENSIONS, count_frames, frames_of, transform_video
from migaki.data.sets.clips import Clips, averaged
from migaki.data.whole import restorer
from migaki.stages.apply_job import ApplyJob
from migaki.stages.system_work import split_made

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class _Step:
    """What is done to a frame (1, C, H, W) in [0, 1]."""

    measure: Callable[[Batch], Batch]  # numbers that are averaged over time and then given to `make`
    make: Callable[[Batch], torch.Tensor]
    read: Callable[[Array], Batch]  # (3, H, W) uint8 to the batch of a frame


def is_film(path: Path) -> bool:
    """Whether a path names a file that is a film by its ending."""
    return path.suffix.lower() in VIDEO_EXTENSIONS and not path.is_dir()


def film_target(job: ApplyJob) -> Path:
    """The file to write: `job.out` if it ends in .mp4, else a file of the film's name in the folder `job.out`."""
    if is_film(job.out):
        if job.out.suffix.lower() != ".mp4":
            raise UserError(f"--out {show(job.out)}: films are written as .mp4: give such a name, or a folder")
        make_folder(job.out.parent)
        return job.out
    target = job.out / f"{job.input.stem}.mp4"
    if target.exists() and target.samefile(job.input):
        raise UserError(f"--out {show(job.out)}: the film would take the place of the one that is read: choose another "
                        "folder, or name the new film")
    make_folder(job.out)
    return target


def system_film(run: Path, job: ApplyJob, *, quiet: bool = False) -> Path:
    """Apply a trained system to the film `job.input`; returns the path of the film written.

    Random numbers are drawn once for the film. What the system measures on whole frames is averaged over time, in a
    first pass through the film. Raises UserError for a system that makes no pictures, and for a file that is no film.
    """
    _refuse_options(job)
    system = load_system(run)
    if system.tiling is not None:
        return _restored(system, job, quiet)
    shape, device = system.shape, hardware.choose_device(job.device)
    if shape is None or any(key != "image" for key in system.inputs):
        raise UserError(f"{show(job.input)}: {type(system).__name__} needs more than pictures, and a film has no more: "
                        "give a folder of frames with --input")
    precision = hardware.choose_precision(job.precision, device)
    system.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    drawn = {key: torch.randn(1, *own, generator=generator(job.seed, 0)).to(device)
             for key, own in system.drawn().items()}

    def run_on(what: Callable[[Batch], Batch], batch: Batch) -> Batch:
        with torch.inference_mode(), hardware.autocast(device, precision):
            made = what({key: value.to(device) for key, value in batch.items()} | drawn)
        return {key: value.float().cpu() for key, value in made.items()}

    def make(batch: Batch) -> torch.Tensor:
        picture, _ = split_made(run_on(system.predict, batch))
        if picture is None:
            raise UserError(f"{show(job.input)}: {type(system).__name__} makes no pictures, so it makes no film: give "
                            "a folder of frames with --input")
        return picture

    measures = type(system).measured is not System.measured
    return _film(_Step(lambda batch: run_on(system.measured, batch) if measures else {}, make,
                       lambda pixels: {"image": _framed(pixels, shape, job)}), job, quiet)


def change_film(name: str, change: Change, job: ApplyJob, *, quiet: bool = False) -> Path:
    """Apply a change to the film `job.input`, with one seed for all frames; returns the path of the film written."""
    _refuse_options(job)
    if change.is_film or change.by_row or change.parts != ("",) or any(key != "image" for key in change.inputs):
        raise UserError(f"{show(job.input)}: {name} takes no films: give a folder of pictures with --input")
    change.open(job.input)
    seeds = torch.tensor([fold(job.seed, 0)])

    def make(batch: Batch) -> torch.Tensor:
        try:
            return change.change(batch, seeds).get("image", batch["image"])
        except UnfitPicture as error:
            raise UserError(f"{show(job.input)}: {error}") from error

    measures = type(change).measured is not Change.measured
    return _film(_Step(lambda batch: change.measured(batch) if measures else {}, make,
                       lambda pixels: {"image": torch.from_numpy(framing.to_unit(pixels))[None]}), job, quiet)


def _film(step: _Step, job: ApplyJob, quiet: bool) -> Path:
    target, count = film_target(job), count_frames(job.input)
    steady: list[Batch] = []
    if job.smooth > 0:
        measured: list[Batch] = []
        with Bar("measure frames", count, quiet=quiet) as bar:
            for pixels in frames_of(job.input):
                measured.append(step.measure(step.read(pixels)))
                bar.advance(1)
                if not measured[0]:
                    break  # it measures nothing
        if measured and measured[0]:
            steady = _averaged(measured, job.smooth)
    place = 0
    with Bar("apply to frames", count, quiet=quiet) as bar:
        def frame(pixels: Array) -> Array:
            nonlocal place
            batch = step.read(pixels)
            if steady:
                batch = batch | steady[min(place, len(steady) - 1)]
            place += 1
            bar.advance(1)
            made = to_bytes(step.make(batch))[0].numpy()
            return np.repeat(made, 3, axis=0) if len(made) == 1 else made

        transform_video(job.input, target, frame)
    return target


def _averaged(measured: list[Batch], spread: float) -> list[Batch]:
    """The numbers of each frame, averaged over the frames around it."""
    clips = Clips([{"clip": 0}] * len(measured), "film")
    found = []
    for place in range(len(measured)):
        near = clips.around(place, spread)
        part = {key: torch.cat([measured[one][key] for one in near]) for key in measured[0]}
        found.append(averaged(part, list(near), [near]))
    return found


def _framed(pixels: Array, shape: tuple[int, int, int], job: ApplyJob) -> torch.Tensor:
    """A frame (3, H, W) uint8 as the system takes it: (1, C, h, w) in [0, 1], scaled to cover and cut in the middle."""
    sized = framing.resize(pixels, shape[1:])
    own = framing.convert_channels(sized, shape[0], has_alpha=False, path=job.input)
    return torch.from_numpy(np.ascontiguousarray(framing.to_unit(own)))[None]


def _restored(system: System, job: ApplyJob, quiet: bool) -> Path:
    """Restore a film frame by frame, at its own size."""
    work = restorer(system, job.value_range, job.device, job.precision)
    target = film_target(job)
    with Bar("restore frames", count_frames(job.input), quiet=quiet) as bar:
        def frame(pixels: Array) -> Array:
            bar.advance(1)
            return work(pixels)[0]

        transform_video(job.input, target, frame)
    return target


def _refuse_options(job: ApplyJob) -> None:
    if job.variants != 1:
        raise UserError(f"--variants {job.variants}: one film is made of a film: give another --seed for another one")
    if job.estimator is not None or job.reject_drift or job.rejected != "drop":
        raise UserError("--estimator, --reject-drift and --rejected: a film in a file has no labels that could drift: "
                        "give a folder of frames with --input, or leave them out")
    if job.min_confidence:
        raise UserError(f"--min-confidence {job.min_confidence:g}: nothing is read off a film in a file: leave it out")
    if job.smooth < 0:
        raise UserError(f"--smooth {job.smooth}: give a number of frames, or 0 for frames by themselves")
