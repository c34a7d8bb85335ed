"""The eyeball: two spheres, traced ray by ray, with refraction at the cornea.

Eye frame: millimetres, origin at the eyeball's centre, x right, y down, z inwards, so that the optical axis is -z.
The texture shows the eyeball from the front about its centre (.5, .5): radius .066 at the pupil's edge, .1385 at the
limbus (28.6 deg off the axis), .2016 at 45 deg, .2706 at 67.5 deg (measured on UnityEyes' mesh).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from migaki.simulate.eye_model.jit import compiled
from migaki.simulate.eye_model.parts import Bytes, Float

INDEX = 1.336  # of aqueous humour and cornea, treated as one medium (Gullstrand's simplified eye)
IRIS_DEPTH = 0.2  # mm from the plane of the limbus back to the iris
PUPIL_EDGE, LIMBUS_EDGE = 0.066, 0.1385  # radii in the texture
SCLERA, IRIS, PUPIL = 1, 2, 3


@compiled
def sphere_hit(ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, centre: float, radius: float) -> float:
    """Returns the distance along a unit ray to the nearer hit of a sphere around (0, 0, centre); -1 for a miss."""
    oz = oz - centre
    half = ox * dx + oy * dy + oz * dz
    rest = half * half - (ox * ox + oy * oy + oz * oz - radius * radius)
    return -half - math.sqrt(rest) if rest > 0.0 else -1.0


@compiled
def refract(dx: float, dy: float, dz: float, nx: float, ny: float, nz: float) -> tuple[float, float, float]:
    """Refract a unit ray at a surface with outward unit normal n, from air into the eye (Snell's law)."""
    cosine = -(dx * nx + dy * ny + dz * nz)
    eta = 1.0 / INDEX
    inside = math.sqrt(max(0.0, 1.0 - eta * eta * (1.0 - cosine * cosine)))
    bend = eta * cosine - inside
    return eta * dx + bend * nx, eta * dy + bend * ny, eta * dz + bend * nz


@compiled
def trace(ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, eye: Any) -> Any:
    """Trace a unit ray to the eye.

    Returns (distance or -1, point x, y, z, normal x, y, z, iris x, iris y): the point on the outer surface, and where
    the refracted ray meets the iris plane; outside the cornea the iris point is (1e3, 1e3).
    """
    distance = sphere_hit(ox, oy, oz, dx, dy, dz, -eye.cornea_centre, eye.cornea_radius)
    if distance > 0.0:
        x, y, z = ox + distance * dx, oy + distance * dy, oz + distance * dz
        if z < -eye.limbus_plane:
            nx, ny, nz = x / eye.cornea_radius, y / eye.cornea_radius, (z + eye.cornea_centre) / eye.cornea_radius
            rx, ry, rz = refract(dx, dy, dz, nx, ny, nz)
            deep = (IRIS_DEPTH - eye.limbus_plane - z) / max(rz, 1e-3)
            return distance, x, y, z, nx, ny, nz, x + deep * rx, y + deep * ry
    distance = sphere_hit(ox, oy, oz, dx, dy, dz, 0.0, eye.eye_radius)
    x, y, z = ox + distance * dx, oy + distance * dy, oz + distance * dz
    size = eye.eye_radius
    return distance, x, y, z, x / size, y / size, z / size, 1e3, 1e3


@compiled
def iris_texture_radius(radius: float, eye: Any) -> float:
    """Returns the texture radius of a point `radius` mm from the pupil's centre; the iris is stretched radially."""
    if radius < eye.pupil_radius:
        return PUPIL_EDGE * radius / eye.pupil_radius  # type: ignore[no-any-return]
    share = (radius - eye.pupil_radius) / (eye.iris_radius - eye.pupil_radius)
    return PUPIL_EDGE + share * (LIMBUS_EDGE - PUPIL_EDGE)  # type: ignore[no-any-return]


@compiled
def sclera_texture_radius(x: float, y: float, z: float) -> float:
    """Returns the texture radius of a point of the sclera, by its angle from the axis."""
    angle = math.degrees(math.atan2(math.sqrt(x * x + y * y), -z))
    if angle < 45.0:
        return max(0.142, LIMBUS_EDGE + (angle - 28.6) * (0.2016 - LIMBUS_EDGE) / 16.4)
    return 0.2016 + (angle - 45.0) * (0.2706 - 0.2016) / 22.5


@compiled
def sample(texture: Bytes, u: float, v: float, out: Float) -> None:
    """Look up a gamma-2 byte texture (Q, Q, C) bilinearly at (u, v), v up, as linear light in [0, 1]."""
    size = texture.shape[0]
    x = min(max(u * size - 0.5, 0.0), size - 1.001)
    y = min(max((1.0 - v) * size - 0.5, 0.0), size - 1.001)
    column, row = int(x), int(y)
    fx, fy = np.float32(x - column), np.float32(y - row)
    for c in range(texture.shape[2]):
        upper = texture[row, column, c] * (1 - fx) + texture[row, column + 1, c] * fx
        lower = texture[row + 1, column, c] * (1 - fx) + texture[row + 1, column + 1, c] * fx
        value = (upper * (1 - fy) + lower * fy) * np.float32(1.0 / 255.0)
        out[c] = value * value


@compiled
def eyeball_colour(texture: Bytes, eye: Any, hit: Any, out: Float, spare: Float) -> int:
    """Returns the region (sclera, iris or pupil) at a hit of `trace`; sets the albedo (C,), with a soft limbus."""
    _, x, y, z, _, _, _, iris_x, iris_y = hit
    across = math.sqrt(x * x + y * y)
    soft = min(max((across - eye.iris_radius) / eye.limbus_width * 0.5 + 0.5, 0.0), 1.0)
    soft = soft * soft * (3.0 - 2.0 * soft)
    region = SCLERA
    turn = across + 1e-9
    radius = sclera_texture_radius(x, y, z)
    sample(texture, 0.5 + radius * x / turn, 0.5 - radius * y / turn, out)
    for c in range(len(out)):
        out[c] = min(out[c] * eye.sclera_tint, 1.0)
    if across < eye.iris_radius:
        region = IRIS
    if soft < 1.0:
        if iris_x > 999.0:
            iris_x, iris_y = x, y
        depth = math.sqrt(iris_x * iris_x + iris_y * iris_y)
        inner = min(iris_texture_radius(depth, eye), 0.136)
        sample(texture, 0.5 + inner * iris_x / (depth + 1e-9), 0.5 - inner * iris_y / (depth + 1e-9), spare)
        if depth < eye.pupil_radius:
            region = PUPIL
            spare[:] = 0.003
        rim = min(max((across / eye.iris_radius - 0.80) * 5.0, 0.0), 1.0)  # the dark ring before the limbus
        for c in range(len(out)):
            tone = spare[c] * eye.iris_tint * (1.0 - 0.45 * rim * rim)
            out[c] = out[c] * soft + tone * (1.0 - soft)
    return region


@compiled
def fresnel(cosine: float) -> float:
    """Returns the fraction of light that the tear film reflects (Schlick's approximation for INDEX)."""
    base = ((INDEX - 1.0) / (INDEX + 1.0)) ** 2
    return base + (1.0 - base) * (1.0 - min(max(cosine, 0.0), 1.0)) ** 5
