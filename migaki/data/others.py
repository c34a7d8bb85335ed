"""Other photographs of a set, for damages that mix pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from migaki.data.files import framing
from migaki.data.files.image_file import read_header, read_image
from migaki.data.folder import ImageFolder


class Others:
    """Gives photographs of the folder by number, in the size and channels of a given picture.

    The folder is opened when the first one is asked for, so that a process can be given the object.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._folder: ImageFolder | None = None

    def __call__(self, number: int, like: torch.Tensor) -> torch.Tensor:
        """Returns photograph `number` modulo the size of the set, scaled and cut to `like` (C, H, W)."""
        folder = self._folder or ImageFolder(self.path)
        self._folder = folder
        path = folder.file(number % len(folder))
        array = framing.check_values(read_image(path), None, path)
        has_alpha = path.suffix.lower() != ".npy" and array.shape[0] in (2, 4) and read_header(path).has_alpha
        array = framing.convert_channels(array, like.shape[0], has_alpha=has_alpha, path=path)
        array = framing.to_unit(framing.resize(array, (like.shape[1], like.shape[2])))
        return torch.from_numpy(np.ascontiguousarray(array)).to(like)
