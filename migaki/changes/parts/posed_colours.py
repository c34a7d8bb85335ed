"""The colours of points on a surface, gathered from pictures with poses."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
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

Array = np.ndarray[Any, Any]


def gathered(frames: Frames, density: Density, level: float, points: Array, normals: Array,
             progress: Callable[[int, int], None]) -> tuple[Array, Array]:
    """Returns the mean colour (V, 3) of each point in linear light over the views that see it, and the weights (V,).

    A view counts by the square of the cosine between its line of sight and the normal; transparent pixels do not count.
    Raises UserError for pictures without poses.
    """
    if not frames.rows:
        raise UserError(f"{show(frames.path)}: a film has no poses: give a set with the columns camera_to_world and "
                        "intrinsics")
    total, weights = np.zeros((len(points), 3)), np.zeros(len(points))
    for number, (row, picture) in enumerate(zip(frames.rows, frames.read(), strict=True)):
        pose, lens = camera_of(row, f"{show(frames.path)}: '{show(row.get('file_name', number))}'")
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
        total[places] += np.stack(planes[:3], 1) * weight[:, None]
        weights[places] += weight
        progress(number + 1, len(frames.rows))
    return total / np.maximum(weights, 1e-9)[:, None], weights


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
