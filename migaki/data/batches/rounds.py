"""Batches for adversarial refinement: several synthetic and several real batches per step."""

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
    """The source of a round's images: K_g + K_d synthetic batches and K_d real batches, in this order."""

    synthetic: FolderSource
    real: FolderSource
    num_synthetic: int
    num_real: int

    @property
    def num_images(self) -> int:
        """Images of both sets together."""
        return self.synthetic.num_images + self.real.num_images

    def batch(self, step: int) -> Batch:
        """Returns `image` (num_synthetic * b, C, H, W) and `real` (num_real * b, C, H, W), both in [0, 1].

        Labels of the synthetic source are included.
        """
        parts = [self.synthetic.batch(step * self.num_synthetic + k) for k in range(self.num_synthetic)]
        real = [self.real.batch(step * self.num_real + k)["real"] for k in range(self.num_real)]
        return {key: torch.cat([part[key] for part in parts]) for key in parts[0]} | {"real": torch.cat(real)}


def held_labels(synthetic: ImageFolder, estimator: System, path: Path) -> list[str]:
    """Returns the labels of the folder that the estimator also predicts; UserError if there are none."""
    held = [key for key in reading_of(estimator, synthetic.read([0], ("image",))) if key in synthetic.labels]
    if not held:
        raise UserError(f"{path}: predicts no label of {synthetic.path}, so --hold label has no effect: "
                        "leave it out")
    return held
