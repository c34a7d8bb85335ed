"""Shape and lids: computes the drawn vertices in the camera frame from the cage at rest."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from migaki.simulate.eye_model.jit import compiled
from migaki.simulate.eye_model.parts import Float, Geometry

# Fraction of the lid's motion by ring of the cage, in steps from the lid's edge (UnityEyes: 1 1 1 .8,
# then half of the ring before).
FOLLOW = np.array([1.0, 1.0, 1.0, 0.8, 0.4, 0.2, 0.1, 0.0], np.float32)
RIM_THICKNESS = 0.5  # mm of rim over the eyeball in the first ring
UPPER_THICKNESS, LOWER_THICKNESS = 2.5, 1.25  # mm of lid over the eyeball from the second ring outwards


@compiled
def surface_radius(cosine: float, eye: Any) -> float:
    """Returns the distance in mm from the eyeball's centre to its surface, by the cosine of the angle to its axis."""
    if cosine * eye.eye_radius < eye.limbus_plane:
        return eye.eye_radius  # type: ignore[no-any-return]
    offset = eye.cornea_centre
    return offset * cosine + math.sqrt(eye.cornea_radius**2 - offset**2 * (1.0 - cosine**2))  # type: ignore[no-any-return]


@compiled
def shape_cage(geometry: Geometry, coefficients: Float, cage: Float) -> None:
    """Compute cage (V, 3) = mean + sum of components, as loops: with BLAS its bits would depend on the batch."""
    cage[:] = geometry.mean
    for k in range(len(coefficients)):
        amount = coefficients[k]
        for v in range(cage.shape[0]):
            for c in range(3):
                cage[v, c] += amount * geometry.components[k, v, c]


@compiled
def move_lids(geometry: Geometry, eye: Any, axis: Float, cage: Float) -> None:
    """Rotate the lids to the elevations `eye.upper_lid` and `eye.lower_lid` and lay them onto the eyeball.

    Vertices rotate about the line between the corners, shifted to the eyeball's centre. Their part of
    the rotation decreases from the lid's middle to the corners and from its edge outwards. `axis` is the optical axis
    in the head frame.
    """
    inner, outer = cage[geometry.cage_corners[0]].copy(), cage[geometry.cage_corners[1]].copy()
    length = math.sqrt(((outer - inner) ** 2).sum())
    along = (outer - inner) / np.float32(length)
    front = np.array([0.0, 0.0, -1.0], np.float32)
    front -= along * (front * along).sum()
    front /= np.float32(math.sqrt((front * front).sum()))
    up = np.cross(front, along)  # y points down, so forward x rightward = upward
    start = (inner * along).sum()
    top, bottom = cage[geometry.cage_middle[0]], cage[geometry.cage_middle[1]]
    lift = eye.upper_lid - math.atan2((top * up).sum(), (top * front).sum())
    drop = eye.lower_lid - math.atan2((bottom * up).sum(), (bottom * front).sum())
    for v in range(cage.shape[0]):
        share = FOLLOW[min(geometry.ring[v], 7)]
        place = ((cage[v] * along).sum() - start) / length
        if share == 0.0 or place <= 0.0 or place >= 1.0:
            continue
        turn = (lift if geometry.upper[v] > 0.5 else drop) * share * (4.0 * place * (1.0 - place)) ** 0.75
        forward, upward = (cage[v] * front).sum(), (cage[v] * up).sum()
        forward_new = forward * math.cos(turn) - upward * math.sin(turn)
        upward_new = forward * math.sin(turn) + upward * math.cos(turn)
        cage[v] += np.float32(forward_new - forward) * front + np.float32(upward_new - upward) * up
    lay_onto_eyeball(geometry, eye, axis, cage)


@compiled
def lay_onto_eyeball(geometry: Geometry, eye: Any, axis: Float, cage: Float) -> None:
    """Pull the lid's edge onto the eyeball and the skin behind it along; keeps the lid's thickness."""
    pull, count = 0.0, 0
    for v in range(cage.shape[0]):
        if geometry.ring[v] == 0:
            pull += eye.eye_radius - math.sqrt((cage[v] ** 2).sum())
            count += 1
    pull /= max(count, 1)
    for v in range(cage.shape[0]):
        ring = min(geometry.ring[v], 7)
        radius = math.sqrt((cage[v] ** 2).sum())
        direction = cage[v] / np.float32(radius)
        if direction[2] > 0.3:
            continue
        surface = surface_radius((direction * axis).sum(), eye)
        wanted = radius + pull * FOLLOW[ring]
        if ring == 0:
            wanted = surface + 0.05
        elif ring == 1:
            wanted = max(wanted, surface + RIM_THICKNESS)
        else:
            thickness = UPPER_THICKNESS if geometry.upper[v] > 0.5 else LOWER_THICKNESS
            wanted = max(wanted, surface + thickness * eye.lid_thickness)
        cage[v] = direction * np.float32(wanted)


@compiled
def refine_cage(geometry: Geometry, cage: Float, points: Float) -> None:
    """Compute points (N, 3) as weighted sums of the cage's vertices."""
    for n in range(points.shape[0]):
        for c in range(3):
            total = np.float32(0.0)
            for k in range(geometry.fine_index.shape[1]):
                total += geometry.fine_weight[n, k] * cage[geometry.fine_index[n, k], c]
            points[n, c] = total


@compiled
def vertex_normals(geometry: Geometry, points: Float, normals: Float) -> None:
    """Compute unit normals (N, 3) that face the camera (z < 0 in front), area-weighted over the triangles."""
    normals[:] = 0.0
    for t in range(geometry.triangles.shape[0]):
        i, j, k = geometry.triangles[t, 0], geometry.triangles[t, 1], geometry.triangles[t, 2]
        ax, ay, az = points[j, 0] - points[i, 0], points[j, 1] - points[i, 1], points[j, 2] - points[i, 2]
        bx, by, bz = points[k, 0] - points[i, 0], points[k, 1] - points[i, 1], points[k, 2] - points[i, 2]
        nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        for v in (i, j, k):
            normals[v, 0] += nx
            normals[v, 1] += ny
            normals[v, 2] += nz
    for v in range(normals.shape[0]):
        size = math.sqrt(normals[v, 0] ** 2 + normals[v, 1] ** 2 + normals[v, 2] ** 2) + 1e-12
        for c in range(3):
            normals[v, c] /= size


@compiled
def to_camera(points: Float, middle: Float, rotation: Float, distance: float) -> None:
    """Rotate the head about the midpoint of the corners, and place that point `distance` mm before the camera."""
    for n in range(points.shape[0]):
        x, y, z = points[n, 0] - middle[0], points[n, 1] - middle[1], points[n, 2] - middle[2]
        for c in range(3):
            points[n, c] = rotation[c, 0] * x + rotation[c, 1] * y + rotation[c, 2] * z
        points[n, 2] += distance
