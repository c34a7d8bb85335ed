"""What speaks for a copy: how alike two pictures are to a network, and whether one lies in the other."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from migaki.core.errors import UserError
from migaki.core.files import refuse_strangers, show
from migaki.core.progress import Bar
from migaki.data.feature_store import FeatureStore
from migaki.data.files import framing
from migaki.data.files.image_file import read_header, read_image
from migaki.data.files.member import FilePath
from migaki.data.folder import ImageFolder
from migaki.data.local_match import Alignment, KeyPoints, align, key_points, mirrored, reduced
from migaki.data.nearest import nearest
from migaki.nets.picture_network import Describer
from migaki.ops.picture_parts import picture_parts, side_of
from migaki.stages.apply_job import ApplyJob, refuse_row_options
from migaki.stages.evaluate import require_own

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

RIVALS: Final = 3
"""Nearest pictures whose mean likeness is taken off a picture's likenesses."""

SPARE: Final = 8
"""Doubles of an original that a search looks past without looking again."""

# Cosine. EfficientNet-Lite0 gives 0.98 to 1 when a picture is encoded again, 0.96 to 0.99 when it is made half as large
# besides, and other pictures have at most 0.92.
_DOUBLE: Final = 0.95
_GROUP: Final = 4  # as often as a picture may be there before its doubles pass for what is usual
_FEW, _MANY = 8, 20  # key points that agree where two pictures show the same: a third of them, within these bounds
_SAMPLE: Final = 256  # rows by which it is told how like each other pictures are


def refuse_options(name: str, job: ApplyJob) -> None:
    """UserError for options of `apply` that mean nothing where no pictures are written."""
    refuse_row_options(name, job)
    if not job.input.is_dir():
        raise UserError(f"{show(job.input)}: no folder of pictures: give one as --input")


def require_place(out: Path, own: Collection[str]) -> None:
    """UserError if `out` holds pictures, a run, or other files and none of `own`, which an earlier call wrote."""
    require_own(out)
    refuse_strangers(out, own)


@dataclass(frozen=True, slots=True)
class Describing:
    """Descriptors of pictures by one network, kept in a store."""

    describer: Describer
    size: int  # px
    whole: bool
    store: Path | None

    def rows(self, pictures: ImageFolder, job: ApplyJob, name: str, quiet: bool, parts: bool = False) -> Floats:
        """Returns the descriptors (N, D) as they are kept; a memory map where the store has them in this order.

        With `parts` those of the whole picture and of its parts behind each other.
        """
        with Bar(name, len(pictures), quiet=quiet) as bar:
            done = 0

            def tell(now: int, _: int) -> None:
                nonlocal done
                bar.advance(now - done, "")
                done = now

            found: Floats = FeatureStore(self.store).rows(
                pictures, self.describer, size=self.size, whole=self.whole, parts=parts, workers=job.workers,
                engine_name=job.engine, address=job.address, progress=tell)
        return found

    @torch.inference_mode()
    def of(self, images: torch.Tensor, parts: bool) -> Floats:
        """Returns the descriptors (B, P, D) of square pictures (B, 3, S, S) in [0, 1], of unit length, P of each."""
        wanted = side_of(self.size) if parts else self.size
        small = torch.nn.functional.interpolate(images, size=(wanted, wanted), mode="bilinear", align_corners=False,
                                                antialias=True)
        seen = picture_parts(small, self.size) if parts else small[:, None]
        maps = self.describer.maps(seen.flatten(0, 1), "")
        rows = torch.cat([one.mean((2, 3)) for one in maps.values()], 1)
        return in_parts(rows.numpy(), seen.shape[1], each_row=False)


def in_parts(rows: Floats, parts: int, *, each_row: bool = True) -> Floats:
    """Rows (N, parts * D) or, unless `each_row`, (N * parts, D) as (N, parts, D) of unit length."""
    width = rows.shape[1] // parts if each_row else rows.shape[1]
    found: Floats = unit(np.asarray(rows).reshape(-1, width)).reshape(-1, parts, width)
    return found


def unit(rows: Floats) -> Floats:
    """Rows (N, D) brought to unit length."""
    given: Floats = np.asarray(rows, np.float32)
    found: Floats = given / np.maximum(np.linalg.norm(given, axis=1, keepdims=True), 1e-12)
    return found


