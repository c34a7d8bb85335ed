"""The variation between images: the configuration of all ranges, and the random draw of one scene per image."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from migaki.core.errors import UserError
from migaki.simulate.eye_model.jit import compiled, fill_uniforms, image_keys

Pair = tuple[float, float]

LAPTOP_GAZE: tuple[Pair, Pair] = ((-0.153, 0.091), (0.001, 0.152))
"""Pitch and yaw (mean, standard deviation; rad) over the 15 people of MPIIGaze (Zhang et al., CVPR 2015)."""

_FLOATS = (
    "eye_pitch", "eye_yaw", "head_pitch", "head_yaw", "head_roll", "kappa_pitch", "kappa_yaw", "distance",
    "focal", "cx", "cy", "blur", "noise", "exposure", "eye_radius", "iris_radius", "cornea_radius",
    "limbus_plane", "cornea_centre", "pupil_radius", "limbus_width", "iris_tint", "sclera_tint", "upper_lid",
    "lower_lid", "lid_thickness", "look_down", "lid_shadow", "shadow_depth", "margin_dark", "relief", "skin_tint",
    "background", "upper_lash_length", "lower_lash_length", "upper_lash_raise", "lower_lash_raise", "lash_bend",
    "lash_width", "lash_dark", "ambient", "sky_x", "sky_y", "key", "key_x", "key_y", "key_z", "fill", "fill_x",
    "fill_y", "fill_z", "key_glint", "fill_glint", "key_size", "fill_size", "screen", "screen_x", "screen_y",
    "screen_width", "warmth", "gradient_x", "gradient_y",
)
SCENE = np.dtype(
    [(name, "f4") for name in _FLOATS]
    + [(name, "i4") for name in ("skin", "iris", "upper_lashes", "lower_lashes", "equalise", "pad")]
    + [("stream", "u8")],
    align=True,
)
"""One scene: angles in rad, lengths in mm, `focal`, `cx`, `cy` in supersampled px."""

LIGHTING = ("ambient", "sky_x", "sky_y", "key", "key_x", "key_y", "key_z", "fill", "fill_x", "fill_y", "fill_z",
            "key_glint", "screen", "exposure")
"""Columns of the label `lighting`: light levels relative to each other, directions in the camera frame."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EyeConfig:
    """All ranges of the eye simulator. `*_range` is uniform (low, high); `*_normal` is (mean, standard deviation).

    Defaults give MPIIGaze's normalised patches: a camera of focal length 960 px (60 px wide) 600 mm from the eye.
    """

    GROUPS: ClassVar[dict[str, str]] = {
        "usual": "assets width height channels identities equalise mask gaze_prior",
        "run": "threads",
    }

    assets: Path | None = None  # UnityEyes' Assets folder; None: the built-in eye, which needs no file
    width: int = 60  # px
    height: int = 36  # px
    channels: Literal[1, 3] = 1  # grey or RGB
    supersample: int = 2  # rays and fragments per px and axis
    threads: int = 0  # 0: as many as NUMBA_NUM_THREADS or the machine allows; does not change any bit
    identities: tuple[int, ...] = ()  # skins to use; () = all. Leave some out for a test on unseen people
    equalise: bool = False  # histogram equalisation, as in MPIIGaze's patches
    mask: bool = True  # write region masks; without them a folder is written twice as fast

    # `laptop` uses published statistics of MPIIGaze about the use, but no image.
    gaze_prior: Literal["laptop", "wide", "normal", "uniform", "table"] = "laptop"  # where people look; table: a file
    gaze_pitch: Pair = (-8.77, 5.21)  # deg, normal: (mean, sd), uniform: (low, high)
    gaze_yaw: Pair = (0.06, 8.71)  # deg
    gaze_table: Path | None = None  # .csv or .npy, rad: gaze pitch, yaw [, head pitch, yaw [, roll]]; one row per image
    head_prior: Literal["normal", "uniform"] = "normal"  # distribution of the head's angles
    head_pitch: Pair = (0.0, 7.0)  # deg
    head_yaw: Pair = (0.0, 8.0)  # deg
    head_roll: Pair = (0.0, 2.0)  # deg
    eye_pitch_limit: float = 28.0  # deg, eye in head
    eye_yaw_limit: float = 32.0  # deg
    kappa_yaw_normal: Pair = (4.5, 1.5)  # deg, line of sight nasal of the optical axis
    kappa_pitch_normal: Pair = (1.3, 1.0)  # deg, line of sight above the optical axis

    # Framing of the normalised camera; shifts in px of a 60 px wide patch, like errors of landmark detectors.
    scale_normal: Pair = (1.07, 0.06)  # size of the eye in the picture
    shift_x_normal: Pair = (0.0, 2.0)  # px
    shift_y_normal: Pair = (0.0, 1.5)  # px

    # Anatomy
    shape_spread: float = 1.0  # standard deviations of the shape model
    eye_radius_normal: Pair = (12.05, 0.25)  # mm
    iris_radius_normal: Pair = (5.75, 0.2)  # mm
    cornea_radius_normal: Pair = (7.9, 0.2)  # mm
    pupil_radius_range: Pair = (1.2, 2.8)  # mm
    limbus_width_range: Pair = (0.5, 1.2)  # mm
    upper_lid_normal: Pair = (19.0, 4.0)  # deg, elevation of the upper lid's edge for a straight gaze
    lower_lid_normal: Pair = (-23.0, 3.0)  # deg
    upper_lid_follow_normal: Pair = (0.8, 0.1)  # deg of upper lid per deg of eye pitch
    lower_lid_follow_normal: Pair = (0.35, 0.1)  # deg of lower lid per deg of eye pitch
    half_closed_share: float = 0.04  # fraction of images with lids that are closing
    lash_count_range: Pair = (60.0, 140.0)  # of each lid
    lash_length_range: Pair = (3.0, 8.0)  # mm, upper; lower lashes are half as long
    lash_width_range: Pair = (0.06, 0.15)  # mm
    iris_tint_range: Pair = (0.1, 0.7)  # reflectance, times the texture
    sclera_tint_range: Pair = (0.3, 0.75)  # reflectance, times the texture
    skin_tint_range: Pair = (0.7, 1.2)  # brightness, times the texture
    relief_range: Pair = (0.5, 1.5)  # strength of skin relief in the shading

    # Light
    ambient_range: Pair = (0.25, 1.0)  # ambient light
    key_range: Pair = (0.0, 1.2)  # strength of the key lamp
    key_elevation_normal: Pair = (30.0, 25.0)  # deg above the camera's axis
    key_azimuth_range: Pair = (-80.0, 80.0)  # deg
    fill_range: Pair = (0.0, 0.5)  # strength of the fill lamp
    glint_range: Pair = (0.0, 60.0)  # radiance of the key lamp
    screen_range: Pair = (0.0, 6.0)  # radiance of the laptop's screen
    lid_shadow_range: Pair = (0.3, 0.8)  # strength of the upper lid's shadow on the eye
    gradient_normal: Pair = (0.0, 0.5)  # natural logarithm of the light's change across half the picture
    warmth_normal: Pair = (0.1, 0.15)  # of the light's colour

    # Camera
    exposure_range: Pair = (0.08, 0.3)  # mean linear value of the picture
    blur_range: Pair = (0.3, 1.1)  # px
    noise_range: Pair = (0.002, 0.012)  # standard deviation, of [0, 1]

    def __post_init__(self) -> None:
        if min(self.width, self.height) < 4 or self.supersample < 1:
            raise UserError("eyes: width and height must be 4 px or more and supersample 1 or more")
        for field in fields(self):
            bounds = getattr(self, field.name)
            least = -180.0 if "azimuth" in field.name else 0.0
            if field.name.endswith("_range") and not least <= bounds[0] <= bounds[1]:
                raise UserError(f"eyes: {field.name} {bounds}: give two ascending numbers of at least {least:g}")
            if field.name.endswith("_normal") and not bounds[1] >= 0:
                raise UserError(f"eyes: {field.name} {bounds}: give a mean and a standard deviation of at least 0")
        if self.gaze_prior == "table" and self.gaze_table is None:
            raise UserError("eyes: gaze_prior 'table' needs gaze_table, a .csv or .npy of angles in rad: add it")


