"""Coordinates of a texture on a mesh, and textures filled beyond their charts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from migaki.ops.mesh_raster import Drawn, laid_out

Array = np.ndarray[Any, Any]

_PADDING = 2  # px between charts, so that the gutter belongs to one chart when a texture is read between texels


@dataclass(frozen=True, slots=True)
class Atlas:
    """A mesh cut into charts: `places` (W,) the vertex that each corner was, `faces` (F, 3) of corners, `uv` (W, 2).

    Coordinates lie in [0, 1] from the texture's top left corner. `texels` says which face each texel shows.
    """

    places: Array
    faces: Array
    uv: Array
    texels: Drawn


def unwrapped(vertices: Array, faces: Array, side: int) -> Atlas:
    """Returns an atlas of one square texture of `side` px (xatlas by Jonathan Young; least squares conformal maps).

    Needs xatlas (ImportError without it). Raises ValueError for a mesh that it cannot unwrap.

    Shape: vertices (V, 3), faces (F, 3)
    """
    import xatlas

    packing = xatlas.PackOptions()
    packing.resolution, packing.padding, packing.bilinear = side, _PADDING, True
    atlas = xatlas.Atlas()
    # Around the origin: far from it single precision would tear charts.
    middle = (vertices.min(0) + vertices.max(0)) / 2
    atlas.add_mesh(np.ascontiguousarray(vertices - middle, np.float32), np.ascontiguousarray(faces, np.uint32))
    atlas.generate(xatlas.ChartOptions(), packing)
    while atlas.atlas_count > 1:  # what did not fit lies on a second page
        packing.texels_per_unit = 0.9 * atlas.texels_per_unit
        atlas.generate(xatlas.ChartOptions(), packing)
    places, corners, uv = atlas.get_mesh(0)
    if len(corners) != len(faces):
        raise ValueError(f"{len(faces) - len(corners)} of {len(faces)} triangles have no place in the texture")
    # Charts lie in a rectangle; in a square of this side both axes are stretched to fill it.
    placed = np.asarray(uv, np.float64).clip(0, 1)
    corners = np.asarray(corners, np.int64)
    return Atlas(np.asarray(places, np.int64), corners, placed, laid_out(placed, corners, side))


def gutter_filled(texture: Array, known: Array) -> Array:
    """Returns a texture (S, S, C) in which texels that are not `known` (S, S) are as the nearest that is."""
    if known.all() or not known.any():
        return texture
    row, column = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return np.asarray(texture[row, column])


def looked_up(texture: Array, uv: Array) -> Array:
    """Returns the values (N, C) of a texture (S, S, C) at places (N, 2) in [0, 1], bilinear between texels' centres."""
    side = len(texture)
    at = uv[:, ::-1].T * side - 0.5
    return np.stack([ndimage.map_coordinates(texture[..., k], at, order=1, mode="nearest")
                     for k in range(texture.shape[2])], 1)
