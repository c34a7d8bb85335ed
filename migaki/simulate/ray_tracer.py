"""The ray tracer of `simulate scene`: rigid things of spheres, boxes and triangles, patterns, sun and sky, compiled.

Light is linear. A surface sends albedo * (sun * max(0, n . l) * visible + ambient(n)) plus the sun's highlight (GGX,
Walter et al. 2007, with Smith's shadowing and Schlick's Fresnel term). `ambient` is irradiance over pi in nine real
spherical harmonics (Ramamoorthi and Hanrahan 2001). Nothing is reflected twice, so light and material explain every
pixel exactly. Colours are means of a grid of rays in each pixel; all other outputs belong to the pixel's centre.

Arrays: `things` (K, 6) kind, material, three half sides (a sphere's radius first), radius of the ball round it, `roots`
(K,) first node of a mesh; `poses` (K, 12) rotation row by row and centre; `nodes` (N, 8) low and high corner, the node
to go on with if the box is missed, 0 or 1 + the triangle of a leaf; `triangles` (T, 6, 3) corners, then their normals;
`materials` (M, 12) kind, two linear colours, scale, roughness, Fresnel reflectance, texture, seed.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from migaki.simulate.hand_jit import compiled
from migaki.simulate.scene_patterns import BOX, SPHERE, albedo_at

Array = npt.NDArray[Any]

NOTHING: Final = 1e30
_SMALL = 1e-6  # scene units: rays start so far above a surface


@compiled
def _sphere(
        ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, radius: float, low: float, high: float,
) -> float:
    along = ox * dx + oy * dy + oz * dz
    inside = along * along - (ox * ox + oy * oy + oz * oz - radius * radius)
    if inside < 0.0:
        return NOTHING
    root = math.sqrt(inside)
    near, far = -along - root, -along + root
    if low < near < high:
        return near
    return far if low < far < high else NOTHING


@compiled
def _box(
        ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, hx: float, hy: float, hz: float, low: float,
        high: float,
) -> float:
    enter, leave = -NOTHING, NOTHING
    for o, d, h in ((ox, dx, hx), (oy, dy, hy), (oz, dz, hz)):
        if abs(d) < 1e-14:
            if abs(o) > h:
                return NOTHING
            continue
        first, second = (-h - o) / d, (h - o) / d
        enter, leave = max(enter, min(first, second)), min(leave, max(first, second))
    if enter > leave:
        return NOTHING
    if low < enter < high:
        return enter
    return leave if low < leave < high else NOTHING


@compiled
def _mesh(
        ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, low: float, high: float, node: int,
        nodes: Array, triangles: Array,
) -> tuple[float, int, float, float]:
    """Distance, triangle and its two weights: a walk through the boxes in depth-first order, without a stack."""
    best, found, bu, bv = high, -1, 0.0, 0.0
    end = int(nodes[node, 6])
    # Infinite slopes are wanted for rays along an axis.
    ix, iy, iz = 1.0 / dx, 1.0 / dy, 1.0 / dz
    while node < end:
        ax, bx = (nodes[node, 0] - ox) * ix, (nodes[node, 3] - ox) * ix
        ay, by = (nodes[node, 1] - oy) * iy, (nodes[node, 4] - oy) * iy
        az, bz = (nodes[node, 2] - oz) * iz, (nodes[node, 5] - oz) * iz
        enter = max(max(min(ax, bx), min(ay, by)), min(az, bz))
        leave = min(min(max(ax, bx), max(ay, by)), max(az, bz))
        if enter > leave or leave < low or enter > best:
            node = int(nodes[node, 6])
            continue
        leaf = int(nodes[node, 7])
        node += 1
        if leaf == 0:
            continue
        corner = triangles[leaf - 1]
        e1x, e1y, e1z = corner[1, 0] - corner[0, 0], corner[1, 1] - corner[0, 1], corner[1, 2] - corner[0, 2]
        e2x, e2y, e2z = corner[2, 0] - corner[0, 0], corner[2, 1] - corner[0, 1], corner[2, 2] - corner[0, 2]
        px, py, pz = dy * e2z - dz * e2y, dz * e2x - dx * e2z, dx * e2y - dy * e2x
        area = e1x * px + e1y * py + e1z * pz
        if abs(area) < 1e-14:
            continue
        tx, ty, tz = ox - corner[0, 0], oy - corner[0, 1], oz - corner[0, 2]
        u = (tx * px + ty * py + tz * pz) / area
        qx, qy, qz = ty * e1z - tz * e1y, tz * e1x - tx * e1z, tx * e1y - ty * e1x
        v = (dx * qx + dy * qy + dz * qz) / area
        t = (e2x * qx + e2y * qy + e2z * qz) / area
        if u >= 0.0 and v >= 0.0 and u + v <= 1.0 and low < t < best:
            best, found, bu, bv = t, leaf - 1, u, v
    return (best if found >= 0 else NOTHING), found, bu, bv


@compiled
def nearest(
        ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, low: float, high: float, things: Array,
        roots: Array, poses: Array, nodes: Array, triangles: Array,
) -> tuple[float, int, int, float, float]:
    """The first surface on a ray (direction of length 1): distance, thing, triangle and its weights."""
    best, thing, triangle, bu, bv = high, -1, -1, 0.0, 0.0
    for k in range(len(things)):
        pose, radius = poses[k], things[k, 5]
        rx, ry, rz = ox - pose[9], oy - pose[10], oz - pose[11]
        along = -(rx * dx + ry * dy + rz * dz)
        if along < -radius or along - radius > best or rx * rx + ry * ry + rz * rz - along * along > radius * radius:
            continue
        lx = pose[0] * rx + pose[3] * ry + pose[6] * rz
        ly = pose[1] * rx + pose[4] * ry + pose[7] * rz
        lz = pose[2] * rx + pose[5] * ry + pose[8] * rz
        ex = pose[0] * dx + pose[3] * dy + pose[6] * dz
        ey = pose[1] * dx + pose[4] * dy + pose[7] * dz
        ez = pose[2] * dx + pose[5] * dy + pose[8] * dz
        kind, found, u, v = int(things[k, 0]), -1, 0.0, 0.0
        if kind == SPHERE:
            t = _sphere(lx, ly, lz, ex, ey, ez, things[k, 2], low, best)
        elif kind == BOX:
            t = _box(lx, ly, lz, ex, ey, ez, things[k, 2], things[k, 3], things[k, 4], low, best)
        else:
            t, found, u, v = _mesh(lx, ly, lz, ex, ey, ez, low, best, roots[k], nodes, triangles)
        if t < best:
            best, thing, triangle, bu, bv = t, k, found, u, v
    return (best if thing >= 0 else NOTHING), thing, triangle, bu, bv


@compiled
def ambient_light(ambient: Array, channel: int, x: float, y: float, z: float) -> float:
    """Nine real spherical harmonics of a direction, weighted by `ambient` (9, 3)."""
    c = ambient[:, channel]
    found: float = (0.28209479 * c[0] + 0.48860251 * (c[1] * y + c[2] * z + c[3] * x)
                    + 1.09254843 * (c[4] * x * y + c[5] * y * z + c[7] * x * z)
                    + 0.31539157 * c[6] * (3 * z * z - 1) + 0.54627422 * c[8] * (x * x - y * y))
    return found


@compiled
def highlight(roughness: float, reflectance: float, nv: float, nl: float, nh: float, vh: float) -> float:
    """pi times the GGX reflectance times n . l, from the cosines of view, light and half vector."""
    alpha = max(roughness * roughness, 1e-3)
    square = alpha * alpha
    spread = nh * nh * (square - 1) + 1
    normal = square / (spread * spread)  # pi D
    shadow = 2 * nl / (nl + math.sqrt(square + (1 - square) * nl * nl))
    shadow *= 2 * nv / (nv + math.sqrt(square + (1 - square) * nv * nv))
    fresnel = reflectance + (1 - reflectance) * (1 - vh) ** 5
    return normal * shadow * fresnel / (4 * nv)


@compiled
def _surface(
        k: int, triangle: int, bu: float, bv: float, x: float, y: float, z: float, things: Array, poses: Array,
        triangles: Array, out: Array,
) -> None:
    """Write place and normal of a hit in the thing's own axes (6,), and the normal in the world (3,)."""
    pose = poses[k]
    rx, ry, rz = x - pose[9], y - pose[10], z - pose[11]
    lx = pose[0] * rx + pose[3] * ry + pose[6] * rz
    ly = pose[1] * rx + pose[4] * ry + pose[7] * rz
    lz = pose[2] * rx + pose[5] * ry + pose[8] * rz
    kind = int(things[k, 0])
    if kind == SPHERE:
        nx, ny, nz = lx, ly, lz
    elif kind == BOX:
        nx, ny, nz = 0.0, 0.0, 0.0
        a, b, c = abs(lx) / things[k, 2], abs(ly) / things[k, 3], abs(lz) / things[k, 4]
        if a >= b and a >= c:
            nx = math.copysign(1.0, lx)
        elif b >= c:
            ny = math.copysign(1.0, ly)
        else:
            nz = math.copysign(1.0, lz)
    else:
        corner, w = triangles[triangle], 1 - bu - bv
        nx = w * corner[3, 0] + bu * corner[4, 0] + bv * corner[5, 0]
        ny = w * corner[3, 1] + bu * corner[4, 1] + bv * corner[5, 1]
        nz = w * corner[3, 2] + bu * corner[4, 2] + bv * corner[5, 2]
    length = max(math.sqrt(nx * nx + ny * ny + nz * nz), 1e-12)
    nx, ny, nz = nx / length, ny / length, nz / length
    out[0], out[1], out[2], out[3], out[4], out[5] = lx, ly, lz, nx, ny, nz
    for axis in range(3):
        out[6 + axis] = pose[3 * axis] * nx + pose[3 * axis + 1] * ny + pose[3 * axis + 2] * nz


