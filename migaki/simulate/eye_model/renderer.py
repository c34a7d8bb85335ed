"""Renders one image after another: geometry, skin, eyeball, lashes, photograph, labels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from migaki.simulate.eye_model.eyeball import IRIS, PUPIL, eyeball_colour, fresnel, trace
from migaki.simulate.eye_model.jit import compiled, inlined
from migaki.simulate.eye_model.landmarks import label_image, lid_curves
from migaki.simulate.eye_model.lashes import draw_lashes
from migaki.simulate.eye_model.lighting import irradiance, mirrored
from migaki.simulate.eye_model.parts import Bytes, Float, Geometry, Textures
from migaki.simulate.eye_model.photograph import blur, develop, equalise, shrink, shrink_mask
from migaki.simulate.eye_model.posing import move_lids, refine_cage, shape_cage, to_camera, vertex_normals
from migaki.simulate.eye_model.skin import rasterise, shade_skin, vertex_attributes

FAR = np.float32(1e9)


@compiled
def rotation_of(pitch: float, yaw: float, roll: float, out: Float) -> None:
    """Compute out (3, 3) = R_yaw R_pitch R_roll.

    It rotates straight ahead (0, 0, -1) to (-cos p sin y, -sin p, -cos p cos y); roll is clockwise in the image.
    """
    cp, sp, cy, sy, cr, sr = (math.cos(pitch), math.sin(pitch), math.cos(yaw), math.sin(yaw),
                              math.cos(roll), math.sin(roll))
    out[0, 0], out[0, 1], out[0, 2] = cy * cr - sy * sp * sr, -cy * sr - sy * sp * cr, sy * cp
    out[1, 0], out[1, 1], out[1, 2] = cp * sr, cp * cr, sp
    out[2, 0], out[2, 1], out[2, 2] = -sy * cr - cy * sp * sr, sy * sr - cy * sp * cr, cy * cp


@compiled
def pose_points(geometry: Geometry, coefficients: Float, scene: Any, head: Float, points: Float) -> Float:
    """Compute the drawn vertices in the camera frame, points (N, 3); returns the eyeball's centre there (3,)."""
    cage = np.empty_like(geometry.mean)
    shape_cage(geometry, coefficients, cage)
    look = np.empty((3, 3), np.float32)
    rotation_of(scene.eye_pitch, scene.eye_yaw, 0.0, look)
    move_lids(geometry, scene, -look[:, 2].copy(), cage)
    refine_cage(geometry, cage, points)
    middle = (points[geometry.corners[0]] + points[geometry.corners[1]]) * np.float32(0.5)
    to_camera(points, middle, head, scene.distance)
    centre = np.empty((1, 3), np.float32)
    centre[:] = 0.0
    to_camera(centre, middle, head, scene.distance)
    return centre[0]  # type: ignore[no-any-return]


@compiled
def eye_frame(scene: Any, head: Float) -> Float:
    """Returns rows with the eye's x, y, z axes in the camera frame; the optical axis is the negative of the last."""
    look = np.empty((3, 3), np.float32)
    rotation_of(scene.eye_pitch, scene.eye_yaw, 0.0, look)
    frame = np.empty((3, 3), np.float32)
    for i in range(3):
        for j in range(3):
            frame[i, j] = head[j, 0] * look[0, i] + head[j, 1] * look[1, i] + head[j, 2] * look[2, i]
    return frame


