"""Batches for adversarial refinement: several synthetic and several real ones a step."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from migaki.core.batch import Batch
from migaki.data.source import FolderSource


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
