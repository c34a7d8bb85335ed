"""Labels of an image: directions, and landmarks in pixels with their visibility."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from migaki.simulate.eye_model.eyeball import IRIS_DEPTH, trace
from migaki.simulate.eye_model.jit import compiled
from migaki.simulate.eye_model.parts import Bytes, Float, Geometry

NUM_OUTLINE = 16
LABELS = np.dtype(
    [
        ("gaze", "f4", (2,)),
        ("optical_gaze", "f4", (2,)),
        ("gaze_vector", "f4", (3,)),
        ("pupil_centre", "f4", (2,)),
        ("iris_outline", "f4", (NUM_OUTLINE, 2)),
        ("iris_visible", "u1", (NUM_OUTLINE,)),
        ("eyelid_outline", "f4", (NUM_OUTLINE, 2)),
        ("eyelid_visible", "u1", (NUM_OUTLINE,)),
        ("eye_corners", "f4", (2, 2)),
    ],
    align=True,
)


@compiled
def along_edge(edge: Any, pixels: Float, x: float) -> float:
    """Returns the height (px) of the polyline `edge` at column x; constant beyond its ends."""
    last = len(edge) - 1
    if x <= pixels[edge[0], 0]:
        return pixels[edge[0], 1]  # type: ignore[no-any-return]
    for k in range(last):
        ax, bx = pixels[edge[k], 0], pixels[edge[k + 1], 0]
        if ax <= x < bx:
            return pixels[edge[k], 1] + (x - ax) / (bx - ax) * (pixels[edge[k + 1], 1] - pixels[edge[k], 1])  # type: ignore[no-any-return]
    return pixels[edge[last], 1]  # type: ignore[no-any-return]


@compiled
def lid_at(geometry: Geometry, pixels: Float, x: float) -> tuple[float, float]:
    """Returns the upper and lower border (px) of the opening at column x; equal where the lids meet or cross."""
    upper = along_edge(geometry.upper_edge[0], pixels, x)
    for k in range(1, geometry.upper_edge.shape[0]):
        upper = max(upper, along_edge(geometry.upper_edge[k], pixels, x))
    lower = along_edge(geometry.lower_edge[0], pixels, x)
    for k in range(1, geometry.lower_edge.shape[0]):
        lower = min(lower, along_edge(geometry.lower_edge[k], pixels, x))
    if upper > lower:
        upper = lower = 0.5 * (upper + lower)
    return upper, lower


@compiled
def lid_curves(geometry: Geometry, pixels: Float, curves: Float) -> None:
    """Fill curves (2, X) with `lid_at` for every column."""
    for x in range(curves.shape[1]):
        curves[0, x], curves[1, x] = lid_at(geometry, pixels, float(x))


@compiled
def project(scene: Any, frame: Float, centre: Float, x: float, y: float, z: float) -> tuple[float, float]:
    """Returns the pixel of a point in the eye frame."""
    cx = centre[0] + frame[0, 0] * x + frame[1, 0] * y + frame[2, 0] * z
    cy = centre[1] + frame[0, 1] * x + frame[1, 1] * y + frame[2, 1] * z
    cz = centre[2] + frame[0, 2] * x + frame[1, 2] * y + frame[2, 2] * z
    return scene.focal * cx / cz + scene.cx, scene.focal * cy / cz + scene.cy


@compiled
def refracted_pixel(scene: Any, frame: Float, centre: Float, x: float, y: float) -> tuple[float, float]:
    """Returns the pixel that shows the point (x, y) of the iris plane through the cornea, by fixed-point iteration."""
    px, py = project(scene, frame, centre, x, y, IRIS_DEPTH - scene.limbus_plane)
    per_mm = scene.focal / centre[2]
    origin = -(frame @ centre)
    for _ in range(12):
        rx, ry = (px - scene.cx) / scene.focal, (py - scene.cy) / scene.focal
        size = np.float32(1.0 / math.sqrt(rx * rx + ry * ry + 1.0))
        ray = frame @ (np.array([rx, ry, 1.0], np.float32) * size)
        hit = trace(origin[0], origin[1], origin[2], ray[0], ray[1], ray[2], scene)
        if hit[7] > 999.0:
            break
        ex, ey = x - hit[7], y - hit[8]
        px += per_mm * (frame[0, 0] * ex + frame[1, 0] * ey)
        py += per_mm * (frame[0, 1] * ex + frame[1, 1] * ey)
    return px, py


@compiled
def seen(region: Bytes, x: float, y: float) -> bool:
    """Whether the supersampled pixel at (x, y), or one of its neighbours, shows the eyeball."""
    column, row = math.floor(x + 0.5), math.floor(y + 0.5)
    if not (0 <= row < region.shape[0] and 0 <= column < region.shape[1]):
        return False
    return region[row, column] > 0  # type: ignore[no-any-return]


@compiled
def label_directions(scene: Any, frame: Float, head: Float, labels: Any) -> None:
    """Set the optical axis of the eye, and the line of sight, which differs by `kappa` in the head's frame."""
    ox, oy, oz = -frame[2, 0], -frame[2, 1], -frame[2, 2]
    labels.optical_gaze[0] = math.asin(min(max(-oy, -1.0), 1.0))
    labels.optical_gaze[1] = math.atan2(-ox, -oz)
    pitch, yaw = scene.eye_pitch + scene.kappa_pitch, scene.eye_yaw + scene.kappa_yaw
    sx, sy, sz = -math.cos(pitch) * math.sin(yaw), -math.sin(pitch), -math.cos(pitch) * math.cos(yaw)
    for c in range(3):
        labels.gaze_vector[c] = head[c, 0] * sx + head[c, 1] * sy + head[c, 2] * sz
    labels.gaze[0] = math.asin(min(max(-labels.gaze_vector[1], -1.0), 1.0))
    labels.gaze[1] = math.atan2(-labels.gaze_vector[0], -labels.gaze_vector[2])