@compiled
def paint_eyeball(
    textures: Textures, scene: Any, frame: Float, centre: Float, curves: Float,
    depth: Float, region: Bytes, linear: Float,
) -> None:
    """Trace the eyeball in the opening of the lids. curves (2, X): upper and lower lid's edge by column, px."""
    height, width = depth.shape
    per_mm = scene.focal / centre[2]
    reach = scene.eye_radius * 1.1 * per_mm
    mid_x, mid_y = scene.focal * centre[0] / centre[2] + scene.cx, scene.focal * centre[1] / centre[2] + scene.cy
    left, right = max(0, math.floor(mid_x - reach)), min(width - 1, math.ceil(mid_x + reach))
    top, bottom = max(0, math.floor(mid_y - reach)), min(height - 1, math.ceil(mid_y + reach))
    ox = -(frame[0, 0] * centre[0] + frame[0, 1] * centre[1] + frame[0, 2] * centre[2])
    oy = -(frame[1, 0] * centre[0] + frame[1, 1] * centre[1] + frame[1, 2] * centre[2])
    oz = -(frame[2, 0] * centre[0] + frame[2, 1] * centre[1] + frame[2, 2] * centre[2])
    channels = linear.shape[2]
    light, spare = np.empty(channels, np.float32), np.empty(channels, np.float32)
    colour, texture = np.empty(channels, np.float32), textures.iris[scene.iris]
    nearest = centre[2] - scene.eye_radius * 1.1
    for y in range(top, bottom + 1):
        for x in range(left, right + 1):
            if depth[y, x] < nearest:
                continue
            rx, ry = (x - scene.cx) / scene.focal, (y - scene.cy) / scene.focal
            size = 1.0 / math.sqrt(rx * rx + ry * ry + 1.0)
            rx, ry, rz = rx * size, ry * size, size
            dx = frame[0, 0] * rx + frame[0, 1] * ry + frame[0, 2] * rz
            dy = frame[1, 0] * rx + frame[1, 1] * ry + frame[1, 2] * rz
            dz = frame[2, 0] * rx + frame[2, 1] * ry + frame[2, 2] * rz
            hit = trace(ox, oy, oz, dx, dy, dz, scene)
            if hit[0] <= 0.0 or hit[0] * rz >= depth[y, x]:
                continue
            depth[y, x] = hit[0] * rz
            region[y, x] = eyeball_colour(texture, scene, hit, colour, spare)
            nx = frame[0, 0] * hit[4] + frame[1, 0] * hit[5] + frame[2, 0] * hit[6]
            ny = frame[0, 1] * hit[4] + frame[1, 1] * hit[5] + frame[2, 1] * hit[6]
            nz = frame[0, 2] * hit[4] + frame[1, 2] * hit[5] + frame[2, 2] * hit[6]
            irradiance(scene, nx, ny, nz, light)
            shadow = lid_shadow(scene, y, curves[0, x], curves[1, x], per_mm)
            facing = nx * rx + ny * ry + nz * rz
            mirror = fresnel(-facing) * mirrored(
                scene, rx - 2.0 * facing * nx, ry - 2.0 * facing * ny, rz - 2.0 * facing * nz
            )
            if region[y, x] != IRIS and region[y, x] != PUPIL:
                mirror *= 0.5  # the wet sclera is rougher than the cornea
            for c in range(channels):
                linear[y, x, c] = colour[c] * light[c] * shadow + mirror * (0.35 + 0.65 * shadow)


@compiled
def lid_shadow(scene: Any, y: float, upper: float, lower: float, per_mm: float) -> float:
    """Returns the fraction of light that reaches the eyeball under the lids and lashes.

    It is lower near the upper edge, and a little lower near the lower one.
    """
    above, below = max(y - upper, 0.0) / per_mm, max(lower - y, 0.0) / per_mm
    shade = scene.lid_shadow * math.exp(-above / scene.shadow_depth)
    rim = 0.25 * scene.lid_shadow * math.exp(-below / (0.5 * scene.shadow_depth))
    return (1.0 - shade) * (1.0 - rim)  # type: ignore[no-any-return]


@compiled
def paint_skin(
    geometry: Geometry, textures: Textures, scene: Any, pixels: Float, points: Float, attributes: Float,
    factor: int, depth: Float, linear: Float,
) -> None:
    """Draw the skin into linear (Y, X, C) and its depth (Y, X), before a dim background.

    Its outline is supersampled, but its colour is not: each block of factor x factor is shaded once, as in the
    multisampling of graphics cards.
    """
    height, width, channels = linear.shape
    owner = np.full((height, width), -1, np.int32)
    weights = np.empty((height, width, 2), np.float32)
    triangles = geometry.triangles
    rasterise(triangles, pixels, points, depth, owner, weights)
    colour, spare = np.empty(channels, np.float32), np.empty(channels, np.float32)
    skin, lowered, relief = textures.skin[scene.skin], textures.skin_down[scene.skin], textures.relief[scene.skin]
    for top in range(0, height, factor):
        for left in range(0, width, factor):
            shaded = False
            for y in range(top, top + factor):
                for x in range(left, left + factor):
                    t = owner[y, x]
                    if t >= 0 and not shaded:
                        shade_skin((triangles[t, 0], triangles[t, 1], triangles[t, 2]), weights[y, x, 0],
                                   weights[y, x, 1], attributes, skin, lowered, relief, scene, colour, spare)
                        shaded = True
                    for c in range(channels):
                        linear[y, x, c] = colour[c] if t >= 0 else scene.background


