"""The surface of a hand, and its depth in a pinhole camera.

The surface is a signed distance field: round cones (the hull of two spheres) on the bones, joined by a smooth minimum
within the palm, along each finger, and between each finger and the palm, but not between two fingers. Rays are traced
by sphere tracing (Hart, "Sphere tracing", The Visual Computer 1996); `cone_distance` derives the exact distance to a
round cone. The image is divided into tiles, and each tile uses only the cones that can reach it.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from migaki.simulate.hand_jit import compiled, inlined
from migaki.simulate.hand_skeleton import FOREARM_FRAME, NUM_BONES, PALM_FRAME, Array, carry

PALM_GROUP: Final = 0  # groups 1 .. 5 are the index, middle, ring and little finger and the thumb
PALM_BONE: Final = NUM_BONES  # number of the palm, the wrist and the forearm in `first_bone`
NO_BONE: Final = -1
CONE_SIZE: Final = 12  # a (3), direction (3), length, radius at a, sine, tangent, group, bone

_PALM_BLEND: Final = 12.0  # mm over which the parts of the palm are blended
_ROOT_BLEND: Final = 8.0  # mm, first bone of a finger into the palm
_CHAIN_BLEND: Final = 3.0  # mm, bones of one finger
_HIT: Final = 0.01  # mm: a ray closer to the surface than this has hit it
_NEARLY: Final = 2.0  # mm: a ray that is not finished after _MAX_STEPS has hit within this distance
_MAX_STEPS: Final = 96
_TILE: Final = 8  # px
_FAR: Final = 1e9


def _build_template() -> Array:
    """Returns (N, 12): frame of a, a (3), frame of b, b (3), radius at a and b, group, bone; in mm of the default hand.

    A y of 1000 or more means "y - 1000 of the bone's own length". We chose the radii from the breadths of adult fingers
    and by visual comparison with real depth images.
    """
    rows: list[list[float]] = []
    palm, forearm = PALM_FRAME, FOREARM_FRAME

    def cone(fa: int, a: tuple[float, float, float], fb: int, b: tuple[float, float, float], ra: float, rb: float,
             group: int = PALM_GROUP, bone: int = PALM_BONE) -> None:
        rows.append([fa, *a, fb, *b, ra, rb, group, bone])

    cone(forearm, (-10, 4, 7), forearm, (-15, -240, 10), 18.0, 30)
    cone(forearm, (10, 4, 7), forearm, (15, -240, 10), 18.5, 30)
    for knuckle, x in enumerate((11.0, 3.0, -6.0, -14.0)):  # the four metacarpals, to the knuckles
        first = 3 * knuckle
        cone(palm, (x, 14, 8), first, (0, -6, 3), 14.5, (12.5, 12.5, 11.8, 11.2)[knuckle])
    cone(palm, (-20, 22, 12), palm, (-29, 62, 9), 13.0, 12)  # heel of the little finger's side
    cone(12, (-2, 0, 3), 12, (0, 1000.85, 2), 16.5, 13, bone=12)  # ball of the thumb
    cone(12, (0, 1000.45, 0), 0, (2, -22, 3), 9.0, 10)  # web between thumb and index finger
    thickness = (1.0, 1.03, 0.97, 0.86)
    for finger in range(5):
        p, m, d = 3 * finger, 3 * finger + 1, 3 * finger + 2
        group = finger + 1
        if finger < 4:
            t = thickness[finger]
            cone(p, (0, -2, 2), p, (0, 1001.0, 0), 11.0 * t, 9.6 * t, group, p)
            cone(m, (0, 0, 0), m, (0, 1001.0, 0), 9.6 * t, 8.3 * t, group, m)
            cone(d, (0, 0, 0), d, (0, 1001.0, 0.3), 8.3 * t, 7.0 * t, group, d)
            cone(d, (0, 1000.35, 1.6), d, (0, 1000.85, 1.4), 7.3 * t, 6.6 * t, group, d)
        else:
            cone(m, (0, 0, 1), m, (0, 1001.0, 0), 12.6, 10.8, group, m)
            cone(d, (0, 0, 0), d, (0, 1001.0, 0.3), 10.8, 8.2, group, d)
            cone(d, (0, 1000.25, 2.0), d, (0, 1000.8, 1.5), 9.2, 8.0, group, d)
    return np.array(rows, dtype=np.float64)


TEMPLATE: Final[Array] = _build_template()
NUM_CONES: Final = len(TEMPLATE)


@compiled
def make_cone(a: Array, b: Array, radius_a: float, radius_b: float, group: int, bone: int, out: Array) -> None:
    """Fill `out` (12,) with the round cone around the spheres (a, radius_a) and (b, radius_b), mm."""
    length = math.sqrt((b[0] - a[0]) ** 2 + (b[1] - a[1]) ** 2 + (b[2] - a[2]) ** 2)
    scale = 1.0 / max(length, 1e-9)
    # If one sphere contains the other the cone has no lateral surface; the clip leaves the larger sphere.
    sine = min(max((radius_a - radius_b) * scale, -0.95), 0.95)
    for i in range(3):
        out[i] = a[i]
        out[3 + i] = (b[i] - a[i]) * scale
    out[6], out[7], out[8], out[9] = length, radius_a, sine, sine / math.sqrt(1.0 - sine * sine)
    out[10], out[11] = group, bone


@compiled
def dress(template: Array, frames: Array, lengths: Array, scale: float, thickness: float, cones: Array) -> None:
    """Compute cones (N, 12) in the camera's frame from frames (17, 3, 4) and bone lengths (15,) mm.

    `scale` is the hand's size relative to the default one, `thickness` is an additional factor of every radius.
    """
    a, b = np.empty(3), np.empty(3)
    for k in range(template.shape[0]):
        row = template[k]
        for side in range(2):
            frame, y = int(row[4 * side]), row[4 * side + 2] * scale
            if row[4 * side + 2] >= 900.0:
                y = (row[4 * side + 2] - 1000.0) * lengths[frame]
            carry(frames[frame], row[4 * side + 1] * scale, y, row[4 * side + 3] * scale, a if side == 0 else b)
        grow = scale * thickness
        make_cone(a, b, row[8] * grow, row[9] * grow, int(row[10]), int(row[11]), cones[k])


@inlined
def cone_distance(cone: Array, x: float, y: float, z: float) -> float:
    """Returns the signed distance in mm from a point to a round cone: the minimum of distance - radius of its spheres.

    With s along the axis and q across it the sphere at c has radius r - c sin; d/dc (sqrt((s - c)^2 + q^2) - r + c sin)
    vanishes at c = s - q tan, and the function is convex in c, so c is clipped to the axis.
    """
    x -= cone[0]
    y -= cone[1]
    z -= cone[2]
    s = x * cone[3] + y * cone[4] + z * cone[5]
    across = x * x + y * y + z * z - s * s
    q = math.sqrt(across) if across > 0.0 else 0.0
    c = min(max(s - q * cone[9], 0.0), cone[6])
    return float(math.sqrt((s - c) * (s - c) + q * q) - cone[7] + c * cone[8])


@inlined
def smooth_minimum(a: float, b: float, width: float) -> float:
    """Returns the minimum with a quadratic fillet where |a - b| < width (mm); at most width / 4 below it."""
    overlap = width - abs(a - b)
    least = min(a, b)
    return least - overlap * overlap / (4.0 * width) if overlap > 0.0 else least


@compiled
def hand_distance(cones: Array, active: NDArray[np.int64], num_active: int, x: float, y: float, z: float) -> float:
    """Returns a signed distance bound in mm to the union of the active cones, which are ordered by group."""
    palm = best = finger = _FAR
    group = PALM_GROUP
    for k in range(num_active):
        cone = cones[active[k]]
        distance = cone_distance(cone, x, y, z)
        own = int(cone[10])
        if own == PALM_GROUP:
            palm = smooth_minimum(palm, distance, _PALM_BLEND)
            continue
        if own != group:
            best = min(best, finger)
            group = own
            finger = smooth_minimum(palm, distance, _ROOT_BLEND)
        else:
            finger = smooth_minimum(finger, distance, _CHAIN_BLEND)
    return min(min(best, finger), palm)


@compiled
def trace(cones: Array, active: NDArray[np.int64], num_active: int, dx: float, dy: float, near: float, far: float,
          ) -> float:
    """Returns depth z in mm of the first surface on the ray z * (dx, dy, 1) between near and far (mm); 0 if none."""
    stretch = math.sqrt(dx * dx + dy * dy + 1.0)
    z = near
    distance = _FAR
    for _ in range(_MAX_STEPS):
        distance = hand_distance(cones, active, num_active, z * dx, z * dy, z)
        if distance < _HIT:
            return z
        z += distance / stretch
        if z > far:
            return 0.0
    return z if distance < _NEARLY else 0.0


@compiled
def _reach(cones: Array, camera: Array, boxes: Array) -> None:
    """Compute the extent of each cone: boxes (N, 7) = both ends in px, radius in px, least and greatest depth in mm."""
    for k in range(cones.shape[0]):
        cone = cones[k]
        end_x, end_y = cone[0] + cone[3] * cone[6], cone[1] + cone[4] * cone[6]
        end_z = cone[2] + cone[5] * cone[6]
        radius = max(cone[7], cone[7] - cone[6] * cone[8]) + _PALM_BLEND
        near = max(min(cone[2], end_z) - radius, 1.0)
        boxes[k, 0] = camera[0] * cone[0] / cone[2] + camera[2]
        boxes[k, 1] = camera[1] * cone[1] / cone[2] + camera[3]
        boxes[k, 2] = camera[0] * end_x / end_z + camera[2]
        boxes[k, 3] = camera[1] * end_y / end_z + camera[3]
        # 1.25: the image of a sphere off the optical axis is stretched by 1 / cos of its angle (at most 36 degrees).
        boxes[k, 4] = 1.25 * max(camera[0], camera[1]) * radius / near
        boxes[k, 5] = near
        boxes[k, 6] = max(cone[2], end_z) + radius


@compiled
def _to_segment(box: Array, u: float, v: float) -> float:
    """Returns the distance in px from (u, v) to the segment between the two ends of a box."""
    du, dv = box[2] - box[0], box[3] - box[1]
    share = ((u - box[0]) * du + (v - box[1]) * dv) / max(du * du + dv * dv, 1e-12)
    share = min(max(share, 0.0), 1.0)
    return math.sqrt((u - box[0] - share * du) ** 2 + (v - box[1] - share * dv) ** 2)


@compiled
def _render_tile(cones: Array, boxes: Array, camera: Array, top: int, left: int, active: NDArray[np.int64],
                 depth: NDArray[np.float32]) -> None:
    bottom, right = min(top + _TILE, depth.shape[0]), min(left + _TILE, depth.shape[1])
    u, v = 0.5 * (left + right - 1), 0.5 * (top + bottom - 1)
    half = 0.5 * math.sqrt(2.0) * (_TILE - 1)
    count, near, far = 0, _FAR, 0.0
    for k in range(cones.shape[0]):
        if _to_segment(boxes[k], u, v) < boxes[k, 4] + half:
            active[count] = k
            count += 1
            near, far = min(near, boxes[k, 5]), max(far, boxes[k, 6])
    for row in range(top, bottom):
        for column in range(left, right):
            depth[row, column] = 0.0
            if count > 0:
                dx, dy = (column - camera[2]) / camera[0], (row - camera[3]) / camera[1]
                depth[row, column] = trace(cones, active, count, dx, dy, near, far)


@compiled
def render_depth(cones: Array, camera: Array, depth: NDArray[np.float32]) -> None:
    """Fill depth (H, W) in mm, 0 for rays without a hit, for camera (fx, fy, cx, cy) in px."""
    boxes = np.empty((cones.shape[0], 7))
    active = np.empty(cones.shape[0], np.int64)
    _reach(cones, camera, boxes)
    for top in range(0, depth.shape[0], _TILE):
        for left in range(0, depth.shape[1], _TILE):
            _render_tile(cones, boxes, camera, top, left, active, depth)


@compiled
def first_bone(cones: Array, x: float, y: float, z: float, deep: float) -> int:
    """Returns the bone whose flesh a ray from the camera to the point (x, y, z) mm meets first.

    NO_BONE if there is none, or it lies more than `deep` mm before the point: the limb then points to the camera.
    """
    everything = np.arange(cones.shape[0])
    depth = trace(cones, everything, len(everything), x / z, y / z, max(z - 500.0, 1.0), z + 500.0)
    if depth == 0.0 or depth < z - deep:
        return NO_BONE
    nearest, bone = _FAR, NO_BONE
    for k in range(cones.shape[0]):
        distance = cone_distance(cones[k], depth * x / z, depth * y / z, depth)
        if distance < nearest:
            nearest, bone = distance, int(cones[k, 11])
    return bone


@compiled
def penetration(cones: Array) -> float:
    """Returns the maximal depth in mm to which the axis of a finger runs below the skin of another finger or the palm.

    Measured at the far end of every finger's cone against the cones of other groups, including both radii. The first
    bone of a finger is skipped, because it grows out of the palm. 0 if nothing touches.
    """
    worst = 0.0
    for k in range(cones.shape[0]):
        group, bone = int(cones[k, 10]), int(cones[k, 11])
        first = 3 * (group - 1) + (1 if group == 5 else 0)
        if group == PALM_GROUP or bone == first:
            continue
        length = cones[k, 6]
        radius = cones[k, 7] - length * cones[k, 8]
        x, y, z = (cones[k, 0] + length * cones[k, 3], cones[k, 1] + length * cones[k, 4],
                   cones[k, 2] + length * cones[k, 5])
        for other in range(cones.shape[0]):
            if int(cones[other, 10]) != group and int(cones[other, 11]) != 12:
                worst = max(worst, radius - cone_distance(cones[other], x, y, z))
    return worst


@compiled
def render_depths(cones: Array, cameras: Array, depths: NDArray[np.float32], start: int, stop: int) -> None:
    """`render_depth` for images start .. stop of cones (B, N, 12), cameras (B, 4), depths (B, H, W)."""
    for i in range(start, stop):
        render_depth(cones[i], cameras[i], depths[i])