@compiled
def label_iris(scene: Any, factor: int, frame: Float, centre: Float, region: Bytes, labels: Any) -> None:
    """Set the pupil centre as seen through the corneaand 16 points of the limbus, clockwise from the temple's side."""
    px, py = refracted_pixel(scene, frame, centre, 0.0, 0.0)
    labels.pupil_centre[0], labels.pupil_centre[1] = to_output(px, factor), to_output(py, factor)
    for k in range(NUM_OUTLINE):
        turn = 2.0 * math.pi * k / NUM_OUTLINE
        px, py = project(scene, frame, centre, scene.iris_radius * math.cos(turn),
                         scene.iris_radius * math.sin(turn), -scene.limbus_plane)
        labels.iris_outline[k, 0], labels.iris_outline[k, 1] = to_output(px, factor), to_output(py, factor)
        labels.iris_visible[k] = 1 if seen(region, px, py) else 0


@compiled
def label_lids(geometry: Geometry, factor: int, pixels: Float, shape: tuple[int, int], labels: Any) -> None:
    """Set the corners, and 16 points of the opening: 8 along the upper lid from inner to outer corner, 8 back below."""
    start, end = pixels[geometry.corners[0]], pixels[geometry.corners[1]]
    for c in range(2):
        labels.eye_corners[0, c], labels.eye_corners[1, c] = to_output(start[c], factor), to_output(end[c], factor)
    half = NUM_OUTLINE // 2
    left = max(pixels[geometry.upper_edge[0, 0], 0], start[0])
    right = pixels[geometry.upper_edge[0, geometry.upper_edge.shape[1] - 1], 0]
    for k in range(half):
        x = left + (right - left) * k / (half - 1.0)
        upper, lower = lid_at(geometry, pixels, x)
        for row, y in ((k, upper), (NUM_OUTLINE - 1 - k, lower)):
            labels.eyelid_outline[row, 0], labels.eyelid_outline[row, 1] = to_output(x, factor), to_output(y, factor)
            inside = 0.0 <= x <= shape[1] - 1 and 0.0 <= y <= shape[0] - 1
            labels.eyelid_visible[row] = 1 if inside else 0


@compiled
def to_output(value: float, factor: int) -> float:
    """Convert a supersampled pixel coordinate to an output pixel coordinate, with centres at integers in both."""
    return (value + 0.5) / factor - 0.5


@compiled
def label_image(
    geometry: Geometry, scene: Any, factor: int, head: Float, frame: Float, centre: Float, pixels: Float,
    region: Bytes, labels: Any,
) -> None:
    """Write all labels of one image into its record (`LABELS`)."""
    label_directions(scene, frame, head, labels)
    label_iris(scene, factor, frame, centre, region, labels)
    label_lids(geometry, factor, pixels, region.shape, labels)