@compiled
def paint_lashes(
    geometry: Geometry, scene: Any, head: Float, points: Float, linear: Float
) -> None:
    """Draw both rows of lashes over the image."""
    coverage = np.zeros(linear.shape[:2], np.float32)
    draw_lashes(geometry.upper_edge[2], points, head, scene, scene.upper_lashes, scene.upper_lash_length,
                scene.upper_lash_raise, scene.stream, coverage)
    draw_lashes(geometry.lower_edge[1], points, head, scene, scene.lower_lashes, scene.lower_lash_length,
                -scene.lower_lash_raise, scene.stream + np.uint64(1), coverage)
    for y in range(linear.shape[0]):
        for x in range(linear.shape[1]):
            for c in range(linear.shape[2]):
                linear[y, x, c] *= 1.0 - coverage[y, x] * scene.lash_dark


@inlined
def paint_scene(
    geometry: Geometry, textures: Textures, scene: Any, coefficients: Float, factor: int,
    linear: Float, region: Bytes, labels: Any,
) -> None:
    """Draw the light of one scene into linear (Y, X, C) and its regions into `region` (Y, X); write its labels.

    `factor` is the supersampling; `scene.focal`, `scene.cx`, `scene.cy` are in supersampled pixels.
    """
    channels = linear.shape[2]
    head = np.empty((3, 3), np.float32)
    rotation_of(scene.head_pitch, scene.head_yaw, scene.head_roll, head)
    points = np.empty((geometry.fine_index.shape[0], 3), np.float32)
    centre = pose_points(geometry, coefficients, scene, head, points)
    normals = np.empty_like(points)
    vertex_normals(geometry, points, normals)
    attributes = np.empty((points.shape[0], 3 + channels), np.float32)
    vertex_attributes(geometry, scene, normals, attributes)
    pixels = np.empty((points.shape[0], 2), np.float32)
    for n in range(points.shape[0]):
        pixels[n, 0] = scene.focal * points[n, 0] / points[n, 2] + scene.cx
        pixels[n, 1] = scene.focal * points[n, 1] / points[n, 2] + scene.cy
    frame = eye_frame(scene, head)
    depth = np.full(linear.shape[:2], FAR, np.float32)
    curves = np.empty((2, linear.shape[1]), np.float32)
    lid_curves(geometry, pixels, curves)
    paint_skin(geometry, textures, scene, pixels, points, attributes, factor, depth, linear)
    paint_eyeball(textures, scene, frame, centre, curves, depth, region, linear)
    paint_lashes(geometry, scene, head, points, linear)
    label_image(geometry, scene, factor, head, frame, centre, pixels, region, labels)


@compiled
def render_image(
    geometry: Geometry, textures: Textures, scene: Any, coefficients: Float, factor: int,
    image: Float, mask: Bytes, labels: Any,
) -> None:
    """Draw one scene into image (C, H, W) and mask (H, W), and write its labels; see `paint_scene`."""
    channels, height, width = image.shape
    linear = np.empty((height * factor, width * factor, channels), np.float32)
    region = np.zeros((height * factor, width * factor), np.uint8)
    paint_scene(geometry, textures, scene, coefficients, factor, linear, region, labels)
    photograph(linear, factor, scene, image)
    shrink_mask(region, factor, mask)


@compiled
def photograph(linear: Float, factor: int, scene: Any, image: Float) -> None:
    """Convert light to the camera's image (C, H, W)."""
    channels, height, width = image.shape
    small, spare = np.empty((height, width, channels), np.float32), np.empty((height, width, channels), np.float32)
    shrink(linear, factor, small)
    blur(small, scene.blur, spare)
    develop(small, scene)
    if scene.equalise:
        equalise(small)
    for c in range(channels):
        for y in range(height):
            for x in range(width):
                image[c, y, x] = small[y, x, c]


@compiled
def render_range(
    geometry: Geometry, textures: Textures, scenes: Any, coefficients: Float, factor: int, start: int, stop: int,
    images: Float, masks: NDArray[np.uint8], labels: Any,
) -> None:
    """Call `render_image` for the images start..stop of a batch; threads take disjoint ranges."""
    for i in range(start, stop):
        render_image(geometry, textures, scenes[i], coefficients[i], factor, images[i], masks[i], labels[i])