def merged(near: Floats, found: NDArray[np.int64], parts: int, count: int) -> tuple[Floats, NDArray[np.int64]]:
    """The nearest pictures of a whole, from those of its parts: each counts by its likest part, the highest first.

    Shape: near, found (Q * parts, K), cosines and places; two results (Q, `count`)
    """
    if parts == 1:
        return near[:, :count], found[:, :count]
    near, found = near.reshape(-1, parts * near.shape[1]), found.reshape(-1, parts * found.shape[1])
    order = np.argsort(-near, 1, kind="stable")
    near, found = np.take_along_axis(near, order, 1), np.take_along_axis(found, order, 1)
    first = [np.sort(np.unique(row, return_index=True)[1])[:count] for row in found]
    return np.stack([row[one] for row, one in zip(near, first, strict=True)]), np.stack(
        [row[one] for row, one in zip(found, first, strict=True)])


def double_level(rows: Floats) -> float:
    """The cosine from which two pictures of an index are doubles: one of them saved again, whatever its name or size.

    It lies above what pictures usually have with those near them: a network that has learned little finds all alike.
    The nearest ones do not count, for in many folders everything is there two or three times.
    """
    sample = np.asarray(rows[:: max(1, len(rows) // _SAMPLE)][:_SAMPLE], np.float32)
    near, _ = nearest(sample, rows, max(1, min(_GROUP, len(rows) // 8)) + 1)  # few pictures have few neighbours
    usual = float(np.quantile(near[:, -1], 0.25)) if near.shape[1] > 1 else 0.0
    return min(0.9999, max(_DOUBLE, 1 - (1 - usual) / 4))


def doubles_of(place: int, others: NDArray[np.int64], rows: Floats, level: float) -> NDArray[np.bool_]:
    """Which of the pictures `others` (K,) of an index are doubles of the one at `place`, or that one itself."""
    alike = np.asarray(rows[others], np.float32) @ np.asarray(rows[place], np.float32)
    found: NDArray[np.bool_] = (alike >= level) | (others == place)
    return found


def rivals_of(near: Floats, found: NDArray[np.int64], rows: Floats, level: float) -> list[Floats]:
    """For each query the cosines of the at most `RIVALS` nearest pictures that are not the likest nor its doubles."""
    return [scores[~doubles_of(int(places[0]), places, rows, level)][:RIVALS]
            for scores, places in zip(near, found, strict=True)]


def usual_likeness(queries: Floats, rivals: Sequence[Floats], background: Floats | None) -> Floats:
    """How like each query is to pictures that it is no copy of, (Q,): what is like everything is no evidence.

    The mean cosine to the `RIVALS` nearest pictures of the background (Pizzi et al., CVPR 2022, section 4) or, without
    one, to its `rivals` in the index: a picture has one original, as a rule, and doubles of that are none of them.

    Shape: queries (Q, P, D)
    """
    if background is not None:
        near, found = nearest(queries.reshape(-1, queries.shape[2]), background, RIVALS)
        rivals = [*merged(near, found, queries.shape[1], RIVALS)[0]]
    return np.array([one.mean() if len(one) else 0.0 for one in rivals], np.float32)


class Pictured:
    """A picture with its key points, as it is and mirrored; computed when they are asked for."""

    def __init__(self, grey: Bytes) -> None:
        self._grey = reduced(grey)  # hundreds are kept, and photographs are large
        self.points = key_points(self._grey, (grey.shape[0], grey.shape[1]))
        self._turned: KeyPoints | None = None

    @classmethod
    def of(cls, path: FilePath) -> Pictured:
        """Read a file."""
        return cls(grey_of(path))

    @property
    def turned(self) -> KeyPoints:
        """The key points of the mirror image."""
        if self._turned is None:
            self._turned = mirrored(self.points, self._grey)
        return self._turned

    def within(self, other: Pictured) -> Alignment | None:
        """How this picture lies in the other one, mirrored or not: what more key points agree on."""
        found = [align(self.points, other.points), align(self.turned, other.points, is_mirrored=True)]
        return max((one for one in found if one is not None), key=lambda one: one.support, default=None)

    def is_same(self, other: Pictured) -> bool:
        """Whether both show the same, so that neither is a stranger to the copies of the other."""
        aligned = self.within(other)
        points = min(len(self.points.places), len(other.points.places))
        return aligned is not None and aligned.support >= max(_FEW, min(_MANY, points // 3))


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
