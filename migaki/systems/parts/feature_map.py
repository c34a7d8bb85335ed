"""The feature map psi of a self-regularisation, by its name: a rule, features of D, or a network that never trains."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from migaki.losses.self_regularisation import FEATURE_MAPS, Psi
from migaki.nets.frozen_features import BackboneFeatures, RandomFeatures
from migaki.nets.patch_discriminator import PatchDiscriminator
from migaki.nets.pretrained import build_backbone, kind_of, load_backbone


class FeatureMap(nn.Module):
    """Maps images (B, C, H, W) in [-1, 1] to psi(x): one map or several.

    `features` are those of the paper's discriminator's first layer, which trains with it and is constant in this term.
    `backbone` are features of a network that never trains: of random filters, or of the one that `load` reads.
    """

    def __init__(self, psi: Psi, channels: int) -> None:
        super().__init__()
        self.psi = psi
        self.frozen: nn.Module | None = RandomFeatures(channels) if psi == "backbone" else None

    def load(self, path: Path, shape: tuple[int, int, int]) -> None:
        """Take the features of a pretrained network for images of `shape` (C, H, W); UserError if it does not fit."""
        if self.psi == "backbone":
            backbone = build_backbone(kind_of(path), *shape, last_stride=8)
            load_backbone(backbone, path)
            self.frozen = BackboneFeatures(backbone)

    def forward(self, images: Tensor, discriminator: nn.Module) -> Tensor | list[Tensor]:
        """psi(x); no gradient reaches weights."""
        if self.frozen is not None:
            with torch.autocast(images.device.type, enabled=False):
                maps: list[Tensor] = self.frozen(images.float())
                return maps
        if self.psi == "features":
            assert isinstance(discriminator, PatchDiscriminator)
            return discriminator.first_features(images)
        return FEATURE_MAPS[self.psi](images)
