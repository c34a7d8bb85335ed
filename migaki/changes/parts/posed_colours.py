"""The colours of points on a surface, gathered from pictures with poses."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from migaki.changes.parts.density_file import Density
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.reduction import Frames
from migaki.data.sets.possible import is_lens, is_pose
from migaki.ops.camera import project
from migaki.ops.linear_light import to_linear
from migaki.ops.mesh import Surface
from migaki.ops.mesh_raster import drawn

Array = np.ndarray[Any, Any]


_KEPT = 8  # views of a point, the best of those that see it: memory does not grow with the number of pictures
_EDGE = 1.0  # px from an outline, within which a pixel may show what lies behind
_UNSURE = 1e-3  # weight of such a view beside a sure one
_JUMP = 0.02  # of the largest inverse depth: what bends it more within a px is an outline
_QUANTILE, _SOFT = 0.35, 0.15  # of the brightness of the views of a point, and the width about it that counts


@dataclass(frozen=True, slots=True)
class Seen:
    """What pictures show of points: colours (V, 3) in linear light; weights (V,) of sure views, and of all."""

    colours: Array
    sure: Array
    weights: Array

    def part(self, first: int, last: int) -> Seen:
        """What is shown of points first .. last."""
        return Seen(self.colours[first:last], self.sure[first:last], self.weights[first:last])


def gathered(frames: Frames, density: Density, level: float, points: Array, normals: Array, surface: Surface,
             progress: Callable[[int, int], None]) -> Seen:
    """Returns the colour of each point over the views that see it, and how surely it is known.

    A view counts by the square of the cosine between its line of sight and the normal; transparent pixels do not count.
    Views that see a point beside an outline of the surface (vertices, faces) are not sure, since a mesh is a pixel
    wrong there and the pixel shows what lies behind. Of the eight best views those somewhat darker than most count, so
    that a highlight is no colour of the surface. Raises UserError for pictures without poses.
    """
    check_poses(frames)
    best = _Best(len(points))
    weights, sure = np.zeros(len(points)), np.zeros(len(points))
    for number, (row, picture) in enumerate(zip(frames.rows, frames.read(), strict=True)):
        pose, lens = camera_of(row, _called(frames, number))
        seen, cosine = density.sees(points, normals, pose[:, 3], level)
        places = np.flatnonzero(seen)
        uv, depth = project(torch.from_numpy(points[places]).float(), torch.from_numpy(lens).float(),
                            torch.from_numpy(pose).float())
        height, width = picture.shape[1:]
        at = uv.double().numpy() - 0.5
        within = (depth.numpy() > 0) & (at >= 0).all(1) & (at[:, 0] <= width - 1) & (at[:, 1] <= height - 1)
        places, at = places[within], at[within]
        planes = [ndimage.map_coordinates(plane, at[:, ::-1].T, order=1, mode="nearest") for plane in _light(picture)]
        weight = cosine[places] ** 2 * (planes[3] if len(planes) > 3 else 1.0)
        weights[places] += weight
        apart = ndimage.map_coordinates(_from_outlines(surface, pose, lens, height, width), at[:, ::-1].T, order=1,
                                        mode="nearest")
        clear = apart > _EDGE
        sure[places] += weight * clear
        best.add(places, np.stack(planes[:3], 1), weight * np.where(clear, 1.0, _UNSURE))
        progress(number + 1, len(frames.rows))
    return Seen(best.colours(), sure, weights)


class _Best:
    """The views of each point that count most, and the colours in them."""

    def __init__(self, count: int) -> None:
        self.shown = np.zeros((count, _KEPT, 3), np.float32)
        self.counted = np.zeros((count, _KEPT), np.float32)

    def add(self, places: Array, colours: Array, weights: Array) -> None:
        """Take the place of the view that counts least, where this one counts more."""
        least = self.counted[places].argmin(1)
        more = weights > self.counted[places, least]
        self.shown[places[more], least[more]] = colours[more]
        self.counted[places[more], least[more]] = weights[more]

    def colours(self) -> Array:
        """The colour (V, 3) at a quantile of the brightness, softly."""
        order = np.argsort(np.where(self.counted > 0, self.shown.mean(2), np.inf), axis=1, kind="stable")
        counted = np.take_along_axis(self.counted, order, 1).astype(np.float64)
        whole = np.maximum(counted.sum(1, keepdims=True), 1e-9)
        rank = (np.cumsum(counted, 1) - counted / 2) / whole
        near = np.exp(-0.5 * ((rank - _QUANTILE) / _SOFT) ** 2) * counted
        shown = np.take_along_axis(self.shown, order[..., None], 1)
        return np.asarray((shown * near[..., None]).sum(1) / np.maximum(near.sum(1), 1e-12)[:, None])


def _from_outlines(surface: Surface, pose: Array, lens: Array, height: int, width: int) -> Array:
    """How far pixels (H, W) are from the next outline, px: where depth jumps. A plane's inverse depth does not bend."""
    depth = drawn(*surface, pose, lens, height, width).depth
    inverse = np.where(depth > 0, 1 / np.maximum(depth, 1e-12), 0.0)
    jumps = np.zeros(inverse.shape, bool)
    most = _JUMP * float(inverse.max())
    if height > 2 and width > 2:
        jumps[1:-1] |= np.abs(np.diff(inverse, 2, axis=0)) > most
        jumps[:, 1:-1] |= np.abs(np.diff(inverse, 2, axis=1)) > most
    return np.asarray(ndimage.distance_transform_edt(~jumps) if jumps.any() else
                      np.full(inverse.shape, float(height + width)))


def check_poses(frames: Frames) -> None:
    """UserError unless every picture has a pose and a lens."""
    if not frames.rows:
        raise UserError(f"{show(frames.path)}: a film has no poses: give a set with the columns camera_to_world and "
                        "intrinsics")
    for number, row in enumerate(frames.rows):
        camera_of(row, _called(frames, number))


def _called(frames: Frames, number: int) -> str:
    return f"{show(frames.path)}: '{show(frames.rows[number].get('file_name', number))}'"


def camera_of(row: Mapping[str, Any], where: str) -> tuple[Array, Array]:
    """Returns the pose (3, 4) and the intrinsics (4,) of a row; UserError if they are missing or cannot be."""
    found = []
    for name, shape in (("camera_to_world", (3, 4)), ("intrinsics", (4,))):
        try:
            value = np.array(row.get(name), np.float64)
        except (TypeError, ValueError):
            value = np.zeros(0)
        if value.size != math.prod(shape) or not np.isfinite(value).all():
            raise UserError(f"{where} has no `{name}` of {math.prod(shape)} numbers: give a set with poses, such as "
                            "`migaki simulate scene` or `migaki import transforms` writes")
        found.append(value.reshape(shape))
    pose, lens = found
    if not (is_pose(pose[None]).all() and is_lens(lens[None]).all()):
        raise UserError(f"{where}: its pose is no rotation, or its focal length is not above 0: correct it")
    return pose, lens


def _light(picture: Array) -> Array:
    """A picture in linear light, (3 or 4, H, W); grey is repeated, alpha stays, straight colours are kept."""
    colours = picture[:3] if len(picture) >= 3 else np.repeat(picture[:1], 3, 0)
    light = to_linear(torch.from_numpy(np.ascontiguousarray(colours))).numpy()
    return np.concatenate([light, picture[3:4]]) if len(picture) == 4 else light
