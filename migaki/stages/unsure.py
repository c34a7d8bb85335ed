"""Leaves out what a model reads without being sure, so that self-training does not learn it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.glossary import glossary
from migaki.core.system import System
from migaki.data.sets.objects import object_key
from migaki.ops.full_precision import full_precision
from migaki.ops.masks import IGNORE

Run = Callable[[Callable[[Batch], Batch], Batch], Batch]


def sure_only(system: System, run: Run, batch: Batch, made: Batch, least: float) -> Batch:
    """Returns the predictions with what has a probability below `least` taken out.

    Pixels of a mask become 255, which teaches nothing; boxes are left out with their classes and keypoints. `run` calls
    a function of the system on the batch. Raises UserError for a system that reads neither masks nor boxes.
    """
    if "scores" in made and "boxes" in made:
        return _sure_boxes(made, least)
    if "mask" in made:
        scores = run(system.reading, batch).get("mask_logits")
        if scores is not None:
            return made | {"mask": _sure_pixels(made["mask"], scores, least)}
    raise UserError(f"--min-confidence {least:g}: {type(system).__name__} reads neither masks nor boxes with a "
                    "confidence: leave it out")


@full_precision
def _sure_pixels(mask: torch.Tensor, scores: torch.Tensor, least: float) -> torch.Tensor:
    """Masks (B, H, W) with IGNORE where the softmax of the scores (B, K, H, W) stays below `least`."""
    return torch.where(scores.softmax(1).amax(1) >= least, mask, torch.full_like(mask, IGNORE))


def _sure_boxes(made: Batch, least: float) -> Batch:
    sure = made["scores"] >= least
    found = dict(made)
    for name, values in made.items():
        key = object_key(name)
        if key is not None and values.shape[:2] == sure.shape:
            wide = sure.reshape(*sure.shape, *(1,) * (values.ndim - 2))
            found[name] = torch.where(wide, values, torch.full_like(values, glossary()[name].pad or 0))
    return found


def check_confidence(least: float) -> None:
    """UserError for a limit that is no probability."""
    if not 0 <= least < 1:
        raise UserError(f"--min-confidence {least}: give a probability from 0, everything counts, to below 1")