@compiled
def _sky(sky: Array, dz: float, channel: int) -> float:
    """The colour of a direction that meets nothing: `sky` (2, 3) is that of the horizon and of the zenith."""
    rise = math.sqrt(max(0.0, dz))
    found: float = sky[0, channel] * (1 - rise) + sky[1, channel] * rise
    return found


@compiled
def radiance(
        ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, spread: Array, things: Array, roots: Array,
        poses: Array, nodes: Array, triangles: Array, materials: Array, textures: Array, sun: Array, ambient: Array,
        sky: Array, place: Array, albedo: Array, out: Array,
) -> tuple[float, int, int]:
    """Write the linear colour that comes along a ray, and the albedo it meets; returns distance, thing and triangle.

    `sun` (2, 3): towards it, and its irradiance over pi. `spread` (2,): where on the sun's disc this ray looks.
    """
    t, k, triangle, bu, bv = nearest(ox, oy, oz, dx, dy, dz, _SMALL, NOTHING, things, roots, poses, nodes, triangles)
    if k < 0:
        for channel in range(3):
            albedo[channel], out[channel] = 0.0, _sky(sky, dz, channel)
        return t, k, triangle
    x, y, z = ox + t * dx, oy + t * dy, oz + t * dz
    _surface(k, triangle, bu, bv, x, y, z, things, poses, triangles, place)
    material = materials[int(things[k, 1])]
    albedo_at(material, textures, int(things[k, 0]), place[0], place[1], place[2], place[3], place[4], place[5], albedo)
    nx, ny, nz = place[6], place[7], place[8]
    facing = -(nx * dx + ny * dy + nz * dz)
    if facing < 0:  # seen from inside, or where a mesh's smooth normal turns away
        nx, ny, nz, facing = -nx, -ny, -nz, -facing
    lx, ly, lz = sun[0, 0], sun[0, 1], sun[0, 2]
    nl = nx * lx + ny * ly + nz * lz
    seen = 0.0
    if nl > 0:
        sx = lx + spread[0] * ly + spread[1] * lz * lx
        sy = ly - spread[0] * lx + spread[1] * lz * ly
        sz = lz - spread[1] * (lx * lx + ly * ly)
        length = math.sqrt(sx * sx + sy * sy + sz * sz)
        far, _, _, _, _ = nearest(x + 1e-5 * nx, y + 1e-5 * ny, z + 1e-5 * nz, sx / length, sy / length, sz / length,
                                  _SMALL, NOTHING, things, roots, poses, nodes, triangles)
        seen = 1.0 if far >= NOTHING else 0.0
    shine = 0.0
    if seen > 0:
        hx, hy, hz = lx - dx, ly - dy, lz - dz
        length = math.sqrt(hx * hx + hy * hy + hz * hz)
        nh, vh = (nx * hx + ny * hy + nz * hz) / length, -(dx * hx + dy * hy + dz * hz) / length
        shine = highlight(material[8], material[9], max(facing, 1e-4), nl, nh, vh)
    for channel in range(3):
        light = sun[1, channel] * nl * seen + ambient_light(ambient, channel, nx, ny, nz)
        out[channel] = albedo[channel] * light + sun[1, channel] * shine * seen
    return t, k, triangle


