"""A mesh against the truth of the rendered scene that it was made of: shape, own colours, and light never seen."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from migaki.core.files import explain
from migaki.data.folder import ImageFolder
from migaki.ops.albedo import harmonics
from migaki.ops.camera import project
from migaki.ops.linear_light import to_linear
from migaki.ops.mesh import chamfer, surface_points

Array = np.ndarray[Any, Any]

_POINTS = 60_000  # on each surface
_NEAR = 0.03  # scene units, within which a point is what a picture shows there
_DARKEST = 1e-3
_LAMP = np.array([[0.55, 0.5, 0.45], [-0.25, -0.2, -0.15], [0.2, 0.2, 0.2], [0.2, 0.25, 0.3],
                  *[[0.02, 0.0, -0.02]] * 5])
"""A light that no scene has: nine harmonics (rows as `ops.albedo.harmonics`) of three colours."""


def compare_with_truth(mesh: Path, views: Path, surfaces: Path) -> dict[str, float]:
    """Returns how far the arrays of a mesh (mesh.npz) are from the truth of `simulate scene` (the set and its .obj).

    `chamfer` is the mean of both directions, in % of the diagonal of what there is: from the mesh's faces that a
    picture sees to the nearest true point, and from the true ones that a picture shows to the nearest of the mesh;
    `chamfer_whole` counts all points of the mesh. `chamfer_box` is that of the box round the truth: what costs nothing.
    `albedo` and `relit` are PSNR in dB of linear light at the mesh's vertices, after one scale for each channel; relit
    is under a light never seen, with the normals of each. `albedo_undivided` and `relit_undivided` are those of the
    colours as they were seen.
    """
    folder = ImageFolder(views)
    with np.load(mesh, allow_pickle=False) as stored:
        made = {name: stored[name] for name in stored.files}
    found = _shape(made, surfaces, folder)
    truth, normals, known = _shown(folder, made["vertices"])
    known &= made["weights"] > 0
    lamp, own = harmonics(normals[known]) @ _LAMP, truth[known]
    shade = np.maximum(harmonics(made["normals"][known]) @ _LAMP, 0)
    for name, ending in (("albedo", ""), ("colours", "_undivided")):
        scaled = _scaled(made[name][known], own)
        found[f"albedo{ending}"] = _decibels(scaled, own)
        found[f"relit{ending}"] = _decibels(scaled * shade, own * np.maximum(lamp, 0))
    return found


def read_surfaces(path: Path) -> tuple[Array, Array]:
    """Vertices (V, 3) and faces (F, 3) of an OBJ of triangles, as `simulate scene` writes it."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise explain(error, path) from error
    vertices = [line.split()[1:4] for line in lines if line.startswith("v ")]
    faces = [[word.split("/")[0] for word in line.split()[1:4]] for line in lines if line.startswith("f ")]
    return np.array(vertices, np.float64), np.array(faces, np.int64) - 1


def _shape(made: dict[str, Array], surfaces: Path, folder: ImageFolder) -> dict[str, float]:
    vertices, faces = read_surfaces(surfaces)
    truth = surface_points(vertices, faces, _POINTS, 0)
    truth = truth[_shown(folder, truth)[2]]
    whole = surface_points(made["vertices"], made["faces"], _POINTS, 1)
    seen = made["faces"][(made["weights"] > 0)[made["faces"]].all(1)]
    points = surface_points(made["vertices"], seen, _POINTS, 1)
    size = float(np.linalg.norm(np.ptp(truth, axis=0)))
    low, high = truth.min(0), truth.max(0)
    corners = low + (high - low) * np.array([[k >> 2, k >> 1 & 1, k & 1] for k in range(8)])
    sides = np.array([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6], [0, 2, 6],
                      [0, 6, 4], [1, 5, 7], [1, 7, 3]])
    box = surface_points(corners, sides, _POINTS, 2)
    return {"chamfer": 100 * chamfer(points, truth) / size, "chamfer_whole": 100 * chamfer(whole, truth) / size,
            "chamfer_box": 100 * chamfer(box, truth) / size}


def _shown(folder: ImageFolder, points: Array) -> tuple[Array, Array, Array]:
    """Albedo (V, 3) in linear light and normal (V, 3) that the pictures show at points, and which they show, (V,)."""
    albedo, normal, counts = np.zeros((len(points), 3)), np.zeros((len(points), 3)), np.zeros(len(points))
    for place in range(len(folder)):
        batch = folder.read([place], ("image", "camera_to_world", "intrinsics", "depth", "albedo", "normals"))
        uv, ahead = project(torch.from_numpy(points).float(), batch["intrinsics"][0], batch["camera_to_world"][0])
        height, width = batch["image"].shape[-2:]
        at, depth = uv.floor().long().numpy(), ahead.numpy()
        inside = (depth > 0) & (at >= 0).all(1) & (at[:, 0] < width) & (at[:, 1] < height)
        x, y = at[inside].T
        same = np.abs(batch["depth"][0, y, x].numpy() - depth[inside]) < _NEAR
        chosen = np.flatnonzero(inside)[same]
        albedo[chosen] += to_linear(batch["albedo"][0, :, y[same], x[same]].T.double()).numpy()
        normal[chosen] += batch["normals"][0, :, y[same], x[same]].T.numpy()
        counts[chosen] += 1
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    return albedo / np.maximum(counts, 1)[:, None], normal / np.maximum(length, 1e-9), (counts > 0) & (length[:, 0] > 0)


def _scaled(found: Array, truth: Array) -> Array:
    return np.asarray(found * (found * truth).sum(0) / np.maximum((found**2).sum(0), _DARKEST))


def _decibels(found: Array, truth: Array) -> float:
    return -10 * math.log10(max(float(((found - truth) ** 2).mean()), 1e-12))
