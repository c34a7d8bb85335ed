"""Appearance codes: an affine map of colours for each group of pictures (exposure, white balance, light)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from migaki.ops.full_precision import full_precision


class Appearance(nn.Module):
    """One map (3, 4) of colours a group; their mean is the identity, so that the field shows the average picture.

    Without this the field and all codes together could drift: brighter here, darker there, to the same pictures.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.deviation = nn.Parameter(torch.zeros(count, 3, 4))

    @full_precision
    def forward(self) -> Tensor:
        """Returns the maps (G, 3, 4)."""
        return torch.eye(3, 4, device=self.deviation.device) + self._centred()

    @full_precision
    def spread(self) -> Tensor:
        """Returns the mean square of what the maps differ from the identity, a scalar."""
        return self._centred().square().mean()

    def _centred(self) -> Tensor:
        deviation = self.deviation.float()
        return deviation - deviation.mean(0, keepdim=True)
