"""Rows of features for judges of textures: one network, layer and pooling, with what makes sets alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.feature_store import FeatureStore
from migaki.data.files import framing
from migaki.data.files.image_file import read_header, read_image
from migaki.data.files.member import FilePath
from migaki.data.fitted_fisher import fitted_fisher
from migaki.data.folder import ImageFolder
from migaki.nets.texture_features import open_features
from migaki.ops.perceptual import difference_hash
from migaki.ops.pooling import Pooling, signed_root, unit

PoolingName = Literal["mean", "mean_sd", "gram", "fisher"]
Tell = Callable[[int, int], None]
Array = np.ndarray[Any, Any]

_THUMB = 64  # px
_COLOURLESS = 3 / 255  # the largest difference of channels in a grey picture: JPEG adds a little


@dataclass(frozen=True, kw_only=True, slots=True)
class RowOptions:
    """Which rows: the options of the judges that read rows of features, under the same names."""

    network: str
    layer: str
    pooling: PoolingName
    gaussians: int
    size: int
    quality: int = 0
    through: int = 0
    grey: bool = False
    workers: int = 1
    store: Path | None = None
    seed: int = 0


class Rows:
    """Rows of features of any pictures, each signed root and length 1, so that products compare them."""

    def __init__(self, options: RowOptions) -> None:
        self.options, self.features = options, open_features(options.network)
        self.store = FeatureStore(options.store)
        self.layer = "+".join(self.features.names_of(options.layer))
        self._pooling: Pooling | str = options.pooling
        if options.gaussians < 1:
            raise UserError(f"--gaussians {options.gaussians}: at least 1")

    @property
    def named(self) -> str:
        """The network, its layers and the pooling in words."""
        return f"{self.options.network} {self.layer} {self.options.pooling}"

    def fit(self, files: Sequence[FilePath]) -> None:
        """Fit what the pooling needs on these pictures; nothing for poolings that need nothing."""
        options = self.options
        if options.pooling == "fisher":
            self._pooling = fitted_fisher(
                self.store, files, self.features, self.layer, gaussians=options.gaussians, seed=options.seed,
                size=options.size, quality=options.quality, through=options.through, grey=options.grey)

    def of(self, files: Sequence[FilePath], tell: Tell | None = None) -> Tensor:
        """Returns the rows (N, D) float32 of these pictures."""
        options = self.options
        found = self.store.rows(files, self.features, self.layer, self._pooling, size=options.size,
                                quality=options.quality, through=options.through, grey=options.grey,
                                workers=options.workers, progress=tell)
        rows = torch.from_numpy(np.array(found))
        return rows if options.pooling in ("gram", "fisher") else unit(signed_root(rows))


@dataclass(frozen=True, slots=True)
class Glance:
    """What is seen of a picture without a network: its hash, whether it is grey, and a small copy (3, 64, 64)."""

    code: bytes
    is_grey: bool
    thumb: Tensor


def glance(path: FilePath) -> Glance:
    """Returns the hash of a picture and whether it has colour; UserError for a damaged one."""
    header = read_header(path)
    array = framing.to_unit(framing.check_values(read_image(path), None, path))
    array = framing.convert_channels(array, 3, has_alpha=header.has_alpha, path=path)
    thumb = framing.resize(array, (_THUMB, _THUMB))
    is_grey = bool((array.max(0) - array.min(0)).max() <= _COLOURLESS)
    return Glance(difference_hash(torch.from_numpy(np.ascontiguousarray(array))), is_grey,
                  torch.from_numpy(np.ascontiguousarray(thumb)).clamp(0, 1))


def files_by_label(folder: ImageFolder) -> dict[str, list[FilePath]]:
    """Returns the pictures of each class of a folder, in its order. A folder without classes is one, by its name."""
    if "label" not in folder.keys:
        name = folder.lone_subfolder or folder.path.resolve().name
        return {name: [folder.file(index) for index in range(len(folder))]}
    folder.require("label")
    numbers = folder.labels["label"].astype(np.int64)
    names = folder.classes or [str(number) for number in range(int(numbers.max()) + 1)]
    found = {name: [folder.file(index) for index in np.flatnonzero(numbers == number).tolist()]
             for number, name in enumerate(names)}
    return {name: files for name, files in found.items() if files}


def usual_detail(files: Sequence[FilePath], size: int) -> int:
    """Returns the shorter side that nine in ten of these pictures have, in px: at most `size`, at least 16."""
    sides = np.array([min((header := read_header(path)).height, header.width) for path in files])
    tiny = int(sides.argmin())
    if sides[tiny] < 16:
        raise UserError(f"{show(files[tiny])}: is {sides[tiny]} px wide or high, too small for features: leave out "
                        "pictures of less than 16 px")
    return int(np.clip(np.quantile(sides, 0.1, method="lower"), 16, size))
