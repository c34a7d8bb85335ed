"""The bones of a right hand: names, joint limits, proportions, and forward kinematics.

Frame of the hand: origin between the two wrist joints, x to the thumb, y to the fingers, z out of the palm, in mm.
The frame of the camera: x right, y down, z away. With the rotation `FACING` the fingers point up and the palm looks
into the camera. A left hand is the mirror image of a rendered one.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from migaki.simulate.hand_jit import compiled

Array = NDArray[np.float64]

JOINTS: Final = (
    "pinky_tip", "pinky_pip", "ring_tip", "ring_pip", "middle_tip", "middle_pip", "index_tip", "index_pip",
    "thumb_tip", "thumb_ip", "thumb_mcp", "wrist_ulnar", "wrist_radial", "palm",
)
"""The 14 joints that NYU evaluates (Tompson et al. 2014; of its 36: see `importers/nyu.py`), in this order."""

BONES: Final = tuple(
    [f"{finger}_{bone}" for finger in ("index", "middle", "ring", "pinky")
     for bone in ("proximal", "middle", "distal")]
    + ["thumb_metacarpal", "thumb_proximal", "thumb_distal"]
)
"""The 15 moving bones. A distal bone ends in the joint called tip, which lies inside the flesh."""

ANGLES: Final = tuple(
    [f"{finger}_{angle}" for finger in ("index", "middle", "ring", "pinky")
     for angle in ("flexion", "abduction", "pip", "dip")]
    + ["thumb_flexion", "thumb_abduction", "thumb_twist", "thumb_mcp", "thumb_ip", "wrist_flexion", "wrist_deviation"]
)
"""The 23 angles. Flexion closes the hand; abduction and deviation are positive towards the thumb."""

NUM_JOINTS: Final = len(JOINTS)
NUM_BONES: Final = len(BONES)
NUM_ANGLES: Final = len(ANGLES)
NUM_FITTED_ANGLES: Final = NUM_ANGLES - 2  # the 14 joints do not determine the forearm
PALM_FRAME: Final = NUM_BONES
FOREARM_FRAME: Final = NUM_BONES + 1
NUM_FRAMES: Final = NUM_BONES + 2

# Active ranges of motion in degrees, chosen by us within the values of clinical goniometry for adults.
_BENDS = [(-30, 95), (-10, 110), (-10, 85)]  # MCP, PIP, DIP
_SPREADS = [(-15, 30), (-20, 20), (-25, 15), (-40, 15)]  # index, middle, ring, pinky; 0: parallel to the palm's axis
LIMITS: Final[Array] = np.radians(np.array(
    [limits for spread in _SPREADS for limits in (_BENDS[0], spread, _BENDS[1], _BENDS[2])]
    + [(-40, 60), (-35, 45), (-60, 60), (-25, 75), (-30, 90)]
    + [(-55, 55), (-25, 25)], dtype=np.float64))
"""(23, 2) rad: minimum and maximum of each angle."""

# A shape is one flat vector; these slices are its parts.
SHAPE_BONES: Final = slice(0, 15)  # lengths
SHAPE_KNUCKLES: Final = slice(15, 27)  # index, middle, ring, pinky: start of the proximal bone
SHAPE_THUMB: Final = slice(27, 30)  # start of the thumb's metacarpal
SHAPE_PALM: Final = slice(30, 39)  # wrist_ulnar, wrist_radial, palm
SHAPE_SIZE: Final = 39

DEFAULT_SHAPE: Final[Array] = np.array([
    44, 26, 22, 48, 28, 24, 44, 26, 21, 35, 20, 19, 50, 43, 23,
    23, 96, 0, 2, 100, 0, -17, 95, 0, -34, 86, 0,
    24, 24, 8,
    -16, 0, 0, 16, 0, 0, 0, 74, 0,
], dtype=np.float64)
"""(39,) mm: an adult hand of about 185 mm, in round numbers chosen by us."""

FACING: Final[Array] = np.diag([1.0, -1.0, -1.0])
"""Rotation from the hand's frame to the camera's: palm to the camera, fingers up."""

# Columns: the thumb's own x (axis of flexion), y (along the bone), z (the side to which it flexes), at zero angles.
_THUMB_Y = np.array([0.68, 0.70, 0.22]) / np.linalg.norm([0.68, 0.70, 0.22])
_THUMB_Z = np.array([-0.70, 0.35, 0.62])
_THUMB_Z = _THUMB_Z - _THUMB_Y * (_THUMB_Y @ _THUMB_Z)
_THUMB_Z = _THUMB_Z / np.linalg.norm(_THUMB_Z)
_THUMB_REST: Final[Array] = np.ascontiguousarray(np.stack([np.cross(_THUMB_Y, _THUMB_Z), _THUMB_Y, _THUMB_Z], 1))
# Fingers roll about their own length so that they point at the root of the thumb when bent: index, ..., pinky (rad).
_ROLL: Final[Array] = np.radians(np.array([-6.0, 0.0, 7.0, 14.0]))

_BONE_TO_JOINTS: Final = np.array([[0, 6, 7], [3, 4, 5], [6, 2, 3], [9, 0, 1]])  # first bone, tip and PIP joints


@compiled
def multiply(a: Array, b: Array, out: Array) -> None:
    """Compute out = a @ b for 3x3 as loops, so that the sum has the same order on every machine and batch size."""
    for i in range(3):
        for j in range(3):
            out[i, j] = a[i, 0] * b[0, j] + a[i, 1] * b[1, j] + a[i, 2] * b[2, j]


@compiled
def turn(rotation: Array, axis: int, angle: float) -> Array:
    """Returns `rotation` followed, in its own frame, by a rotation of `angle` rad about its axis 0, 1 or 2."""
    c, s = math.cos(angle), math.sin(angle)
    j, k = (axis + 1) % 3, (axis + 2) % 3
    out = rotation.copy()
    for i in range(3):
        out[i, j] = c * rotation[i, j] + s * rotation[i, k]
        out[i, k] = c * rotation[i, k] - s * rotation[i, j]
    return out


@compiled
def rotation_matrix(vector: Array) -> Array:
    """Convert a rotation vector (3,) rad to a matrix (3, 3) (Rodrigues)."""
    angle = math.sqrt(vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2)
    out = np.eye(3)
    if angle < 1e-12:
        return out
    x, y, z = vector[0] / angle, vector[1] / angle, vector[2] / angle
    c, s = math.cos(angle), math.sin(angle)
    t = 1.0 - c
    out[0, 0], out[0, 1], out[0, 2] = c + t * x * x, t * x * y - s * z, t * x * z + s * y
    out[1, 0], out[1, 1], out[1, 2] = t * x * y + s * z, c + t * y * y, t * y * z - s * x
    out[2, 0], out[2, 1], out[2, 2] = t * x * z - s * y, t * y * z + s * x, c + t * z * z
    return out


@compiled
def carry(frame: Array, x: float, y: float, z: float, out: Array) -> None:
    """Compute out = frame applied to the point (x, y, z); `frame` is (3, 4), rotation and origin."""
    for i in range(3):
        out[i] = frame[i, 0] * x + frame[i, 1] * y + frame[i, 2] * z + frame[i, 3]


@compiled
def _place(frame: Array, rotation: Array, origin: Array) -> None:
    """Set frame (3, 4) = rotation and origin, by element: numba takes seconds to compile assignments of slices."""
    for i in range(3):
        for j in range(3):
            frame[i, j] = rotation[i, j]
        frame[i, 3] = origin[i]


@compiled
def _chain(rotation: Array, origin: Array, lengths: Array, bends: Array, frames: Array) -> None:
    """Place three bones end to end, with `bends` rad of flexion at the second and third; fills frames (3, 3, 4)."""
    here = origin.copy()
    turned = rotation
    for bone in range(3):
        if bone > 0:
            turned = turn(turned, 0, bends[bone - 1])
        _place(frames[bone], turned, here)
        for i in range(3):
            here[i] += turned[i, 1] * lengths[bone]


@compiled
def pose_hand(shape: Array, rotation: Array, translation: Array, angles: Array, frames: Array, joints: Array) -> None:
    """Compute the forward kinematics of one hand.

    Takes shape (39,) mm, rotation (3, 3) hand to camera, translation (3,) mm of the wrist's middle, angles (23,) rad;
    fills frames (17, 3, 4): the 15 bones, the palm, the forearm; and joints (14, 3) mm, all in the camera's frame.
    """
    palm = frames[PALM_FRAME]
    _place(palm, rotation, translation)
    start = np.empty(3)
    for finger in range(4):
        knuckle = 15 + 3 * finger
        carry(palm, shape[knuckle], shape[knuckle + 1], shape[knuckle + 2], start)
        turned = turn(rotation, 1, _ROLL[finger])
        turned = turn(turned, 2, -angles[4 * finger + 1])
        turned = turn(turned, 0, angles[4 * finger])
        first, tip, pip = _BONE_TO_JOINTS[finger]
        _chain(turned, start, shape[first:first + 3], angles[4 * finger + 2:4 * finger + 4], frames[first:first + 3])
        carry(frames[first + 1], 0.0, 0.0, 0.0, joints[pip])
        carry(frames[first + 2], 0.0, shape[first + 2], 0.0, joints[tip])
    rest = np.empty((3, 3))
    multiply(rotation, _THUMB_REST, rest)
    carry(palm, shape[27], shape[28], shape[29], start)
    turned = turn(turn(turn(rest, 2, -angles[17]), 0, angles[16]), 1, angles[18])
    _chain(turned, start, shape[12:15], angles[19:21], frames[12:15])
    carry(frames[13], 0.0, 0.0, 0.0, joints[10])
    carry(frames[14], 0.0, 0.0, 0.0, joints[9])
    carry(frames[14], 0.0, shape[14], 0.0, joints[8])
    for k in range(3):
        carry(palm, shape[30 + 3 * k], shape[31 + 3 * k], shape[32 + 3 * k], joints[11 + k])
    forearm = turn(turn(rotation, 2, -angles[22]), 0, angles[21])
    _place(frames[FOREARM_FRAME], forearm, translation)
