"""Validation while a model learns: the main figure of its metric on images that are never trained on."""

from __future__ import annotations

from typing import Any

import torch

from migaki.core import hardware
from migaki.core.batch import Scalars
from migaki.core.source import Source, Validated
from migaki.core.system import System

PREFIX = "held_out/"
"""The beginning of the names of these figures in metrics.jsonl."""

_TIMES = 20  # of validation in a run


def is_due(done: int, steps: int, log_every: int) -> bool:
    """Whether to validate after `done` of `steps` updates: about 20 times, always where a row of the log is written."""
    every = -(-max(1, steps // _TIMES) // log_every) * log_every
    return done % every == 0 or done == steps


def held_out_figures(system: System, source: Source, device: torch.device, precision: Any) -> Scalars:
    """The main figure on the held-out images and beside it that of the baseline; empty without images or a metric.

    The system is in training mode before and after; its state and the random numbers of the training do not change.
    """
    metric = system.metric() if isinstance(source, Validated) else None
    if metric is None or not metric.main or not isinstance(source, Validated):
        return {}
    reads = (*system.inputs, *system.hints)
    system.eval()
    with torch.no_grad(), hardware.autocast(device, precision):
        for batch in source.held_out():
            made = system.predict({key: batch[key].to(device) for key in reads if key in batch})
            metric.update({key: value.float().cpu() for key, value in made.items()}, batch)
    system.train()
    figures = {metric.main: metric.compute().get(metric.main),
               f"{metric.main}_baseline": metric.baseline().figures.get(metric.main)}
    return {PREFIX + name: torch.full((), float(value), device=device) for name, value in figures.items()
            if isinstance(value, int | float)}
