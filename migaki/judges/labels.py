"""Compares trained systems with a folder's labels, image by image, and with a model that ignores the images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from migaki import __version__
from migaki.core import hardware
from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.judge import Findings, Judge, Progress, each_once, share_of
from migaki.core.metric import Metric
from migaki.core.notices import notice
from migaki.core.system import System
from migaki.core.trained import load_system
from migaki.data.files.image_file import show
from migaki.data.folder import ImageFolder
from migaki.data.sets.box_classes import match_box_classes
from migaki.data.sets.class_labels import match_classes
from migaki.data.sets.mask_classes import match_mask_classes
from migaki.data.sets.number_columns import match_units
from migaki.judges.calibrated import calibrated_findings
from migaki.judges.described import what_was_seen
from migaki.judges.groups import GroupMetrics, compare_groups, groups_of
from migaki.report.evaluation import shown_by
from migaki.report.several import over_runs


class Labels(Judge):
    """Compares the predictions of systems with the folder's labels; several runs are reported with their spread."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The labelled folder and how to run the systems."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "exclude by calibrate", "run": "batch_size device precision"}

        data: Path  # a folder with labels
        exclude: tuple[str, ...] = ()  # leave out rows where these columns are true, such as bad_crop
        by: tuple[str, ...] = ()  # columns whose values make groups, such as person: figures for each, the worst first
        calibrate: int = 0  # of gaze: labelled looks of each group (--by) that an affine map is fitted on; 0 = none
        draws: int = 20  # times the looks of --calibrate are drawn
        batch_size: int = 256  # images at once
        device: hardware.Device = "auto"  # auto: a GPU where there is one
        precision: hardware.Precision = "auto"  # auto: bf16 where the hardware computes in it

    config: Config
    takes_runs = True

    def sources(self) -> tuple[Path, ...]:
        """Returns the labelled folder."""
        return (self.config.data,)

    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns the figures of the run, or of all runs with their spread, and pictures of the first."""
        runs, config = each_once(runs), self.config
        metrics: list[Metric] = []
        by_group: list[GroupMetrics] = []
        for number, run in enumerate(runs):
            system = load_system(run)
            folder = open_for(system, config)
            share, groups = len(folder), groups_of(folder, config.by)
            grouped = GroupMetrics(system, groups) if config.by else None
            metrics.append(metric_of(system, folder, config, share_of(progress, number * share, len(runs) * share),
                                     None if grouped is None else grouped.add))
            by_group += [] if grouped is None else [grouped]
        base, names = metrics[0].baseline(), [str(run) for run in runs]
        each, baseline = [metric.compute() for metric in metrics], dict(base.figures)
        sections, files = shown_by(metrics[0], folder.names, folder)
        notes = what_was_seen(runs, folder).learned
        for note in notes:
            notice(note)
        if config.calibrate:
            found = calibrated_findings(metrics, groups, folder.names, config.calibrate, config.draws)
            each = [one | further for one, further in zip(each, found.figures, strict=True)]
            baseline |= found.baseline
            sections, files = [found.section, *sections], files | {"calibrated.csv": found.file}
            notes.append(found.note)
        figures = each[0]
        if len(runs) > 1:
            figures, table = over_runs(names, each)
            sections = [table, *sections]
            notes.append(f"Curves and pictures are those of {runs[0]}.")
        if by_group:
            parts = compare_groups(groups, by_group, names)
            figures, baseline = figures | parts.figures, baseline | parts.baseline
            sections, files = [parts.section, *sections], files | {"groups.csv": parts.file}
            notes.append(parts.note)
        return Findings(title="Evaluation", record=self._record(names, folder), figures=figures, baseline=baseline,
                        baseline_name=base.name, sections=sections, files=files, notes=notes)

    def _record(self, names: Sequence[str], folder: ImageFolder) -> dict[str, Any]:
        """Returns what was judged, and with which options."""
        config = self.config
        record: dict[str, Any] = {
            "run": names[0] if len(names) == 1 else list(names), "data": str(config.data),
            "data_fingerprint": folder.fingerprint, "exclude": list(config.exclude), "version": __version__}
        record |= {"by": list(config.by)} if config.by else {}
        return record | ({"calibrate": config.calibrate, "draws": config.draws} if config.calibrate else {})


def open_for(system: System, config: Any) -> ImageFolder:
    """Open the folder `config.data` in the system's size, without excluded rows; UserError for an unknown column."""
    shape = system.shape
    size, channels = (None, None) if shape is None else (shape[1:], shape[0])
    folder = ImageFolder(config.data, size=size, channels=channels)
    for column in config.exclude:
        folder.require(column)
        folder = folder.select([i for i, bad in enumerate(folder.labels[column]) if not bad])
    match_classes(folder, system.config, "the model")
    match_units(folder, system.config, "the model")
    match_mask_classes(folder, system.config, "the model")
    match_box_classes(folder, system.config, "the model")
    return folder


def metric_of(system: System, folder: ImageFolder, config: Any, progress: Callable[[int], None],
              beside: Callable[[Batch, Batch], None] | None = None) -> Metric:
    """Returns the metric of `system`, computed on all of `folder`; UserError if the labels it needs are missing.

    `beside` receives the predictions and the labels of each batch as well, in the order of the folder.
    """
    if config.batch_size < 1:
        raise UserError(f"--batch-size {config.batch_size}: at least 1")
    metric = system.metric()
    if metric is None:
        raise UserError(f"{type(system).__name__} has no measure against labels: evaluate the task model instead")
    device = hardware.choose_device(config.device)
    precision = hardware.choose_precision(config.precision, device)
    system = system.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    reads = (*system.inputs, *(key for key in system.hints if key in folder.labels))
    used = (key for key in metric.hints if key in folder.labels)
    keys = tuple(dict.fromkeys((*reads, *metric.keys, *used)))
    folder.require(*(reads if metric.may_miss else keys))
    for key in metric.keys:
        folder.require_column(key)
    if problem := metric.problem(folder.labels):
        raise UserError(f"{show(folder.path)}: {problem}")
    for start in range(0, len(folder), config.batch_size):
        indices: Sequence[int] = range(start, min(start + config.batch_size, len(folder)))
        batch = folder.read(indices, keys)
        with torch.inference_mode(), hardware.autocast(device, precision):
            made = system.predict({key: batch[key].to(device) for key in reads})
        made = {key: value.cpu() for key, value in made.items()}
        metric.update(made, batch)
        if beside is not None:
            beside(made, batch)
        progress(min(start + config.batch_size, len(folder)))
    return metric
