"""Eyes before an infrared camera, with the place of the pupil: square crops as a detector of eyes leaves them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from migaki.core.batch import Batch, Key
from migaki.core.damage import Range
from migaki.core.errors import UserError
from migaki.core.seeds import fold
from migaki.core.simulator import Simulator
from migaki.simulate.eye_model import assets
from migaki.simulate.eye_model.builtin_skin import NUM_SKINS
from migaki.simulate.eye_model.infrared import (
    close_lids,
    draw_glasses,
    light_leds,
    narrow_lids,
    open_lids,
    place_eye,
    render_infrared,
)
from migaki.simulate.eye_model.infrared_skin import infrared_parts
from migaki.simulate.eye_model.jit import image_keys
from migaki.simulate.eye_model.landmarks import LABELS
from migaki.simulate.eye_model.parts import EyeParts
from migaki.simulate.eye_model.scene import Draws, EyeConfig, draw_scenes
from migaki.simulate.eyes import MM_PER_UV, in_threads, load_parts

_STREAM = 850  # nm; makes the camera's random numbers independent of the eye's
_NUM_DRAWS = 80
_NUM_CLOSED_DRAWS = 2
_CLOSED_STREAM = 851  # its own, so that an eye that stays open keeps its bits whatever the share of closed ones
_MOST_LEDS = 3


class _Seen(NamedTuple):
    """The pictures of a batch as the kernel leaves them, not yet mirrored."""

    images: NDArray[np.float32]  # (B, 1, S, S)
    masks: NDArray[np.uint8]  # (B, S, S)
    labels: NDArray[Any]  # (B,) of type LABELS
    visible: NDArray[np.uint8]  # (B,)


class InfraredEyes(Simulator):
    """Renders eyes as an infrared camera beside its lamps sees them, with the pupil's centre.

    Skin and iris are bright, the pupil is dark; one to three LEDs glint in the cornea; some people wear glasses, whose
    lenses mirror the LEDs. Returns, first axis B: `image` (1, S, S) in [0, 1]; `pupil_centre` (2) px x, y, as the
    cornea shows it, also where a lid covers it; `pupil_visible` 0 or 1; `pupil_radius_mm`; `glasses` 0 or 1;
    `identity`; with `mask` the regions (S, S) 0 skin, 1 sclera, 2 iris, 3 pupil; with `closed_share`
    `label` 0 closed, 1 open. Half of the eyes are mirrored, so
    that the nose may be on either side. The eye is that of `eyes`. Raises UserError for assets that cannot be read.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Pairs are the ends of a uniform range; of angles they are mean and standard deviation."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "size assets identities mask glasses_share closed_share",
            "run": "threads",
        }

        size: int = 64  # px, height and width of the pictures
        assets: Path | None = None  # UnityEyes' Assets folder; None: the built-in eye, which needs no file
        identities: tuple[int, ...] = ()  # skins to use; none = all
        mask: bool = False  # write region masks
        supersample: int = 2  # rays and fragments per px and axis
        threads: int = 0  # 0: as many as NUMBA_NUM_THREADS or the machine allows; does not change any bit

        # The crop
        across: Range = (29.0, 58.0)  # mm that the picture's width shows
        shift_x: Range = (-0.08, 0.08)  # of the middle of the eye's corners from the picture's, in shares of its width
        shift_y: Range = (-0.02, 0.18)  # the same, downwards: a detector centres the iris, above the corners
        mirrored_share: float = 0.5  # of eyes with the nose on the right
        gaze_pitch: Range = (-4.0, 9.0)  # deg, mean and standard deviation
        gaze_yaw: Range = (0.0, 13.0)  # deg, mean and standard deviation
        head_pitch: Range = (0.0, 8.0)  # deg, mean and standard deviation
        head_yaw: Range = (0.0, 8.0)  # deg, mean and standard deviation
        head_roll: Range = (0.0, 8.0)  # deg, mean and standard deviation

        # The eye
        shape_spread: float = 1.2  # standard deviations of the shape model
        pupil_radius: Range = (1.2, 3.6)  # mm; dilated in the dark
        iris: Range = (0.15, 0.9)  # reflectance, times the texture
        sclera: Range = (0.2, 0.8)  # reflectance, times the texture
        skin: Range = (0.75, 1.15)  # reflectance, times the texture
        upper_lid: Range = (17.0, 4.5)  # deg, elevation for a straight gaze, mean and standard deviation
        lower_lid: Range = (-21.0, 3.5)  # deg, the same
        narrowed_share: float = 0.5  # of eyes whose lids are partly closed
        narrowed: Range = (0.05, 0.6)  # share of the opening that is then closed
        closed_share: float = 0.0  # of eyes that are shut; above 0 each row has a label: closed or open
        relief: Range = (0.1, 0.5)  # strength of the skin's relief in the shading
        hidden_share: float = 0.1  # of the pupils that a lid would cover remain so; the lids of the others are opened
        lash_count: Range = (40.0, 140.0)  # of each lid
        lash_length: Range = (2.5, 8.0)  # mm

        # Light
        leds: tuple[int, int] = (1, 3)  # fewest and most
        led_spread: float = 0.3  # largest offset from the camera's axis, as a share of the distance
        glint: Range = (5.0, 300.0)  # radiance of an LED
        ambient: Range = (0.3, 1.0)  # light from all around
        lamp: Range = (0.2, 1.2)  # light of the LEDs on the skin
        gradient: float = 0.25  # standard deviation of the logarithm of the light's change across half a picture
        veil: Range = (0.0, 0.4)  # stray light, as a share of the picture's mean
        falloff: Range = (0.0, 0.6)  # share of light that is lost in the corners

        # Glasses
        glasses_share: float = 0.25  # of people who wear them
        reflections: tuple[int, int] = (0, 3)  # fewest and most of the LEDs in the lens
        reflection_light: Range = (0.5, 12.0)  # as a multiple of the picture's mean

        # Camera
        exposure: Range = (0.045, 0.25)  # mean linear value of the picture
        blur: Range = (0.4, 2.2)  # px
        noise: Range = (0.001, 0.008)  # standard deviation, of [0, 1]

        def __post_init__(self) -> None:
            if self.size < 8 or self.supersample < 1:
                raise UserError("infrared_eyes: --size is at least 8 px, --supersample at least 1")
            for name in ("glasses_share", "mirrored_share", "narrowed_share", "hidden_share", "closed_share"):
                if not 0 <= getattr(self, name) <= 1:
                    raise UserError(f"infrared_eyes: --{name.replace('_', '-')} is a share from 0 to 1")
            for name, most in (("leds", _MOST_LEDS), ("reflections", _MOST_LEDS)):
                if not 0 <= getattr(self, name)[0] <= getattr(self, name)[1] <= most:
                    raise UserError(f"infrared_eyes: --{name} takes the fewest and the most, from 0 to {most}")
            if not 0 <= self.led_spread <= 0.6:
                raise UserError("infrared_eyes: --led-spread is from 0 to 0.6")
            for field in fields(self):
                value = getattr(self, field.name)
                if field.name in _UNIFORM and not value[0] <= value[1]:
                    raise UserError(f"infrared_eyes: --{field.name.replace('_', '-')} takes a lower and an upper end")
            if self.across[0] < 10:
                raise UserError("infrared_eyes: --across is at least 10 mm")

    config: Config
    keys = (
        Key(name="pupil_visible", shape=(), unit="0 covered by a lid or outside, 1 visible"),
        Key(name="glasses", shape=(), unit="0 or 1, whether glasses are worn"),
    )

    def __init__(self, config: Config | None = None) -> None:
        self.config: InfraredEyes.Config = config or self.Config()
        self._eye = _eye_config(self.config)
        known = len(assets.skin_names(self.config.assets)) if self.config.assets else NUM_SKINS
        self._identities = self.config.identities or tuple(range(known))
        if not all(0 <= identity < known for identity in self._identities):
            raise UserError(f"infrared_eyes: --identities {' '.join(map(str, self._identities))}: give numbers within "
                            f"0 to {known - 1}")

    @property
    def names(self) -> dict[str, Any]:
        """The names of the mask's indices and of the classes, where there are some."""
        return ({"mask_classes": ["skin", "sclera", "iris", "pupil"]} if self.config.mask else {}) | (
            {"classes": ["closed", "open"]} if self.config.closed_share else {})

    def render(self, seed: int, indices: Sequence[int]) -> Batch:
        """Render the images `indices` of `seed`; image i has the same bits for every batch and thread count."""
        config, places = self.config, np.asarray(indices, np.int64).reshape(-1)
        texels = MM_PER_UV * config.size / config.across[0] * 1.5
        parts = _load_infrared(config.assets, self._identities, int(min(max(2 ** np.ceil(np.log2(texels)), 128), 1024)))
        counts = (len(self._identities), len(parts.textures.iris), len(parts.geometry.components))
        scenes, coefficients = draw_scenes(self._eye, seed, places, counts, None)
        draws = Draws(image_keys(fold(seed, _STREAM), places), _NUM_DRAWS)
        place_eye(scenes, draws, config.size, config.supersample, config.across,
                  (config.shift_x, config.shift_y))
        narrow_lids(scenes, draws, config.narrowed_share, config.narrowed)
        shut = Draws(image_keys(fold(seed, _CLOSED_STREAM), places), _NUM_CLOSED_DRAWS)
        is_closed = close_lids(scenes, shut, config.closed_share)
        light_leds(scenes, draws, config.leds, config.glint, config.led_spread)
        glasses = draw_glasses(draws, config.size, config.supersample, config.glasses_share, config.reflections,
                               config.reflection_light, config.veil, config.falloff)
        is_mirrored = torch.from_numpy(draws.unit() < config.mirrored_share)

        seen = self._photograph(parts, scenes, coefficients, glasses)
        again = np.flatnonzero((seen.visible == 0) & (draws.unit() >= config.hidden_share) & ~is_closed)
        if len(again):
            opened = scenes[again]
            open_lids(opened)
            better = self._photograph(parts, opened, coefficients[again], glasses[again])
            seen.images[again], seen.masks[again] = better.images, better.masks
            seen.labels[again], seen.visible[again] = better.labels, better.visible
        made = self._batch(seen, scenes, glasses, is_mirrored)
        return made | {"label": torch.from_numpy((~is_closed).astype(np.int64))} if config.closed_share else made

    def _photograph(self, parts: EyeParts, scenes: NDArray[Any], coefficients: NDArray[np.float32],
                    glasses: NDArray[Any]) -> _Seen:
        config, count = self.config, len(scenes)
        seen = _Seen(images=np.empty((count, 1, config.size, config.size), np.float32),
                     masks=np.empty((count, config.size, config.size), np.uint8),
                     labels=np.zeros(count, LABELS), visible=np.zeros(count, np.uint8))

        def work(start: int, stop: int) -> None:
            render_infrared(parts.geometry, parts.textures, scenes, glasses, coefficients, config.supersample, start,
                            stop, seen.images, seen.masks, seen.labels, seen.visible)

        in_threads(work, count, config.threads)
        return seen

    def _batch(self, seen: _Seen, scenes: NDArray[Any], glasses: NDArray[Any], is_mirrored: torch.Tensor) -> Batch:
        centre = torch.from_numpy(np.ascontiguousarray(seen.labels["pupil_centre"]))
        centre[:, 0] = torch.where(is_mirrored, self.config.size - 1 - centre[:, 0], centre[:, 0])
        batch = {
            "image": _mirrored(torch.from_numpy(seen.images), is_mirrored),
            "pupil_centre": centre,
            "pupil_visible": torch.from_numpy(seen.visible),
            "pupil_radius_mm": torch.from_numpy(scenes["pupil_radius"].astype(np.float32)),
            "glasses": torch.from_numpy(glasses["worn"].astype(np.uint8)),
            "identity": torch.from_numpy(np.asarray(self._identities, np.int64)[scenes["skin"]]),
        }
        return batch | ({"mask": _mirrored(torch.from_numpy(seen.masks), is_mirrored)} if self.config.mask else {})


