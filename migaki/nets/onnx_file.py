"""Networks of others as ONNX files: pictures in, a map in the pictures' own size out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.core.errors import UserError
from migaki.core.files import show

Values = Literal["imagenet", "half", "unit", "bytes"]
"""What a network takes for a value in [0, 1]: normalised by ImageNet's mean and deviation; by 0.5 and 0.5; itself; 0 to
255."""

_MOST_BYTES: Final = 2**31 - 1  # the limit of an ONNX file itself
_MEAN: Final = (0.485, 0.456, 0.406)
_DEVIATION: Final = (0.229, 0.224, 0.225)


class OnnxFile:
    """A network in a file, for `pictures` RGB pictures at a time, whose first output has `channels` channels.

    Runs on the CPU. The file is read as a whole and may not refer to other files. Raises UserError for a file that is
    no such network, and names the extra that is missing.
    """

    def __init__(self, path: Path, pictures: int, channels: int, values: Values, multiple: int) -> None:
        self._path, self._channels, self._values = path, channels, values
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError(f"{show(path)}: ONNX networks need onnxruntime: pip install 'migaki[export]'") from error
        if not path.is_file():
            raise UserError(f"{show(path)}: there is no such file: check the spelling")
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"{show(path)}: is larger than 2 GB, with which no ONNX file is whole: give a smaller one")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            # From bytes: a file that keeps its weights in other files would read whatever path it names.
            self._session = onnxruntime.InferenceSession(path.read_bytes(), options, ["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a class for each of its many reasons
            raise UserError(f"{show(path)}: onnxruntime cannot read it: {_line(error)}: export it anew, in one file"
                            ) from error
        given = self._session.get_inputs()
        if len(given) != pictures or any(len(one.shape) != 4 for one in given):
            shapes = "; ".join(f"{one.name} {one.shape}" for one in given)
            raise UserError(f"{show(path)}: takes {shapes}, and not {pictures} picture{'s' * (pictures > 1)} (1, 3, H, "
                            "W): export it so")
        self._names = [one.name for one in given]
        self._size = [side if isinstance(side, int) else 0 for side in given[0].shape[2:]]
        self._multiple = multiple

    def __call__(self, *pictures: Tensor) -> tuple[Tensor, tuple[float, float]]:
        """Returns the first output for pictures (C, H, W) in [0, 1] at their size, (channels, H, W) float32.

        Also by what the pictures were scaled across and down before, for outputs in px.
        """
        height, width = pictures[0].shape[1:]
        size = [fixed or max(self._multiple, round(side / self._multiple) * self._multiple)
                for fixed, side in zip(self._size, (height, width), strict=True)]
        given = {name: self._prepared(picture, size) for name, picture in zip(self._names, pictures, strict=True)}
        try:
            found = np.asarray(self._session.run(None, given)[0], np.float32)
        except Exception as error:
            raise UserError(f"{show(self._path)}: onnxruntime stopped: {_line(error)}: the network does not take "
                            f"{size[1]} x {size[0]} px: try --multiple") from error
        found = found.reshape(-1, *found.shape[-2:]) if found.ndim >= 2 else found
        if found.ndim != 3 or len(found) != self._channels or not np.isfinite(found).all():
            raise UserError(f"{show(self._path)}: gives an output of shape {found.shape} (or one that is not finite), "
                            f"and {self._channels} x H x W is needed: give another network")
        whole = F.interpolate(torch.from_numpy(found)[None], (height, width), mode="bilinear", align_corners=False)[0]
        return whole, (size[1] / width, size[0] / height)

    def _prepared(self, picture: Tensor, size: list[int]) -> Any:
        image = F.interpolate(picture[:3].expand(3, -1, -1)[None].float(), size, mode="bilinear", antialias=True)
        if self._values == "bytes":
            image = image * 255
        elif self._values == "half":
            image = (image - 0.5) / 0.5
        elif self._values == "imagenet":
            image = (image - torch.tensor(_MEAN).view(1, 3, 1, 1)) / torch.tensor(_DEVIATION).view(1, 3, 1, 1)
        return image.numpy()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
