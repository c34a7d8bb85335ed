"""A trained run that reads depth (`migaki train depth`, `train segmenter --target depth`), for pictures of any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.system import Framed
from migaki.core.trained import load_system
from migaki.ops.full_precision import full_precision

Array = np.ndarray[Any, Any]

_MULTIPLE: Final = 32  # px: sides at which the networks pad nothing
_LONGEST: Final = 8.0  # ratio of the sides of a picture beyond which the shorter one is too short for the network


class DepthModel:
    """The depth of single pictures by a run; UserError for a run that reads anything else."""

    def __init__(self, run: Path) -> None:
        self._system = load_system(run)
        metric = self._system.metric()
        if metric is None or tuple(metric.keys) != ("depth",) or not isinstance(self._system.config, Framed):
            raise UserError(f"--model {show(run)}: does not read depth: give a run of `migaki train depth`")
        self._channels = int(self._system.config.channels)
        self._area = float(self._system.config.height * self._system.config.width)

    def __call__(self, image: Tensor) -> Array:
        """The depth (H, W) float32 of a picture (C, H, W) in [0, 1].

        The network sees the picture as large as those of its training: as many pixels, in the picture's own shape.
        """
        with torch.inference_mode():
            found = self._system.predict({"image": _resized(self._fitting(image)[None], self._size(image))})["depth"]
        return _log_resized(found, (int(image.shape[1]), int(image.shape[2]))).numpy()

    def _fitting(self, image: Tensor) -> Tensor:
        """The picture with the network's channels; what is beyond colour, such as alpha, is left out."""
        colour = image[:3] if len(image) > 2 else image[:1]
        if self._channels == 1:
            return colour.mean(0, keepdim=True)
        if self._channels != 3:
            raise UserError(f"--model reads pictures of {self._channels} channels: give one that was trained on grey "
                            "or colour")
        return colour.expand(3, -1, -1)

    def _size(self, image: Tensor) -> tuple[int, int]:
        ratio = min(max(image.shape[2] / image.shape[1], 1 / _LONGEST), _LONGEST)
        height, width = (self._area / ratio) ** 0.5, (self._area * ratio) ** 0.5
        return (max(_MULTIPLE, round(height / _MULTIPLE) * _MULTIPLE),
                max(_MULTIPLE, round(width / _MULTIPLE) * _MULTIPLE))


@full_precision
def _resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Pictures (B, C, H, W) at another size, without aliasing where it is smaller."""
    return F.interpolate(images.float(), size, mode="bilinear", antialias=True).clamp(0, 1)


@full_precision
def _log_resized(depth: Tensor, size: tuple[int, int]) -> Tensor:
    """The depth (1, h, w) above 0 at another size (H, W), between pixels by its logarithm."""
    logs = depth.float().clamp_min(1e-12).log()[:, None]
    return F.interpolate(logs, size, mode="bilinear", align_corners=False)[0, 0].exp()
