"""An encoder with a linear head: the classifier of semi-supervised learning and of fine-tuning."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from migaki.nets.backbones import open_encoder


class EncodedClassifier(nn.Module):
    """Pictures (B, C, H, W) in [0, 1] to scores (B, classes), float32."""

    def __init__(self, channels: int, height: int, width: int, num_classes: int, features: int,
                 backbone: str = "") -> None:
        super().__init__()
        self.encoder = open_encoder(backbone, channels, height, width, features)
        self.head = nn.Linear(self.encoder.dim, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        features = self.encoder(images)
        with torch.autocast(images.device.type, enabled=False):
            out: Tensor = self.head(features.float())
        return out
