"""The features of all pictures of a folder, by a system whose prediction holds some."""

from __future__ import annotations

import torch
from torch import Tensor

from migaki.core.errors import UserError
from migaki.core.system import System
from migaki.data.folder import ImageFolder

_CHUNK = 256  # pictures at once


@torch.inference_mode()
def describe(system: System, folder: ImageFolder, device: torch.device) -> Tensor:
    """Returns the features (N, D) float32 of all pictures, on the CPU. UserError for a system that has none."""
    system.to(device).eval()
    parts = []
    for start in range(0, len(folder), _CHUNK):
        images = folder.read(range(start, min(start + _CHUNK, len(folder))), ("image",))["image"]
        made = system.predict({"image": images.to(device)})
        if "features" not in made:
            raise UserError(f"{type(system).__name__} gives no features: judge a run of an encoder, such as simclr")
        parts.append(made["features"].float().cpu())
    return torch.cat(parts)