class Draws:
    """A row of independent uniform numbers per image, drawn column by column in a fixed order."""

    def __init__(self, keys: NDArray[np.uint64], count: int) -> None:
        self._values = np.empty((len(keys), count))
        fill_uniforms(keys, self._values)
        self._next = 0

    def unit(self) -> NDArray[np.float64]:
        """Returns uniform numbers in (0, 1). Shape: (B,)."""
        self._next += 1
        return self._values[:, self._next - 1]

    def uniform(self, bounds: Pair) -> NDArray[np.float64]:
        """Returns uniform numbers between bounds. Shape: (B,)."""
        return bounds[0] + (bounds[1] - bounds[0]) * self.unit()

    def normal(self, moments: Pair, limit: float = 3.0) -> NDArray[np.float64]:
        """Returns normal numbers (mean, sd), cut at `limit` sd. Shape: (B,)."""
        drawn: NDArray[np.float64] = np.clip(ndtri(self.unit()), -limit, limit)
        return moments[0] + moments[1] * drawn

    def choice(self, count: int) -> NDArray[np.int64]:
        """Returns uniform integers in 0..count-1. Shape: (B,)."""
        return np.minimum((self.unit() * count).astype(np.int64), count - 1)


NUM_DRAWS, NUM_TRIES = 160, 6


