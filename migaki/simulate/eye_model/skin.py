"""The skin: rasterises triangles into a depth buffer, then shades the visible ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from migaki.simulate.eye_model.eyeball import sample
from migaki.simulate.eye_model.jit import compiled
from migaki.simulate.eye_model.lighting import irradiance
from migaki.simulate.eye_model.parts import Bytes, Float, Geometry, Int

MM_PER_UV = 63.0  # mm of skin per unit of u (measured on UnityEyes' mean shape)


@compiled
def rasterise(triangles: Int, pixels: Float, points: Float, depth: Float, owner: Int, weights: Float) -> None:
    """Find the nearest triangle of each pixel of depth (Y, X): index in owner, weights (Y, X, 2) of vertices 1 and 2.

    pixels (N, 2) are projected vertices, points (N, 3) the same in the camera frame. Weights are linear in the image:
    a face is 2 cm deep at 60 cm, so perspective within a triangle of 2 mm is far below a pixel.
    """
    height, width = depth.shape
    for t in range(triangles.shape[0]):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, bx, by = pixels[i, 0], pixels[i, 1], pixels[j, 0], pixels[j, 1]
        cx, cy = pixels[k, 0], pixels[k, 1]
        left, right = max(0, math.ceil(min(ax, bx, cx))), min(width - 1, math.floor(max(ax, bx, cx)))
        top, bottom = max(0, math.ceil(min(ay, by, cy))), min(height - 1, math.floor(max(ay, by, cy)))
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if left > right or top > bottom or abs(area) < 1e-9:
            continue
        inverse = np.float32(1.0) / area
        step_one, step_two = (cy - ay) * inverse, (ay - by) * inverse
        za, zb, zc = points[i, 2], points[j, 2], points[k, 2]
        for y in range(top, bottom + 1):
            one = ((left - ax) * (cy - ay) - (y - ay) * (cx - ax)) * inverse
            two = ((bx - ax) * (y - ay) - (by - ay) * (left - ax)) * inverse
            for x in range(left, right + 1):
                if one >= -1e-4 and two >= -1e-4 and one + two <= 1.0001:
                    z = za + one * (zb - za) + two * (zc - za)
                    if z < depth[y, x]:
                        depth[y, x] = z
                        owner[y, x] = t
                        weights[y, x, 0] = one
                        weights[y, x, 1] = two
                one += step_one
                two += step_two


@compiled
def vertex_attributes(geometry: Geometry, scene: Any, normals: Float, attributes: Float) -> None:
    """Compute attributes (N, 3 + C): u, v, fraction of rim, and irradiance at each drawn vertex."""
    light = np.empty(attributes.shape[1] - 3, np.float32)
    for n in range(normals.shape[0]):
        irradiance(scene, normals[n, 0], normals[n, 1], normals[n, 2], light)
        attributes[n, 0], attributes[n, 1] = geometry.uv[n, 0], geometry.uv[n, 1]
        attributes[n, 2] = geometry.margin[n]
        for c in range(len(light)):
            attributes[n, 3 + c] = light[c] * geometry.openness[n]


@compiled
def height_at(relief: Float, u: float, v: float) -> float:
    """Returns the bilinear height (mm) of the skin's relief (R, R) at (u, v), v up."""
    size = relief.shape[0]
    x = min(max(u * size - 0.5, 0.0), size - 1.001)
    y = min(max((1.0 - v) * size - 0.5, 0.0), size - 1.001)
    column, row = int(x), int(y)
    fx, fy = x - column, y - row
    upper = relief[row, column] * (1 - fx) + relief[row, column + 1] * fx
    lower = relief[row + 1, column] * (1 - fx) + relief[row + 1, column + 1] * fx
    return upper * (1 - fy) + lower * fy  # type: ignore[no-any-return]


@compiled
def shade_skin(
    corners: tuple[int, int, int], one: float, two: float, attributes: Float,
    skin: Bytes, lowered: Bytes, relief: Float, scene: Any, out: Float, spare: Float,
) -> None:
    """Returns the linear colour (C,) in a triangle with vertices `corners`; `one`, `two` weight the last two vertices.

    Arrays are separate arguments: taking them from a tuple for every pixel would count references, which costs more
    than the shading.
    """
    i, j, k = corners
    zero = np.float32(1.0 - one - two)
    u = zero * attributes[i, 0] + one * attributes[j, 0] + two * attributes[k, 0]
    v = zero * attributes[i, 1] + one * attributes[j, 1] + two * attributes[k, 1]
    margin = zero * attributes[i, 2] + one * attributes[j, 2] + two * attributes[k, 2]
    sample(skin, u, v, out)
    if scene.look_down > 0.02:
        sample(lowered, u, v, spare)
        for c in range(len(out)):
            out[c] += scene.look_down * (spare[c] - out[c])
    step = 1.0 / relief.shape[0]
    here = height_at(relief, u, v)
    toward = height_at(relief, u + step * scene.key_x, v - step * scene.key_y)
    slope = (here - toward) / (step * MM_PER_UV)  # it rises away from the key light, so it faces the light
    factor = min(max(1.0 + scene.relief * (slope + 1.5 * here), 0.25), 2.0)
    factor *= (1.0 - scene.margin_dark * margin) * scene.skin_tint
    for c in range(len(out)):
        out[c] *= factor * (zero * attributes[i, 3 + c] + one * attributes[j, 3 + c] + two * attributes[k, 3 + c])
