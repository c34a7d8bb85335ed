"""The features of all pictures of a folder, by a system whose prediction holds some."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from migaki.core.errors import UserError
from migaki.core.system import System
from migaki.data.files import framing
from migaki.data.files.image_file import read_header, read_image
from migaki.data.folder import ImageFolder

_CHUNK = 256  # pictures at once


@torch.inference_mode()
def describe(system: System, folder: ImageFolder, device: torch.device, whole: bool = False) -> Tensor:
    """Returns the features (N, D) float32 of all pictures, on the CPU. UserError for a system that has none.

    `whole`: pictures are squeezed to the folder's size, not cut to it.
    """
    system.to(device).eval()
    parts = []
    for start in range(0, len(folder), _CHUNK):
        places = range(start, min(start + _CHUNK, len(folder)))
        images = _squeezed(system, folder, places) if whole and system.shape is not None else folder.read(
            places, ("image",))["image"]
        made = system.predict({"image": images.to(device)})
        if "features" not in made:
            raise UserError(f"{type(system).__name__} gives no features: judge a run of an encoder, such as simclr")
        parts.append(made["features"].float().cpu())
    return torch.cat(parts)


def _squeezed(system: System, folder: ImageFolder, places: range) -> Tensor:
    """Whole pictures at the system's size, (B, C, H, W) in [0, 1]."""
    assert system.shape is not None
    channels, *size = system.shape
    found = []
    for place in places:
        path = folder.file(place)
        array = framing.squeezed(framing.check_values(read_image(path), None, path), (size[0], size[1]))
        array = framing.convert_channels(array, channels, has_alpha=read_header(path).has_alpha, path=path)
        found.append(torch.from_numpy(np.ascontiguousarray(framing.to_unit(array))))
    return torch.stack(found)
