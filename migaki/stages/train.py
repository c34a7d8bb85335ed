"""train: a system on folders, into a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from migaki.core.errors import UserError
from migaki.core.fit import Run, fit
from migaki.core.seeds import fold
from migaki.core.system import System


def train(cls: type[System], data: Any, config: Any, run: Run, out: Path, *, quiet: bool = False) -> System:
    """Train a system of class `cls` on the folders of `data` into `out`; goes on where an earlier run stopped.

    The initial weights are drawn from (run.seed, 0). Raises UserError for folders that do not fit or an `out` that
    holds something else.
    """
    if config.steps < 1:
        raise UserError(f"--steps {config.steps}: at least one step")
    config, source = cls.open(data, config, run.seed)
    torch.manual_seed(fold(run.seed, 0))
    system = cls(config)
    system.prepare(data)
    return fit(system, source, run, out, data=data, quiet=quiet).eval()