def draw_scenes(
    config: EyeConfig, seed: int, indices: NDArray[np.int64], counts: tuple[int, int, int],
    table: NDArray[np.float64] | None,
) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Draw scenes (B,) of type SCENE and shape coefficients (B, K). counts = numbers of skins, irises, coefficients."""
    keys = image_keys(seed, indices)
    draws = Draws(keys, NUM_DRAWS)
    scenes = np.zeros(len(keys), SCENE)
    scenes["stream"] = keys
    scenes["skin"], scenes["iris"] = draws.choice(counts[0]), draws.choice(counts[1])
    _draw_look(config, draws, scenes)
    _draw_camera(config, draws, scenes)
    _draw_light(config, draws, scenes)
    _draw_anatomy(config, draws, scenes)
    _draw_lids(config, draws, scenes)
    coefficients = np.stack([draws.normal((0.0, config.shape_spread)) for _ in range(counts[2])], 1)
    _draw_directions(config, draws, scenes, table)
    return scenes, coefficients.astype(np.float32)


def _draw_look(config: EyeConfig, draws: Draws, scenes: NDArray[Any]) -> None:
    scenes["iris_tint"] = draws.uniform(config.iris_tint_range)
    scenes["sclera_tint"] = draws.uniform(config.sclera_tint_range)
    scenes["skin_tint"] = draws.uniform(config.skin_tint_range)
    scenes["relief"] = draws.uniform(config.relief_range)
    scenes["margin_dark"] = draws.uniform((0.0, 0.35))
    scenes["background"] = draws.uniform((0.02, 0.2))
    scenes["upper_lashes"] = draws.uniform(config.lash_count_range)
    scenes["lower_lashes"] = draws.uniform(config.lash_count_range) * 0.4
    scenes["upper_lash_length"] = draws.uniform(config.lash_length_range)
    scenes["lower_lash_length"] = draws.uniform(config.lash_length_range) * 0.5
    scenes["lash_width"] = draws.uniform(config.lash_width_range)
    scenes["upper_lash_raise"] = np.radians(draws.normal((3.0, 12.0)))
    scenes["lower_lash_raise"] = np.radians(draws.normal((35.0, 10.0)))
    scenes["lash_bend"] = np.radians(draws.normal((18.0, 6.0)))
    scenes["lash_dark"] = draws.uniform((0.6, 0.95))


def _draw_camera(config: EyeConfig, draws: Draws, scenes: NDArray[Any]) -> None:
    zoom, fine = config.width / 60.0, config.supersample
    scenes["distance"] = 600.0 / draws.normal(config.scale_normal)
    scenes["focal"] = 960.0 * zoom * fine
    left = 30.5 * zoom + draws.normal(config.shift_x_normal) * zoom
    top = 0.5 * (config.height - 36.0 * zoom) + 18.5 * zoom + draws.normal(config.shift_y_normal) * zoom
    scenes["cx"], scenes["cy"] = left * fine - 0.5, top * fine - 0.5
    scenes["blur"] = draws.uniform(config.blur_range)
    scenes["noise"] = draws.uniform(config.noise_range)
    scenes["exposure"] = draws.uniform(config.exposure_range)
    scenes["equalise"] = int(config.equalise)


def _draw_light(config: EyeConfig, draws: Draws, scenes: NDArray[Any]) -> None:
    scenes["ambient"] = draws.uniform(config.ambient_range)
    scenes["sky_x"], scenes["sky_y"] = draws.normal((0.0, 0.3)), draws.normal((-0.3, 0.3))
    scenes["key"], scenes["fill"] = draws.uniform(config.key_range), draws.uniform(config.fill_range)
    for lamp in ("key", "fill"):  # angles; `aim` converts them into directions
        scenes[f"{lamp}_x"] = np.radians(draws.uniform(config.key_azimuth_range))
        scenes[f"{lamp}_y"] = np.radians(draws.normal(config.key_elevation_normal))
    scenes["key_glint"], scenes["fill_glint"] = draws.uniform(config.glint_range), draws.uniform((0.0, 5.0))
    scenes["key_size"], scenes["fill_size"] = draws.uniform((0.03, 0.25)), draws.uniform((0.1, 0.4))
    scenes["screen"] = draws.uniform(config.screen_range)
    scenes["screen_x"], scenes["screen_y"] = draws.normal((0.0, 0.15)), draws.normal((0.25, 0.12))
    scenes["screen_width"] = draws.uniform((0.15, 0.4))
    scenes["lid_shadow"], scenes["shadow_depth"] = draws.uniform(config.lid_shadow_range), draws.uniform((0.8, 2.5))
    scenes["gradient_x"], scenes["gradient_y"] = (draws.normal(config.gradient_normal) for _ in range(2))
    scenes["warmth"] = draws.normal(config.warmth_normal)


def _draw_anatomy(config: EyeConfig, draws: Draws, scenes: NDArray[Any]) -> None:
    eye = draws.normal(config.eye_radius_normal)
    iris = np.clip(draws.normal(config.iris_radius_normal), 4.0, 6.5)
    cornea = np.maximum(draws.normal(config.cornea_radius_normal), iris + 0.5)
    plane = np.sqrt(eye**2 - iris**2)  # where the two spheres meet
    scenes["eye_radius"], scenes["iris_radius"], scenes["cornea_radius"] = eye, iris, cornea
    scenes["limbus_plane"], scenes["cornea_centre"] = plane, plane - np.sqrt(cornea**2 - iris**2)
    scenes["pupil_radius"] = draws.uniform(config.pupil_radius_range)
    scenes["limbus_width"] = draws.uniform(config.limbus_width_range)
    scenes["kappa_pitch"] = np.radians(draws.normal(config.kappa_pitch_normal))
    scenes["kappa_yaw"] = np.radians(draws.normal(config.kappa_yaw_normal))


def _draw_lids(config: EyeConfig, draws: Draws, scenes: NDArray[Any]) -> None:
    """Draw the lids of a straight gaze. Until `aim` moves them, look_down and lid_thickness hold the follow factors."""
    upper = np.radians(draws.normal(config.upper_lid_normal))
    lower = np.radians(draws.normal(config.lower_lid_normal))
    closing = np.where(draws.unit() < config.half_closed_share, draws.uniform((0.4, 1.0)), 0.0)
    scenes["upper_lid"] = upper + closing * (lower - upper)
    scenes["lower_lid"] = lower
    scenes["look_down"] = draws.normal(config.upper_lid_follow_normal)
    scenes["lid_thickness"] = draws.normal(config.lower_lid_follow_normal)


def _draw_directions(
    config: EyeConfig, draws: Draws, scenes: NDArray[Any], table: NDArray[np.float64] | None
) -> None:
    """Draw head and gaze: the first of a few tries that the eye can reach, or the last, cut at the eye's limits."""
    tries = np.empty((len(scenes), NUM_TRIES, 5))
    for t in range(NUM_TRIES):
        for column, bounds in enumerate((config.head_pitch, config.head_yaw, config.head_roll)):
            drawn = draws.normal(bounds) if config.head_prior == "normal" else draws.uniform(bounds)
            tries[:, t, 2 + column] = np.radians(drawn)
        tries[:, t, :2] = np.stack(_draw_gaze(config, draws), 1)
        if table is not None:
            rows = table[draws.choice(len(table))]
            tries[:, t, : table.shape[1]] = rows
    limits = np.radians([config.eye_pitch_limit, config.eye_yaw_limit])
    aim(scenes, tries, limits)


