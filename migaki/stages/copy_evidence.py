"""What speaks for a copy: how alike two pictures are to a network, and whether one lies in the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.progress import Bar
from migaki.data.feature_store import FeatureStore
from migaki.data.files import framing
from migaki.data.files.image_file import read_header, read_image
from migaki.data.files.member import FilePath
from migaki.data.folder import ImageFolder
from migaki.nets.picture_network import Describer
from migaki.ops.local_match import Alignment, KeyPoints, align, key_points, mirrored
from migaki.ops.nearest import nearest
from migaki.stages.apply_job import ApplyJob, refuse_row_options

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

RIVALS: Final = 3
"""Nearest pictures whose mean likeness is taken off a picture's likenesses."""


def refuse_options(name: str, job: ApplyJob) -> None:
    """UserError for options of `apply` that mean nothing where no pictures are written."""
    refuse_row_options(name, job)
    if not job.input.is_dir():
        raise UserError(f"{show(job.input)}: no folder of pictures: give one as --input")


@dataclass(frozen=True, slots=True)
class Describing:
    """Descriptors of pictures by one network, kept in a store."""

    describer: Describer
    size: int  # px
    whole: bool
    store: Path | None

    def rows(self, pictures: ImageFolder | Sequence[FilePath], job: ApplyJob, name: str, quiet: bool) -> Floats:
        """Returns the descriptors (N, D) as they are kept; a memory map where the store has them in this order."""
        with Bar(name, len(pictures), quiet=quiet) as bar:
            done = 0

            def tell(now: int, _: int) -> None:
                nonlocal done
                bar.advance(now - done, "")
                done = now

            found: Floats = FeatureStore(self.store).rows(
                pictures, self.describer, size=self.size, whole=self.whole, workers=job.workers,
                engine_name=job.engine, address=job.address, progress=tell)
        return found

    @torch.inference_mode()
    def of(self, images: torch.Tensor) -> Floats:
        """Returns the descriptors (B, D) of pictures (B, 3, H, W) in [0, 1], of unit length."""
        small = torch.nn.functional.interpolate(images, size=(self.size, self.size), mode="bilinear",
                                                align_corners=False, antialias=True)
        maps = self.describer.maps(small, "")
        return unit(torch.cat([one.mean((2, 3)) for one in maps.values()], 1).numpy())


def unit(rows: Floats) -> Floats:
    """Rows (N, D) brought to unit length."""
    given: Floats = np.asarray(rows, np.float32)
    found: Floats = given / np.maximum(np.linalg.norm(given, axis=1, keepdims=True), 1e-12)
    return found


def usual_likeness(queries: Floats, near: Floats, background: Floats | None) -> Floats:
    """How like each query is to pictures that it is no copy of, (Q,): what is like everything is no evidence.

    The mean cosine to the `RIVALS` nearest pictures of the background (Pizzi et al., CVPR 2022, section 4) or, without
    one, to those of the index behind the nearest: a picture has one original, as a rule.

    Shape: queries (Q, D); near (Q, K), the cosines of the nearest pictures of the index, the highest first
    """
    rivals = near[:, 1 : 1 + RIVALS] if background is None else nearest(queries, background, RIVALS)[0]
    found: Floats = rivals.mean(1) if rivals.shape[1] else np.zeros(len(queries), np.float32)
    return found


class Pictured:
    """A picture with its key points, as it is and mirrored; computed when they are asked for."""

    def __init__(self, grey: Bytes) -> None:
        self.grey = grey
        self.points = key_points(grey)
        self._turned: KeyPoints | None = None

    @classmethod
    def of(cls, path: FilePath) -> Pictured:
        """Read a file."""
        return cls(grey_of(path))

    @property
    def turned(self) -> KeyPoints:
        """The key points of the mirror image."""
        if self._turned is None:
            self._turned = mirrored(self.points, self.grey)
        return self._turned

    def within(self, other: Pictured) -> Alignment | None:
        """How this picture lies in the other one, mirrored or not: what more key points agree on."""
        found = [align(self.points, other.points), align(self.turned, other.points, is_mirrored=True)]
        return max((one for one in found if one is not None), key=lambda one: one.support, default=None)


def grey_of(path: FilePath) -> Bytes:
    """Returns a picture in grey, (H, W) uint8."""
    grey = _unit(path, 1)
    return np.ascontiguousarray(np.rint(255 * grey[0]).astype(np.uint8))


def colours_of(path: FilePath) -> Floats:
    """Returns a picture in RGB, (3, H, W) in [0, 1]."""
    return _unit(path, 3)


def _unit(path: FilePath, channels: int) -> Floats:
    array = framing.check_values(read_image(path), None, path)
    found: Any = framing.to_unit(framing.convert_channels(array, channels, has_alpha=read_header(path).has_alpha,
                                                          path=path))
    return np.asarray(found, np.float32)
