"""evaluate: a trained system against the labels of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from migaki import __version__
from migaki.core import hardware
from migaki.core.errors import UserError
from migaki.core.files import apart, exclusive
from migaki.core.metric import Metric
from migaki.core.progress import Bar
from migaki.core.system import System
from migaki.core.trained import load_system
from migaki.data.folder import ImageFolder
from migaki.data.sets.gaze_labels import require_gaze
from migaki.report.evaluation import write_evaluation


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateJob:
    """What to judge by."""

    data: Path  # a folder with labels
    out: Path | None = None  # where evaluation.json and the curve go; by default into the run's folder
    exclude: tuple[str, ...] = ()  # leave out rows where these columns are true, such as bad_crop
    batch_size: int = 256  # images at once
    device: hardware.Device = "auto"
    precision: hardware.Precision = "auto"


def evaluate(run: Path, job: EvaluateJob, *, quiet: bool = False) -> dict[str, Any]:
    """The figures of the trained system in the folder `run` on the labels of `job.data`, ready for JSON."""
    system = load_system(run)
    return measure(system, open_for(system, job), job, quiet=quiet)


def evaluate_into(run: Path, job: EvaluateJob, *, command: str = "",
                  quiet: bool = False) -> tuple[Path, dict[str, Any]]:
    """As `evaluate`, and write it down in `job.out`: JSON, every image's error, pictures, a page."""
    system = load_system(run)
    folder = open_for(system, job)
    record = {"run": str(run), "data": str(job.data), "data_fingerprint": folder.fingerprint,
              "exclude": list(job.exclude), "version": __version__}
    out = job.out or run / "evaluation"
    apart(out, job.data)
    require_own(out)
    with exclusive(out):
        metric = judge(system, folder, job, quiet=quiet)
        return out, write_evaluation(out, record, metric, folder.names, command,
                                     lambda places: folder.read(places, ("image",))["image"])


def require_own(out: Path) -> None:
    """UserError for a folder that holds images or a run: what is judged must not be mixed with it."""
    for name in ("dataset.json", "metadata.jsonl", "metadata.csv", "config.json"):
        if (out / name).exists():
            raise UserError(f"{out}: holds {name}, so it is no place for an evaluation: choose a new folder")


def open_for(system: System, job: EvaluateJob) -> ImageFolder:
    """The folder in the system's size, without the excluded rows; UserError for an unknown column."""
    config = system.config
    folder = ImageFolder(job.data, size=(config.height, config.width), channels=config.channels)
    for column in job.exclude:
        folder.require(column)
        folder = folder.select([i for i, bad in enumerate(folder.labels[column]) if not bad])
    return folder


def measure(system: System, folder: ImageFolder, job: EvaluateJob, *, quiet: bool = False) -> dict[str, Any]:
    """Run `system` over `folder` and compute its metric; UserError if the labels it needs are missing."""
    return judge(system, folder, job, quiet=quiet).compute()


def judge(system: System, folder: ImageFolder, job: EvaluateJob, *, quiet: bool = False) -> Metric:
    """The metric of `system` fed with all of `folder`; UserError if the labels it needs are missing."""
    if job.batch_size < 1:
        raise UserError(f"--batch-size {job.batch_size}: at least 1")
    metric = system.metric()
    if metric is None:
        raise UserError(f"{type(system).__name__} has no measure against labels: evaluate the task model instead")
    device = hardware.choose_device(job.device)
    precision = hardware.choose_precision(job.precision, device)
    system = system.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    keys = _needed(system, metric, folder)
    folder.require(*keys)
    if "gaze" in keys:
        require_gaze(folder)
    with Bar("evaluate", len(folder), quiet=quiet) as bar:
        for start in range(0, len(folder), job.batch_size):
            indices: Sequence[int] = range(start, min(start + job.batch_size, len(folder)))
            batch = folder.read(indices, keys)
            with torch.inference_mode(), hardware.autocast(device, precision):
                made = system.predict({key: value.to(device) for key, value in batch.items()})
            metric.update({key: value.cpu() for key, value in made.items()}, batch)
            bar.advance(len(indices))
    return metric


def _needed(system: System, metric: Metric, folder: ImageFolder) -> tuple[str, ...]:
    sides = ("side",) if "side" in folder.labels else ()
    return ("image", *metric.keys, *sides)