def _draw_gaze(config: EyeConfig, draws: Draws) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if config.gaze_prior == "laptop":
        return draws.normal(LAPTOP_GAZE[0]), draws.normal(LAPTOP_GAZE[1])
    if config.gaze_prior == "wide":
        return np.radians(draws.uniform((-30.0, 20.0))), np.radians(draws.uniform((-30.0, 30.0)))
    if config.gaze_prior == "uniform":
        return np.radians(draws.uniform(config.gaze_pitch)), np.radians(draws.uniform(config.gaze_yaw))
    return np.radians(draws.normal(config.gaze_pitch)), np.radians(draws.normal(config.gaze_yaw))


@compiled
def aim(scenes: Any, tries: NDArray[np.float64], limits: NDArray[np.float64]) -> None:
    """Convert gaze and head in the camera frame to the eye's angles in the head; move the lids and aim the lamps.

    Angles are computed with scalar code, because vector units round differently, depending on the batch.
    """
    for i in range(len(scenes)):
        scene = scenes[i]
        pitch, yaw = 0.0, 0.0
        for t in range(tries.shape[1]):
            gaze_pitch, gaze_yaw, head_pitch, head_yaw, head_roll = tries[i, t]
            pitch, yaw = eye_in_head(gaze_pitch, gaze_yaw, head_pitch, head_yaw, head_roll)
            pitch, yaw = pitch - scene.kappa_pitch, yaw - scene.kappa_yaw
            scene.head_pitch, scene.head_yaw, scene.head_roll = head_pitch, head_yaw, head_roll
            if abs(pitch) <= limits[0] and abs(yaw) <= limits[1]:
                break
        scene.eye_pitch = min(max(pitch, -limits[0]), limits[0])
        scene.eye_yaw = min(max(yaw, -limits[1]), limits[1])
        down = -math.degrees(scene.eye_pitch)
        scene.upper_lid += scene.look_down * scene.eye_pitch
        scene.lower_lid += scene.lid_thickness * scene.eye_pitch
        scene.lower_lid = min(scene.lower_lid, scene.upper_lid)
        scene.look_down = min(max(down / 30.0, 0.0), 1.0) ** 2
        scene.lid_thickness = min(max(0.4 + 0.6 * (down + 20.0) / 40.0, 0.4), 1.0)
        azimuth, elevation = scene.key_x, scene.key_y
        scene.key_x, scene.key_y = math.cos(elevation) * math.sin(azimuth), -math.sin(elevation)
        scene.key_z = -math.cos(elevation) * math.cos(azimuth)
        azimuth, elevation = scene.fill_x, scene.fill_y
        scene.fill_x, scene.fill_y = math.cos(elevation) * math.sin(azimuth), -math.sin(elevation)
        scene.fill_z = -math.cos(elevation) * math.cos(azimuth)


@compiled
def eye_in_head(
    gaze_pitch: float, gaze_yaw: float, head_pitch: float, head_yaw: float, head_roll: float
) -> tuple[float, float]:
    """Convert a direction in the camera's frame to pitch and yaw in the head's: undo yaw, then pitch, then roll."""
    x = -math.cos(gaze_pitch) * math.sin(gaze_yaw)
    y = -math.sin(gaze_pitch)
    z = -math.cos(gaze_pitch) * math.cos(gaze_yaw)
    c, s = math.cos(head_yaw), math.sin(head_yaw)
    x, z = c * x - s * z, s * x + c * z
    c, s = math.cos(head_pitch), math.sin(head_pitch)
    y, z = c * y - s * z, s * y + c * z
    c, s = math.cos(head_roll), math.sin(head_roll)
    x, y = c * x + s * y, c * y - s * x
    return math.asin(min(max(-y, -1.0), 1.0)), math.atan2(-x, -z)
