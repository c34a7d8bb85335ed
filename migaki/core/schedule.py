"""Learning rates over the course of a training."""

from __future__ import annotations

import math

import torch


def one_cycle(optimizer: torch.optim.Optimizer, peak: float, step: int, steps: int) -> float:
    """Set the learning rate of update `step` (from 0) of `steps`: a tenth of linear warm-up to `peak`, then half a
    cosine to nothing (Loshchilov and Hutter, ICLR 2017). A pure function of the step: nothing to checkpoint.

    A group of parameters with a `factor` gets that many times the rate. Returns the rate.
    """
    warm = max(1, steps // 10)
    share = (step + 1) / warm if step < warm else 0.5 * (
        1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, steps - warm))))
    for group in optimizer.param_groups:
        group["lr"] = peak * share * group.get("factor", 1.0)
    return peak * share