_UNIFORM = ("across", "shift_x", "shift_y", "relief", "pupil_radius", "iris", "sclera", "skin", "narrowed",
            "lash_count", "lash_length", "glint", "ambient", "lamp", "veil", "falloff", "reflection_light", "exposure",
            "blur", "noise")


def _eye_config(config: InfraredEyes.Config) -> EyeConfig:
    """Returns the configuration of the eye before the camera; what is set later is the framing, lids and lamps."""
    return EyeConfig(
        width=config.size, height=config.size, supersample=config.supersample, gaze_prior="normal",
        gaze_pitch=config.gaze_pitch, gaze_yaw=config.gaze_yaw, head_pitch=config.head_pitch, head_yaw=config.head_yaw,
        head_roll=config.head_roll, shape_spread=config.shape_spread, pupil_radius_range=config.pupil_radius,
        iris_tint_range=config.iris, sclera_tint_range=config.sclera, skin_tint_range=config.skin,
        relief_range=config.relief,
        upper_lid_normal=config.upper_lid, lower_lid_normal=config.lower_lid, half_closed_share=0.0,
        lash_count_range=config.lash_count, lash_length_range=config.lash_length, ambient_range=config.ambient,
        key_range=config.lamp, fill_range=(0.0, 0.3), gradient_normal=(0.0, config.gradient),
        exposure_range=config.exposure, blur_range=config.blur, noise_range=config.noise,
    )


@lru_cache(maxsize=4)
def _load_infrared(folder: Path | None, identities: tuple[int, ...], size: int) -> EyeParts:
    """Load the parts; they are read-only and shared by the simulators of a process."""
    return infrared_parts(load_parts(folder, identities, size, 3))


def _mirrored(values: torch.Tensor, is_mirrored: torch.Tensor) -> torch.Tensor:
    """Returns (B, ..., W), those that are mirrored turned left to right."""
    return torch.where(is_mirrored.view(-1, *[1] * (values.ndim - 1)), values.flip(-1), values)
