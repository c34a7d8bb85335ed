"""Local motion in a film as series: for each tile and band the weighted sum of phases, frame by frame or row by row.

A film of any length is read once. The series go to a temporary file, so memory does not grow with the film.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.ops.steerable import RowBands, SteerablePyramid

Array = np.ndarray[Any, Any]

_PIXELS = 2**21  # of the frames that are filtered together
_MARGIN = 4  # samples at a band's border, where the picture's opposite sides mix


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """The tiles of a picture, and how rows become samples."""

    height: int  # px
    width: int
    tile: int  # px
    is_rolling: bool
    frame_samples: int  # samples a frame: 1, or the rows of a rolling shutter with its gap

    @property
    def tiles(self) -> tuple[int, int]:
        """Rows and columns of tiles; a rolling shutter has one row, as each row of pixels has its own time."""
        return 1 if self.is_rolling else max(1, self.height // self.tile), max(1, self.width // self.tile)


class MotionSeries:
    """The series of a film, in an open file.

    Series s is tile s mod (rows * columns) of band s // (rows * columns). A value is the sum over the tile of A^2 phi
    (Davis et al., SIGGRAPH 2014, eq. 3): phi the phase against the reference, the mean of the first frames, and A the
    reference's amplitude, so that flicker of the light does not enter. With a rolling shutter sums are over each row.
    """

    def __init__(self, grid: Grid, file: IO[bytes], frequencies: Array) -> None:
        self.grid, self.frequencies = grid, frequencies  # (bands,), rad/px
        self.num_series = len(frequencies) * grid.tiles[0] * grid.tiles[1]
        self.frames = 0
        self.energy: Array = np.zeros(0)  # (series,) or, with a rolling shutter, (H, series): the sums of A^2
        self.brightness: list[float] = []  # the mean of each frame
        self._sum = np.zeros((grid.height if grid.is_rolling else 1, self.num_series))
        self._file = file

    @property
    def length(self) -> int:
        """Samples of each series."""
        return self.frames * self.grid.frame_samples

    def append(self, values: Array) -> None:
        """Add frames: (n, series), or (n, H, series) with a rolling shutter."""
        values = values.reshape(len(values), -1, self.num_series)
        self._sum += values.sum(0, dtype=np.float64)
        self.frames += len(values)
        self._file.write(np.ascontiguousarray(values, np.float32).tobytes())

    def read(self, start: int, count: int) -> Array:
        """Returns samples `start` to `start + count` as (count, series) float64, without the mean over the frames.

        A rolling shutter's rows each lose their own mean, which is what the picture's texture left in them, and its
        gaps are 0.
        """
        per, known = self.grid.frame_samples, self._sum.shape[0]
        first, last = start // per, -(-(start + count) // per)
        self._file.seek(first * known * self.num_series * 4)
        raw = np.frombuffer(self._file.read((last - first) * known * self.num_series * 4), np.float32)
        values = raw.reshape(-1, known, self.num_series) - self._sum / self.frames
        if per > known:
            values = np.pad(values, ((0, 0), (0, per - known), (0, 0)))
        flat: Array = values.reshape(-1, self.num_series)
        return flat[start - first * per : start - first * per + count]

    def blocks(self, size: int) -> Iterator[tuple[int, Array]]:
        """Yields (start, samples) over the whole length."""
        for start in range(0, self.length, size):
            yield start, self.read(start, min(size, self.length - start))


def measure(frames: Iterator[Array], grid: Grid, file: IO[bytes], *, octaves: int, orientations: int, skip: int,
            path: Path, progress: Callable[[int], None]) -> MotionSeries:
    """Read a film, (H, W) float32 frames, and return its series, which are written into `file`.

    `progress` is called with the number of frames read. Raises UserError for frames of several sizes.
    """
    bands = RowBands(grid.width, octaves=octaves, skip=skip) if grid.is_rolling else SteerablePyramid(
        grid.height, grid.width, octaves=octaves, orientations=orientations, skip=skip)
    per_level = 1 if grid.is_rolling else orientations
    frequencies = np.repeat([math.pi / 2 ** (level + 1) for level in bands.levels], per_level)
    series = MotionSeries(grid, file, frequencies)
    together = max(4, min(32, _PIXELS // (grid.height * grid.width)))
    pools: list[Tensor] = []
    references: list[Tensor] = []
    for batch in _batches(frames, together, (grid.height, grid.width), path):
        series.brightness += batch.mean((1, 2), dtype=np.float64).tolist()
        images = torch.from_numpy(batch)
        responses = bands.analyse(images - images.mean())
        if not references:
            references = [response.mean(0, keepdim=True) for response in responses]
            pools = [_pooling(reference, grid) for reference in references]
            series.energy = np.concatenate([
                _pooled(reference.abs()[0:1] ** 2, pool, grid) for reference, pool in zip(
                    references, pools, strict=True)], axis=-1)[0]
        parts = [_pooled((response * reference.conj()).angle() * reference.abs() ** 2, pool, grid)
                 for response, reference, pool in zip(responses, references, pools, strict=True)]
        series.append(np.concatenate(parts, axis=-1))
        progress(series.frames)
    return series


def _pooling(reference: Tensor, grid: Grid) -> Tensor:
    """Which columns (and rows) of a band belong to which tile: (columns, w), or (rows * columns, h, w) flattened."""
    sides = reference.shape[-2:] if not grid.is_rolling else reference.shape[-1:]
    lengths = (grid.height, grid.width)[-len(sides):]
    members = []
    for count, side, length in zip(grid.tiles[-len(sides):], sides, lengths, strict=True):
        places = (torch.arange(side) + 0.5) * length / side
        tiles = (places / (length / count)).long().clamp(max=count - 1)
        margin = min(_MARGIN, side // 8)
        inside = (torch.arange(side) >= margin) & (torch.arange(side) < side - margin)
        members.append(((tiles[None] == torch.arange(count)[:, None]) & inside[None]).float())
    if len(members) == 1:
        return members[0]
    down, across = members
    return torch.cat([F.pad(down, (0, across.shape[1])), F.pad(across, (down.shape[1], 0))])


def _pooled(values: Tensor, pool: Tensor, grid: Grid) -> Array:
    """Sum over the tiles. (B, K, h, w) to (B, K * tiles); of rows (B, H, w) to (B, H, tiles)."""
    if grid.is_rolling:
        return (values @ pool.T).numpy()
    rows, columns = grid.tiles
    height = values.shape[2]
    found = pool[:rows, :height] @ (values @ pool[rows:, height:].T)
    assert found.shape[2:] == (rows, columns)
    return found.flatten(1).numpy()


def _batches(frames: Iterator[Array], size: int, shape: tuple[int, int], path: Path) -> Iterator[Array]:
    for first in frames:
        batch = [first, *islice(frames, size - 1)]
        if any(frame.shape != shape for frame in batch):
            raise UserError(f"{show(path)}: its pictures have several sizes: give frames of one film")
        together = np.stack(batch)
        batch.clear()  # else two batches of frames would be alive
        yield together
