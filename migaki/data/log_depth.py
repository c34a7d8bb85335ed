"""The mean and spread of the logarithm of depth in folders, by which networks of depth scale their output."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.folder import ImageFolder

_SCALED = 256  # images of a folder that are looked at


def log_depth(folders: Sequence[ImageFolder]) -> tuple[float, float]:
    """Returns mean and standard deviation (at least 0.001) over the pixels with a depth; UserError if none has one."""
    parts = []
    for folder in folders:
        step = max(1, len(folder) // _SCALED)
        planes = [folder.plane("depth", index).ravel() for index in range(0, len(folder), step)]
        values = np.concatenate(planes).astype(np.float64)
        parts.append(np.log(values[np.isfinite(values) & (values > 0)]))
    logs = np.concatenate(parts)
    if not len(logs):
        raise UserError(f"{show(folders[0].path)}: its depth files hold no measurement (all are 0): mend them")
    return float(logs.mean()), max(float(logs.std()), 1e-3)
