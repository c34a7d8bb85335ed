"""Textures as a near-infrared camera sees them: bright even skin, bright iris, dark brows and lashes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from migaki.simulate.eye_model.eyeball import LIMBUS_EDGE, PUPIL_EDGE
from migaki.simulate.eye_model.parts import Bytes, EyeParts, Textures
from migaki.simulate.eye_model.skin import MM_PER_UV

# Melanin and blood absorb little beyond 800 nm, so skins differ less there and irises of all colours are bright.
SKIN_LEVEL, SKIN_CONTRAST = 0.78, 0.7  # gamma 2; exponent of the contrast within one skin
SCATTER = 0.45  # mm, standard deviation of the blur by light that enters the skin and leaves it beside
IRIS_LEVEL, IRIS_CONTRAST = 0.62, 0.45
SCLERA_LEVEL, SCLERA_CONTRAST = 0.72, 0.8

Array = NDArray[np.floating[Any]]


def infrared_parts(parts: EyeParts) -> EyeParts:
    """Returns the same eyes with textures of one channel, the red one with the contrast of the near infrared."""
    colours = parts.textures
    skins = [_skin(open_lid, lowered) for open_lid, lowered in zip(colours.skin, colours.skin_down, strict=True)]
    return EyeParts(geometry=parts.geometry, textures=Textures(
        skin=np.stack([open_lid for open_lid, _ in skins]),
        skin_down=np.stack([lowered for _, lowered in skins]),
        relief=colours.relief,
        iris=np.stack([_eyeball(texture) for texture in colours.iris]),
    ))


def _skin(open_lid: Bytes, lowered: Bytes) -> tuple[Bytes, Bytes]:
    """Returns one skin with open and lowered lids (R, R, 1), both in the level of the first."""
    level = float(np.median(open_lid[..., 0])) / 255
    sigma = SCATTER / MM_PER_UV * len(open_lid)
    first, second = (_toned(gaussian_filter(skin[..., 0], sigma, mode="nearest"), level, SKIN_LEVEL, SKIN_CONTRAST)
                     for skin in (open_lid, lowered))
    return first, second


def _eyeball(texture: Bytes) -> Bytes:
    """Returns an eyeball (Q, Q, 1): iris and sclera each with a level of its own, a soft edge between them."""
    size = len(texture)
    place = (np.arange(size) + 0.5) / size - 0.5
    radius = np.hypot(*np.meshgrid(place, place))
    red = texture[..., 0]
    is_iris = (radius > PUPIL_EDGE) & (radius < 0.95 * LIMBUS_EDGE)
    is_white = (radius > 1.1 * LIMBUS_EDGE) & (radius < 0.45)
    iris = _toned(red, float(np.median(red[is_iris])) / 255, IRIS_LEVEL, IRIS_CONTRAST).astype(np.float64)
    white = _toned(red, float(np.median(red[is_white])) / 255, SCLERA_LEVEL, SCLERA_CONTRAST).astype(np.float64)
    soft = np.clip((radius - LIMBUS_EDGE) / 0.012 + 0.5, 0.0, 1.0)[..., None]
    whole = iris * (1 - soft) + white * soft
    whole[radius < PUPIL_EDGE] = 5.0
    return np.ascontiguousarray(np.round(whole), np.uint8)


def _toned(red: NDArray[np.uint8], level: float, wanted: float, contrast: float) -> Bytes:
    """Returns bytes (R, R, 1) whose grey `level` in [0, 1] has become `wanted`, ratios to it raised to `contrast`."""
    ratio: Array = np.maximum(red / 255.0, 0.02) / max(level, 0.02)
    return np.ascontiguousarray(np.round(np.clip(wanted * ratio**contrast, 0.0, 1.0) * 255)[..., None], np.uint8)
