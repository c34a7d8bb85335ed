"""Triangle meshes as arrays: surface of a density, smoothing, decimation, normals, distances between surfaces.

`vertices` are (V, 3) float64 in scene units, `faces` (F, 3) int64, counter-clockwise seen from outside.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

Array = np.ndarray[Any, Any]
Surface = tuple[Array, Array]


def surface_of(density: Array, bounds: Array, level: float) -> Surface:
    """Returns where a density crosses `level`, as a closed mesh (marching cubes, Lewiner et al., 2003).

    Needs scikit-image (ImportError without it).

    Args:
        density: (X, Y, Z), higher inside; the first sample lies on the lower bound, the last on the upper.
        bounds: (2, 3), lower and upper corner, scene units.
        level: Between the smallest and the largest density; ValueError otherwise.
    """
    from skimage.measure import marching_cubes

    if not density.min() <= level < density.max():
        raise ValueError(f"densities go from {density.min():g} to {density.max():g}, so none is at {level:g}")
    # What reaches the bounds is closed there: beyond them is nothing.
    padded = np.pad(density.astype(np.float32), 1, constant_values=min(float(density.min()), 2 * level - density.max()))
    marching: Any = marching_cubes  # without types
    vertices, faces, _, _ = marching(padded, level, gradient_direction="ascent")
    cell = (bounds[1] - bounds[0]) / (np.array(density.shape) - 1)
    placed = bounds[0] + (vertices.astype(np.float64) - 1) * cell
    return placed, faces.astype(np.int64)


def edges_of(faces: Array) -> Array:
    """Returns each edge once, (E, 2) int64, the smaller vertex first."""
    pairs = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    return np.unique(pairs, axis=0)


def is_closed(faces: Array) -> bool:
    """Whether every edge belongs to two faces that run along it in opposite directions."""
    directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    forward = np.unique(directed, axis=0)
    return len(forward) == len(directed) and np.array_equal(forward, np.unique(directed[:, ::-1], axis=0))


def compact(vertices: Array, faces: Array) -> Surface:
    """Leave out vertices without a face."""
    used, places = np.unique(faces, return_inverse=True)
    return vertices[used], places.reshape(faces.shape).astype(np.int64)


def large_parts(vertices: Array, faces: Array, share: float) -> Surface:
    """Keep the connected parts that have at least `share` of the faces of the largest one: no floaters."""
    edges = edges_of(faces)
    graph = sparse.coo_matrix((np.ones(len(edges)), edges.T), shape=(len(vertices),) * 2)
    _, part = sparse.csgraph.connected_components(graph, directed=False)
    sizes = np.bincount(part[faces[:, 0]], minlength=part.max() + 1)
    return compact(vertices, faces[sizes[part[faces[:, 0]]] >= share * sizes.max()])


def smoothed(vertices: Array, faces: Array, rounds: int = 10, inward: float = 0.5, outward: float = -0.53) -> Array:
    """Taubin's smoothing (SIGGRAPH 1995): a step towards the neighbours' mean, then one back, so that nothing shrinks.

    Returns the moved vertices (V, 3).
    """
    edges = edges_of(faces)
    both = np.concatenate([edges, edges[:, ::-1]])
    counts = np.maximum(np.bincount(both[:, 0], minlength=len(vertices)), 1)
    mean = sparse.csr_matrix((1 / counts[both[:, 0]], both.T), shape=(len(vertices),) * 2)
    moved = vertices.copy()
    for _ in range(rounds):
        for step in (inward, outward):
            moved += step * (mean @ moved - moved)
    return moved


def face_normals(vertices: Array, faces: Array) -> Array:
    """Returns (F, 3): outward, twice the face's area long."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return np.cross(b - a, c - a)


def vertex_normals(vertices: Array, faces: Array) -> Array:
    """Returns (V, 3) of length 1, the mean of the faces' normals by their area; z where there is none."""
    total = np.zeros_like(vertices)
    normals = face_normals(vertices, faces)
    for corner in range(3):
        np.add.at(total, faces[:, corner], normals)
    lengths = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(lengths > 0, total / np.where(lengths > 0, lengths, 1), [0.0, 0.0, 1.0])


