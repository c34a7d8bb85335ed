"""The surface of a trained field as a grid: the depth that its own cameras see, fused.

A field is fog that is right in pictures: a surface may be several thin cells, so that one density leaves holes and
another is too fat. Where a ray has met half of its light is known better.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from migaki.changes.parts.density_file import Density
from migaki.core.field import open_field
from migaki.data.batches.ray_pixels import evenly
from migaki.ops.depth_fusion import Fusion

Array = np.ndarray[Any, Any]


def density_of_field(run: Path, points: int, views: int, progress: Callable[[int, int], None]) -> Density:
    """Returns a grid over the box of the field in `run` that says how deep points lie inside; the surface is at 0.

    There rays have met half of their light. The grid has `points` along its longest side, and comes from the depth that
    the field shows to at most `views` cameras that it was learned from. UserError for a run that is no field.
    """
    field = open_field(run)
    low, high = (np.array(part, np.float64) for part in (field.config.bounds[:3], field.config.bounds[3:]))
    cell = float((high - low).max()) / (points - 1)
    counts = np.maximum(4, np.floor((high - low) / cell + 1e-6).astype(int) + 1)
    fusion = Fusion(low, cell, (int(counts[0]), int(counts[1]), int(counts[2])))
    chosen = evenly(range(int(field.kept.count)), views)
    for number, place in enumerate(chosen):
        pose, lens = field.kept.poses[place], field.kept.lens
        with torch.inference_mode():
            depth = field.render(pose[None], lens[None])["rendered_depth"][0]
        fusion.add(depth.numpy(), pose.numpy(), lens.numpy())
        progress(number + 1, len(chosen))
    return Density(fusion.solidity(), np.stack([low, low + (counts - 1) * cell]))