@compiled
def _direction(u: float, v: float, lens: Array, camera: Array, out: Array) -> float:
    """Write the direction (3,) through a pixel and return its share along the optical axis."""
    x, y = (u - lens[2]) / lens[0], (v - lens[3]) / lens[1]
    length = math.sqrt(x * x + y * y + 1)
    for axis in range(3):
        out[axis] = (camera[axis, 0] * x + camera[axis, 1] * y + camera[axis, 2]) / length
    return 1 / length


@compiled
def trace_rows(
        first: int, last: int, samples: int, disc: float, lens: Array, camera: Array, camera_next: Array, things: Array,
        roots: Array, poses: Array, poses_next: Array, nodes: Array, triangles: Array, materials: Array,
        textures: Array, sun: Array, ambient: Array, sky: Array, colour: Array, albedo: Array, depth: Array,
        normals: Array, flow: Array, seen_next: Array, mask: Array, roughness: Array,
) -> None:
    """Render rows first .. last of one picture into (H, W, ...) arrays; see the module and `simulate.scene`."""
    width = colour.shape[1]
    ray, place, tint, light, spread = np.empty(3), np.empty(9), np.empty(3), np.empty(3), np.empty(2)
    ox, oy, oz = camera[0, 3], camera[1, 3], camera[2, 3]
    for row in range(first, last):
        for column in range(width):
            for i in range(samples):
                for j in range(samples):
                    a, b = (i + 0.5) / samples, (j + 0.5) / samples
                    _direction(column + b, row + a, lens, camera, ray)
                    spread[0], spread[1] = disc * (2 * a - 1), disc * (2 * b - 1)
                    radiance(ox, oy, oz, ray[0], ray[1], ray[2], spread, things, roots, poses, nodes, triangles,
                             materials, textures, sun, ambient, sky, place, tint, light)
                    for channel in range(3):
                        colour[row, column, channel] += light[channel] / (samples * samples)
                        albedo[row, column, channel] += tint[channel] / (samples * samples)
            along = _direction(column + 0.5, row + 0.5, lens, camera, ray)
            t, k, triangle, bu, bv = nearest(ox, oy, oz, ray[0], ray[1], ray[2], _SMALL, NOTHING, things, roots, poses,
                                             nodes, triangles)
            if k < 0:
                continue
            _surface(k, triangle, bu, bv, ox + t * ray[0], oy + t * ray[1], oz + t * ray[2], things, poses, triangles,
                     place)
            depth[row, column], mask[row, column] = t * along, k + 1
            roughness[row, column] = materials[int(things[k, 1]), 8]
            for axis in range(3):
                normals[axis, row, column] = place[6 + axis]
            _flow(row, column, k, place, lens, camera_next, things, roots, poses_next, nodes, triangles, flow,
                  seen_next)


