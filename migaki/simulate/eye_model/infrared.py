"""The infrared camera: what it changes in a drawn scene, and the rendering of one image after another."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from migaki.core.damage import Range
from migaki.simulate.eye_model.eyeball import PUPIL
from migaki.simulate.eye_model.glasses import GLASSES, NUM_REFLECTIONS, paint_glasses
from migaki.simulate.eye_model.jit import compiled
from migaki.simulate.eye_model.parts import Bytes, Float, Geometry, Textures
from migaki.simulate.eye_model.photograph import shrink_mask
from migaki.simulate.eye_model.renderer import paint_scene, photograph
from migaki.simulate.eye_model.scene import Draws

LED_SIZE = 0.06  # rad, angular radius of a panel of LEDs as the cornea mirrors it, with its halo on the sensor
MM_AT_FULL_SCALE = 37.5  # across the picture of the normalised camera, 600 mm away


def place_eye(scenes: NDArray[Any], draws: Draws, size: int, factor: int, across_mm: Range,
              shift: tuple[Range, Range]) -> None:
    """Set distance and centre of square crops of `size` px, as a detector leaves them, in place.

    `across_mm` is the width of the picture in mm at the eye, `shift` the offsets of the
    corners' middle to the right and down, in shares of it.
    """
    scenes["distance"] = 600.0 * draws.uniform(across_mm) / MM_AT_FULL_SCALE
    for name, bounds in zip(("cx", "cy"), shift, strict=True):
        scenes[name] = (0.5 + draws.uniform(bounds)) * size * factor - 0.5


def narrow_lids(scenes: NDArray[Any], draws: Draws, share: float, closing: Range) -> None:
    """Narrow the opening of a `share` of the eyes by the part `closing` of it, in place.

    People who squint still look out: both lids come near the pupil, so that it shows in the slit.
    """
    amount = np.where(draws.unit() < share, draws.uniform(closing), 0.0)
    middle = scenes["eye_pitch"] + np.radians(draws.normal((0.0, 3.0)))
    for lid in ("upper_lid", "lower_lid"):
        scenes[lid] += amount * (np.clip(middle, scenes["lower_lid"], scenes["upper_lid"]) - scenes[lid])


def close_lids(scenes: NDArray[Any], draws: Draws, share: float) -> NDArray[np.bool_]:
    """Shut a `share` of the eyes, in place: the lids meet in the lower third of the opening. Returns which (B,)."""
    is_closed = draws.unit() < share
    meet = scenes["lower_lid"] + draws.uniform((0.0, 0.35)) * (scenes["upper_lid"] - scenes["lower_lid"])
    for lid in ("upper_lid", "lower_lid"):
        scenes[lid] = np.where(is_closed, meet, scenes[lid])
    return is_closed


def open_lids(scenes: NDArray[Any]) -> None:
    """Open the lids so far that the pupil shows, in place."""
    scenes["upper_lid"] = np.maximum(scenes["upper_lid"], scenes["eye_pitch"] + np.radians(13.0))
    scenes["lower_lid"] = np.minimum(scenes["lower_lid"], scenes["eye_pitch"] - np.radians(9.0))


def light_leds(scenes: NDArray[Any], draws: Draws, counts: tuple[int, int], glint: Range, spread: float) -> None:
    """Light one to three LEDs near the camera, in place: the key and the fill lamp, and a small screen as the third.

    `counts` are the fewest and the most, `glint` their radiance, `spread` the largest offset from the camera's axis as
    a share of the distance. Only products and square roots, which no vector unit rounds differently.
    """
    number = counts[0] + draws.choice(counts[1] - counts[0] + 1)
    radiance = glint[0] + (glint[1] - glint[0]) * draws.unit() ** 2
    for place, lamp in enumerate(("key", "fill")):
        x, y = draws.uniform((-spread, spread)), draws.uniform((-spread, spread))
        scenes[f"{lamp}_x"], scenes[f"{lamp}_y"] = x, y
        scenes[f"{lamp}_z"] = -np.sqrt(1.0 - x * x - y * y)
        scenes[f"{lamp}_size"] = LED_SIZE * draws.uniform((0.6, 2.0))
        scenes[f"{lamp}_glint"] = np.where(number > place, radiance, 0.0)
    scenes["screen"] = np.where(number > 2, radiance, 0.0)
    scenes["screen_x"], scenes["screen_y"] = draws.uniform((-spread, spread)), draws.uniform((-spread, spread))
    scenes["screen_width"] = LED_SIZE * draws.uniform((0.6, 1.6))


def draw_glasses(draws: Draws, size: int, factor: int, share: float, reflections: tuple[int, int], light: Range,
                 veil: Range, falloff: Range) -> NDArray[Any]:
    """Draw the glasses (B,) of type GLASSES; `share` of the images have them, `veil` and
    `falloff` are the stray light of all and the share of light that is lost in the corners."""
    side = float(size * factor)
    worn = draws.unit() < share
    glasses = np.zeros(len(worn), GLASSES)
    glasses["worn"] = worn
    glasses["x"], glasses["y"] = (0.5 + draws.uniform((-0.12, 0.12))) * side, (0.58 + draws.uniform((-0.2, 0.2))) * side
    glasses["half_width"] = draws.uniform((0.5, 0.85)) * side
    glasses["half_height"] = draws.uniform((0.3, 0.55)) * side
    glasses["turn"] = draws.uniform((-0.15, 0.15))
    is_rimless = draws.unit() < 0.2
    glasses["rim"] = np.where(is_rimless, 0.0, draws.uniform((0.006, 0.04))) * side
    is_bright = draws.unit() < 0.25
    glasses["rim_light"] = np.where(is_bright, draws.uniform((0.9, 2.0)), draws.uniform((0.05, 0.5)))
    glasses["lens"] = draws.uniform((0.8, 1.0))
    glasses["veil"] = draws.uniform(veil)
    glasses["falloff"] = draws.uniform(falloff)
    number = reflections[0] + draws.choice(reflections[1] - reflections[0] + 1)
    for k in range(NUM_REFLECTIONS):
        glasses[f"x_{k}"] = draws.uniform((0.15, 0.85)) * side
        glasses[f"y_{k}"] = draws.uniform((0.1, 0.8)) * side
        wide = 0.012 + 0.08 * draws.unit() ** 2
        glasses[f"wide_{k}"] = wide * side
        glasses[f"high_{k}"] = wide * draws.uniform((0.7, 1.4)) * side
        glasses[f"turn_{k}"] = draws.uniform((-1.5, 1.5))
        glasses[f"light_{k}"] = np.where(number > k, draws.uniform(light), 0.0)
    return glasses


@compiled
def pupil_is_seen(region: Bytes, x: float, y: float) -> bool:
    """Whether the supersampled px (x, y), the pupil's centre, shows the pupil: no lid covers it, and it is inside."""
    column, row = math.floor(x + 0.5), math.floor(y + 0.5)
    if not (0 <= row < region.shape[0] and 0 <= column < region.shape[1]):
        return False
    return region[row, column] == PUPIL  # type: ignore[no-any-return]


@compiled
def render_infrared(
    geometry: Geometry, textures: Textures, scenes: Any, glasses: Any, coefficients: Float, factor: int, start: int,
    stop: int, images: Float, masks: Bytes, labels: Any, visible: Bytes,
) -> None:
    """Draw the images start..stop of a batch: light, glasses, photograph; sets visible (B,) of the pupil's centre."""
    _, channels, height, width = images.shape
    for i in range(start, stop):
        linear = np.empty((height * factor, width * factor, channels), np.float32)
        region = np.zeros((height * factor, width * factor), np.uint8)
        paint_scene(geometry, textures, scenes[i], coefficients[i], factor, linear, region, labels[i])
        paint_glasses(linear, glasses[i])
        photograph(linear, factor, scenes[i], images[i])
        shrink_mask(region, factor, masks[i])
        x, y = labels[i].pupil_centre
        visible[i] = 1 if pupil_is_seen(region, (x + 0.5) * factor - 0.5, (y + 0.5) * factor - 0.5) else 0
