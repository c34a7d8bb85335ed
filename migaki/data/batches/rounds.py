"""Batches for adversarial refinement: several synthetic and several real ones a step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.system import System, reading_of
from migaki.data.batches.source import FolderSource
from migaki.data.folder import ImageFolder


@dataclass(frozen=True, kw_only=True, slots=True)
class Rounds:
    """Where a round's images come from: K_g + K_d synthetic batches and K_d real ones, one after the other."""

    synthetic: FolderSource
    real: FolderSource
    num_synthetic: int
    num_real: int

    def batch(self, step: int) -> Batch:
        """`image` (num_synthetic * b, C, H, W) and `real` (num_real * b, C, H, W), both in [0, 1].

        Labels that the synthetic source delivers come with `image`.
        """
        parts = [self.synthetic.batch(step * self.num_synthetic + k) for k in range(self.num_synthetic)]
        real = [self.real.batch(step * self.num_real + k)["real"] for k in range(self.num_real)]
        return {key: torch.cat([part[key] for part in parts]) for key in parts[0]} | {"real": torch.cat(real)}


def held_labels(synthetic: ImageFolder, estimator: System, path: Path) -> list[str]:
    """The labels of the folder that the estimator reads as well; UserError if there are none."""
    held = [key for key in reading_of(estimator, synthetic.read([0], ("image",))) if key in synthetic.labels]
    if not held:
        raise UserError(f"{path}: reads no label that {synthetic.path} has, so --hold label has nothing to hold: "
                        "leave it out")
    return held