@compiled
def _flow(
        row: int, column: int, k: int, place: Array, lens: Array, camera: Array, things: Array, roots: Array,
        poses: Array, nodes: Array, triangles: Array, flow: Array, seen: Array,
) -> None:
    """Where a place of thing `k`, in its own axes, is in the next picture, and whether that sees it."""
    pose = poses[k]
    rx = pose[0] * place[0] + pose[1] * place[1] + pose[2] * place[2] + pose[9] - camera[0, 3]
    ry = pose[3] * place[0] + pose[4] * place[1] + pose[5] * place[2] + pose[10] - camera[1, 3]
    rz = pose[6] * place[0] + pose[7] * place[1] + pose[8] * place[2] + pose[11] - camera[2, 3]
    x = camera[0, 0] * rx + camera[1, 0] * ry + camera[2, 0] * rz
    y = camera[0, 1] * rx + camera[1, 1] * ry + camera[2, 1] * rz
    z = camera[0, 2] * rx + camera[1, 2] * ry + camera[2, 2] * rz
    if z <= _SMALL:
        return  # behind the next camera: no flow
    u, v = lens[0] * x / z + lens[2], lens[1] * y / z + lens[3]
    flow[0, row, column], flow[1, row, column] = u - column - 0.5, v - row - 0.5
    if not (0 <= u < flow.shape[2] and 0 <= v < flow.shape[1]):
        return
    away = math.sqrt(rx * rx + ry * ry + rz * rz)
    t, _, _, _, _ = nearest(camera[0, 3], camera[1, 3], camera[2, 3], rx / away, ry / away, rz / away, _SMALL, NOTHING,
                            things, roots, poses, nodes, triangles)
    seen[row, column] = 1 if t > away * (1 - 1e-6) - 1e-5 else 0
