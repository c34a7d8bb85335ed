"""The parts of an eye, geometry and textures, read from the UnityEyes assets or built in code.

Head frame: millimetres, x right, y down, z away from the camera, origin at the eyeball's centre, head upright and
facing the camera. The nose lies on the left (negative x), as in the patches of MPIIGaze.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Int = NDArray[np.int32]
Bytes = NDArray[np.uint8]


class Geometry(NamedTuple):
    """Skin around the eye: a coarse cage that the lids move, and fixed weights that refine it to the drawn mesh.

    It is a named tuple, because compiled kernels accept those directly.
    """

    mean: Float  # (V, 3) mm, cage at rest
    components: Float  # (K, V, 3) mm, change of the cage for one standard deviation of each shape coefficient
    ring: Int  # (V,) steps from the lid's inner edge: 0 on the edge
    upper: Float  # (V,) 1 for the upper lid's side, 0 for the lower
    fine_index: Int  # (N, 9) cage vertices of each drawn vertex
    fine_weight: Float  # (N, 9) their weights, rows sum to 1
    triangles: Int  # (T, 3) of drawn vertices
    uv: Float  # (N, 2) texture coordinates, v up
    openness: Float  # (N,) share of the sky seen from the vertex at rest, 0..1
    margin: Float  # (N,) 1 on the lids' wet rims and the caruncle, 0 on skin
    upper_edge: Int  # (3, P) drawn vertices along the upper lid, inner to outer corner: edge, middle, lash line
    lower_edge: Int  # (2, P) the same for the lower lid: edge, lash line
    corners: Int  # (2,) drawn vertices at the inner and outer corner
    cage_corners: Int  # (2,) cage vertices at the inner and outer corner
    cage_middle: Int  # (2,) cage vertices in the middle of the upper and lower edge


class Textures(NamedTuple):
    """Colours at one resolution, 8-bit with gamma 2, C = 1 (grey) or 3."""

    skin: Bytes  # (S, R, R, C)
    skin_down: Bytes  # (S, R, R, C) the same skins with lowered lids
    relief: Float  # (S, R, R) height of the skin, mm
    iris: Bytes  # (I, Q, Q, C) eyeball seen from the front, see `eyeball.py` for the layout


@dataclass(frozen=True, kw_only=True)
class EyeParts:
    """All data of a source of eyes that a renderer needs."""

    geometry: Geometry
    textures: Textures
