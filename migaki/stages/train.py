"""train: trains a system on data folders and writes a run folder."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from migaki.core import processes
from migaki.core.errors import UserError
from migaki.core.files import apart, atomic_write, make_inner_folder
from migaki.core.fit import Run, fit
from migaki.core.hardware import choose_device
from migaki.core.log import read_rows
from migaki.core.seeds import fold
from migaki.core.system import System, data_paths
from migaki.core.trained import check_network
from migaki.core.validation import PREFIX
from migaki.data.sets.contents import contents_of
from migaki.report.run_report import write_run_report


def train(cls: type[System], data: Any, config: Any, run: Run, out: Path, *, quiet: bool = False) -> System:
    """Train a system of class `cls` on the folders of `data` into `out`; continues an interrupted run.

    The initial weights are drawn from (run.seed, 0). Under `torchrun` each process uses its part of the images (see
    docs/scale.md). Raises UserError for folders that do not fit, and for an `out` that holds something else.
    """
    check_numbers(config)
    folders = data_paths(data)
    apart(out, *(path for paths in folders.values() for path in paths))
    processes.join(choose_device(run.device))  # before the folders are opened: each process reads its part
    config, source = cls.open(data, config, run.seed)
    check_network(cls, config)
    torch.manual_seed(fold(run.seed, 0))
    system = cls(config)
    system.prepare(data)
    held = contents_of(folders) if processes.rank() == 0 else None
    trained = fit(system, source, run, out, data=data, contents=held, quiet=quiet).eval()
    if processes.rank() == 0:
        _draw_validation(out)
        if not (out / "report.html").exists():
            write_run_report(out)
    processes.leave()
    return trained


def _draw_validation(out: Path) -> None:
    """Draw the figures on held-out images over the steps of the run, if there are any."""
    rows = read_rows(out / "metrics.jsonl")
    keys = list(dict.fromkeys(key for row in rows for key in row if key.startswith(PREFIX)))
    if not keys:
        return
    from migaki.report.figures import training_curves  # draws with a library that takes a second to import

    with atomic_write(make_inner_folder(out / "samples") / "held_out.png") as file:
        file.write(training_curves([row for row in rows if keys[0] in row], keys=keys, smooth=1))


_SHARES = ("dropout", "label_smoothing", "ema", "beta1", "confident", "validate")
_AT_LEAST_ONE = ("steps", "batch_size", "features", "num_refiner_steps", "num_discriminator_steps", "first_kernel",
                 "discriminator_features", "directions", "projection")


def check_numbers(config: Any) -> None:
    """Raises UserError if a configuration holds a negative number, NaN, a fraction above 1, or zero steps or images."""
    for field in fields(config):
        value, least = getattr(config, field.name), int(field.name in _AT_LEAST_ONE)
        if isinstance(value, int | float) and str(field.type) in ("int", "float") and not value >= least:
            raise UserError(f"--{field.name.replace('_', '-')} {value}: must be at least {least}")
        if field.name in _SHARES and value > 1:
            raise UserError(f"--{field.name.replace('_', '-')} {value}: is a fraction, at most 1")
