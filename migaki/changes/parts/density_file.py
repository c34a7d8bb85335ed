"""A density grid in a file, and where its surface is seen from."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import explain, open_plain, show

Array = np.ndarray[Any, Any]

MOST_BYTES = 2**30
"""Of an array in the file, unpacked: 645 float32 samples along each side."""

_STEP = 0.7  # cells between samples of a line of sight
_CLEAR = 2.0  # cells from the surface at which a line of sight begins
_SLANT = 0.15  # cosine between normal and line of sight under which a point is not looked at


@dataclass(frozen=True, slots=True)
class Density:
    """A grid (X, Y, Z) float32 of densities; its first sample lies on `bounds[0]`, its last on `bounds[1]`."""

    values: Array
    bounds: Array  # (2, 3) float64, scene units

    @property
    def cell(self) -> Array:
        """The distance of two samples (3,)."""
        found: Array = (self.bounds[1] - self.bounds[0]) / (np.array(self.values.shape) - 1)
        return found

    def sees(self, points: Array, normals: Array, centre: Array, level: float) -> tuple[Array, Array]:
        """Which points (V, 3) a camera at `centre` (3,) sees, (V,) bool, and the cosine at each, (V,).

        Lines of sight begin off the surface, and are blocked by a sample above `level`.
        """
        away = centre - points
        distance = np.linalg.norm(away, axis=1)
        direction = away / np.maximum(distance, 1e-12)[:, None]
        cosine = (direction * normals).sum(1)
        step = float(self.cell.min())
        seen = cosine > _SLANT
        inside = self.values > level
        left = np.flatnonzero(seen)
        start = points + _CLEAR * step * (0.5 * normals + 0.5 * direction)
        reach = 0.0
        while len(left):
            places = np.rint((start[left] + reach * direction[left] - self.bounds[0]) / self.cell).astype(np.int64)
            within = ((places >= 0) & (places < inside.shape)).all(1) & (reach < distance[left])
            left, places = left[within], places[within]
            blocked = inside[places[:, 0], places[:, 1], places[:, 2]]
            seen[left[blocked]] = False
            left = left[~blocked]
            reach += _STEP * step
        return seen, cosine


def read_density(path: Path) -> Density:
    """Read an .npz file with `density` (X, Y, Z) and `bounds` (2, 3) or (6,); UserError for anything else."""
    try:
        with open_plain(path) as file, zipfile.ZipFile(file) as parts:
            sizes = {entry.filename: entry.file_size for entry in parts.infolist()}
            if missing := [name for name in ("density", "bounds") if f"{name}.npy" not in sizes]:
                raise UserError(f"{show(path)}: holds no `{missing[0]}`: write it with numpy.savez(FILE, density=..., "
                                "bounds=...)")
            if max(sizes.values()) > MOST_BYTES:
                raise UserError(f"{show(path)}: unpacks to more than {MOST_BYTES >> 20} MB: make a coarser grid")
            file.seek(0)
            with np.load(file, allow_pickle=False) as stored:
                values, bounds = stored["density"], stored["bounds"]
    except OSError as error:
        raise explain(error, path) from error
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, zlib.error, NotImplementedError, RuntimeError,
            SyntaxError, MemoryError) as error:
        raise UserError(f"{show(path)}: no NumPy archive that can be read: write it with numpy.savez") from error
    return _checked(path, values, bounds)


def _checked(path: Path, values: Array, bounds: Array) -> Density:
    if values.ndim != 3 or min(values.shape) < 4 or values.dtype.kind not in "fiub":
        raise UserError(f"{show(path)}: `density` is {values.dtype} {values.shape}: give numbers (X, Y, Z), at least 4 "
                        "along each side")
    if bounds.size != 6 or bounds.dtype.kind not in "fiu":
        raise UserError(f"{show(path)}: `bounds` is {bounds.dtype} {bounds.shape}: give the lower and the upper corner")
    corners = bounds.astype(np.float64).reshape(2, 3)
    if not np.isfinite(corners).all() or not (corners[0] < corners[1]).all():
        raise UserError(f"{show(path)}: `bounds` are no box: give the lower corner first")
    density = values.astype(np.float32)
    if not np.isfinite(density).all():
        raise UserError(f"{show(path)}: `density` holds values that are not finite: correct them")
    return Density(density, corners)