def steady_normals(vertices: Array, faces: Array, rounds: int = 10, alike: float = 0.35) -> Array:
    """Returns vertices' normals (V, 3) of length 1 that noise moves less, while edges of things stay edges.

    Normals of faces are averaged with those of faces that touch them, those that look another way counting less
    (bilateral, as Zheng et al., "Bilateral normal filtering for mesh denoising", TVCG 2011). `alike` is the width of
    the weight, the distance of two normals. With 0 rounds these are `vertex_normals`.
    """
    if not rounds:
        return vertex_normals(vertices, faces)
    wide = face_normals(vertices, faces)
    area = np.linalg.norm(wide, axis=1)
    normals = wide / np.maximum(area, 1e-300)[:, None]
    centres = vertices[faces].mean(1)
    corners = sparse.csr_matrix((np.ones(faces.size), (np.repeat(np.arange(len(faces)), 3), faces.ravel())),
                                shape=(len(faces), len(vertices)))
    touching = (corners @ corners.T).tocoo()
    first, second = touching.row, touching.col
    length = 1.5 * float(np.linalg.norm(vertices[faces[:, 0]] - vertices[faces[:, 1]], axis=1).mean())
    near = area[second] * np.exp(-((centres[first] - centres[second]) ** 2).sum(1) / (2 * length**2))
    for _ in range(rounds):
        same = near * np.exp(-((normals[first] - normals[second]) ** 2).sum(1) / (2 * alike**2))
        normals = sparse.csr_matrix((same, (first, second)), shape=(len(faces),) * 2) @ normals
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
    total = corners.T @ (normals * area[:, None])
    lengths = np.linalg.norm(total, axis=1, keepdims=True)
    return np.asarray(np.where(lengths > 0, total / np.where(lengths > 0, lengths, 1), [0.0, 0.0, 1.0]))


def decimated(vertices: Array, faces: Array, most: int) -> Surface:
    """Returns a mesh of at most `most` faces: vertices in one cell of a grid become one, where their planes meet.

    Lindstrom, "Out-of-core simplification of large polygonal models", SIGGRAPH 2000: the vertex that minimises the sum
    of squared distances from the planes of all faces at it, weighted by area squared. The grid is as fine as `most`
    allows.
    """
    if len(faces) <= most:
        return vertices, faces
    extent = float(np.ptp(vertices, axis=0).max())
    fine, coarse = 2, max(8, int(np.sqrt(len(faces))))  # cells along the longest side
    best = _clustered(vertices, faces, extent / fine)
    while coarse - fine > 1:
        middle = (fine + coarse) // 2
        found = _clustered(vertices, faces, extent / middle)
        if len(found[1]) <= most:
            fine, best = middle, found
        else:
            coarse = middle
    return best


def _clustered(vertices: Array, faces: Array, cell: float) -> Surface:
    """Merge the vertices of each cubic cell of that side."""
    low = vertices.min(0) - 0.5 * cell
    keys = np.floor((vertices - low) / cell).astype(np.int64)
    _, cluster = np.unique(keys, axis=0, return_inverse=True)
    cluster = cluster.ravel()
    count = int(cluster.max()) + 1
    members = np.bincount(cluster, minlength=count)
    centre = np.stack([np.bincount(cluster, vertices[:, k], count) for k in range(3)], 1) / members[:, None]
    merged = cluster[faces]
    placed = _quadric_minima(vertices, faces, merged, centre, cell)
    whole = (merged[:, 0] != merged[:, 1]) & (merged[:, 1] != merged[:, 2]) & (merged[:, 2] != merged[:, 0])
    kept = merged[whole]
    # Two faces on the same three vertices, back to back or twice, are one wall of no thickness.
    _, first, times = np.unique(np.sort(kept, axis=1), axis=0, return_index=True, return_counts=True)
    return compact(placed, kept[np.sort(first[times == 1])])


def _quadric_minima(vertices: Array, faces: Array, merged: Array, centre: Array, cell: float) -> Array:
    """Where the planes of the faces around each cluster meet best; small singular values stay at the centre."""
    normals = face_normals(vertices, faces)
    matrix, right = np.zeros((len(centre), 3, 3)), np.zeros((len(centre), 3))
    for corner in range(3):
        at = merged[:, corner]
        offset = np.einsum("fk,fk->f", normals, vertices[faces[:, corner]] - centre[at])
        np.add.at(matrix, at, normals[:, :, None] * normals[:, None, :])
        np.add.at(right, at, normals * offset[:, None])
    values, axes = np.linalg.eigh(matrix)
    inverse = np.where(values > 1e-3 * values[:, -1:], 1 / np.maximum(values, 1e-300), 0.0)
    move = np.einsum("nij,nj,nkj,nk->ni", axes, inverse, axes, right)
    placed: Array = centre + np.clip(move, -cell, cell)
    return placed


def surface_points(vertices: Array, faces: Array, count: int, seed: int) -> Array:
    """Returns points (count, 3) spread evenly at random over the surface."""
    draw = np.random.default_rng(seed)
    areas = np.linalg.norm(face_normals(vertices, faces), axis=1)
    chosen = faces[draw.choice(len(faces), count, p=areas / areas.sum())]
    u, v = np.sqrt(draw.random((count, 1))), draw.random((count, 1))
    found: Array = (1 - u) * vertices[chosen[:, 0]] + u * (1 - v) * vertices[chosen[:, 1]] + u * v * vertices[
        chosen[:, 2]]
    return found


def chamfer(first: Array, second: Array) -> float:
    """Returns the mean distance from each point to the nearest of the other set, the mean of both directions.

    Shape: first (N, 3), second (M, 3)
    """
    there, back = cKDTree(second).query(first)[0].mean(), cKDTree(first).query(second)[0].mean()
    return float((there + back) / 2)
