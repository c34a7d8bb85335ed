"""Small scenes with exact cameras, depth, normals, flow, material, light: views, streets, rooms, stereo, films."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from migaki.core.batch import Batch, Key
from migaki.core.errors import UserError
from migaki.core.seeds import fold
from migaki.core.simulator import Simulator
from migaki.ops.linear_light import to_srgb
from migaki.simulate.hand_jit import in_threads
from migaki.simulate.ray_tracer import Array, trace_rows
from migaki.simulate.scene_layouts import (
    BOUNDS,
    FIELD_DEG,
    RANGE,
    STREET_CAMERAS,
    VIEWS,
    Kind,
    Layout,
    Light,
    layout,
    light,
)
from migaki.simulate.scene_things import Packed, pack, to_obj

_DISC = 0.02  # radians, half the width of the sun where shadows are sampled more than once a pixel
_HELD_OUT = 8  # every so many-th picture of a ring or a street is for testing
_SKIES = {"white": ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0)), "black": ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
          "sky": ((0.72, 0.82, 0.92), (0.16, 0.34, 0.68))}
_LAYOUT, _LIGHT = 0, 1  # positions folded into the seed


class SceneSimulator(Simulator):
    """Renders scenes of balls, boxes and meshes. Picture k shows scene k // views; give --count scenes * views.

    Kinds: `ring`, once round a table (for fields); `street`, three cameras on a car; `room`, furniture seen from inside
    (for depth networks; lengths are m); `stereo`, left and right of a rectified rig; `pair`, two near-duplicates with a
    step of the hand and things that moved (more --views give the moments between); `moving`, a film. Truth is exact at
    pixel centres, colour is antialiased.

    `render` returns, with N pictures of H x W: `image` (N, 3, H, W) sRGB; `camera_to_world`, `intrinsics`; `depth`
    (N, H, W) z in scene units, 0 = nothing; `mask` (N, H, W) the number of the thing, 0 = nothing; `normals`; `flow`
    to the next frame of the film, 0 where nothing is; `flow_seen` (N, H, W), 1 where the next frame sees the pixel's
    surface; `albedo`; `roughness`; `sun_direction`, `sun_colour`, `ambient`; `scene_number`, `clip`, `frame`, `moment`.
    Beside the pictures `scene_0000.obj` has the surfaces at time 0.
    """

    keys = (
        Key(name="flow_seen", shape=("H", "W"), unit="0 or 1", kind="plane"),
        Key(name="radiance", shape=("3", "H", "W"), unit="linear light, 1 = white, not clipped", kind="vectors"),
        Key(name="sun_direction", shape=("3",), unit="towards the sun, in the world"),
        Key(name="sun_colour", shape=("3",), unit="irradiance of the sun over pi, linear"),
        Key(name="ambient", shape=("9", "3"), unit="irradiance over pi in real spherical harmonics, linear"),
        Key(name="scene_number", shape=(), unit="of the scene among those of the folder"),
        Key(name="moment", shape=(), unit="0 to 1, time of the motion and of the cameras' way"),
    )

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Which scenes, and how they are seen."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "kind views height width truth", "run": "threads"}

        kind: Kind = "ring"  # of scene and of cameras
        views: int = 0  # pictures of each scene; 0 = ring 48, street 60, room 6, film 24, others 2
        height: int = 200  # px
        width: int = 200  # px
        supersample: int = 3  # rays across and down a pixel, for its colour
        truth: Literal["all", "depth"] = "all"  # what lies beside pictures; depth: depth and mask alone
        linear: bool = False  # also write `radiance`, linear and not clipped (float32)
        field_deg: float = 0.0  # of view, across; 0 = the kind's own (ring 42, street 75, room 60, others 52)
        baseline: float = 0.16  # scene units between left and right camera (stereo)
        shift: float = 0.0  # scene units by which all cameras stand to the right: the same scene seen from beside
        background: Literal["", "white", "black", "sky"] = ""  # where nothing is; none: white, of a street sky
        lights: int = 1  # illuminations that follow each other along the cameras' way
        threads: int = 0  # 0: as many as NUMBA_NUM_THREADS or the machine allows; changes no bit

        def __post_init__(self) -> None:
            if not (8 <= self.height <= 4096 and 8 <= self.width <= 4096):
                raise UserError(f"scene: pictures of {self.width} x {self.height} px: 8 to 4096")
            if not (1 <= self.supersample <= 8 and 0 <= self.views <= 100_000 and 1 <= self.lights <= 100):
                raise UserError("scene: supersample is 1 to 8, views 0 to 100000, lights 1 to 100")
            if not (self.field_deg == 0 or 5 <= self.field_deg <= 120):
                raise UserError(f"scene: field_deg {self.field_deg:g}: 5 to 120 degrees")
            if not (abs(self.baseline) <= 1 and abs(self.shift) <= 1):
                raise UserError("scene: baseline and shift are at most 1 scene unit")

    config: Config

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or self.Config()
        self._views = self.config.views or VIEWS[self.config.kind]
        self._built: dict[tuple[int, int], tuple[Layout, Packed, list[Light]]] = {}

    @property
    def names(self) -> dict[str, Any]:
        """Where the scenes lie, and the unit of depth."""
        low, high = BOUNDS[self.config.kind]
        near, far = RANGE[self.config.kind]
        own = self.config.background or ("sky" if self.config.kind == "street" else "white")
        colour = None if own == "sky" else list(_SKIES[own][0])
        return {"scene": {"bounds": [list(low), list(high)], "near": near, "far": far, "background": colour},
                "units": {"depth": "scene units"}}

    def texts(self, seed: int, indices: Sequence[int]) -> list[dict[str, str]]:
        """The `split` of each picture of a ring or a street."""
        if self.config.kind not in ("ring", "street"):
            return [{} for _ in indices]
        step = STREET_CAMERAS if self.config.kind == "street" else 1
        return [{"split": "train" if (index % self._views // step) % _HELD_OUT else "test"} for index in indices]

    def beside(self, seed: int, count: int) -> dict[str, bytes]:
        """The surfaces of each scene of a ring, a street or a film at time 0."""
        if self.config.kind in ("room", "stereo", "pair"):
            return {}
        return {f"scene_{number:04d}.obj": to_obj(self._scene(seed, number)[0].things, f"scene {number}, seed {seed}")
                for number in range(math.ceil(count / self._views))}

    def render(self, seed: int, indices: Sequence[int]) -> Batch:
        """See the class and `Simulator.render`."""
        rows = [self._picture(seed, int(index)) for index in indices]
        keys = rows[0] if rows else {}
        return {key: torch.from_numpy(np.stack([row[key] for row in rows])) for key in keys}

    def _scene(self, seed: int, number: int) -> tuple[Layout, Packed, list[Light]]:
        if (seed, number) not in self._built:
            if len(self._built) > 3:
                self._built.clear()
            config = self.config
            drawn = layout(config.kind, np.random.default_rng(fold(seed, number, _LAYOUT)), config.baseline,
                           config.shift)
            lights = [light(np.random.default_rng(fold(seed, number, _LIGHT, place))) for place in range(config.lights)]
            self._built[seed, number] = drawn, pack(drawn.things), lights
        return self._built[seed, number]

    def _when(self, view: int) -> tuple[float, float, int, int]:
        """Time of a picture and of the next of its film, its camera, and its place in the film."""
        kind = self.config.kind
        if kind == "stereo":
            return 0.0, 0.0, view % 2, view
        if kind == "street":
            steps = max(1, math.ceil(self._views / STREET_CAMERAS) - 1)
            step = view // STREET_CAMERAS
            return step / steps, (step + 1) / steps, view % STREET_CAMERAS, step
        steps = self._views if kind in ("ring", "room") else max(1, self._views - 1)
        return view / steps, (view + 1) / steps, 0, view

    def _picture(self, seed: int, index: int) -> dict[str, Array]:
        config, (number, view) = self.config, divmod(index, self._views)
        drawn, packed, lights = self._scene(seed, number)
        time, later, camera, frame = self._when(view)
        other = 1 - camera if config.kind == "stereo" else camera
        poses, after = (np.stack([thing.pose(moment) for thing in drawn.things]) for moment in (time, later))
        views = [drawn.camera(moment, which) for moment, which in ((time, camera), (later, other))]
        lamp = lights[view * config.lights // self._views]
        lens = self._lens()
        own = config.background or ("sky" if config.kind == "street" else "white")
        height, width = config.height, config.width
        colour, albedo = np.zeros((height, width, 3)), np.zeros((height, width, 3))
        depth, normals, flow = np.zeros((height, width)), np.zeros((3, height, width)), np.zeros((2, height, width))
        rough = np.zeros((height, width))
        seen_next, mask = np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8)
        disc, sky = _DISC if config.supersample > 1 else 0.0, np.array(_SKIES[own])
        in_threads(lambda first, last: trace_rows(
            first, last, config.supersample, disc, lens.astype(np.float64), views[0].astype(np.float64),
            views[1].astype(np.float64), packed.things, packed.roots, poses, after, packed.nodes, packed.triangles,
            packed.materials, drawn.textures, lamp.sun, lamp.ambient, sky, colour, albedo, depth, normals, flow,
            seen_next, mask, rough), height, config.threads)
        found: dict[str, Array] = {
            "image": _picture_of(colour), "camera_to_world": views[0], "intrinsics": lens, "depth": _single(depth),
            "mask": mask}
        if config.truth == "all":
            found |= {"normals": _single(normals), "flow": _single(flow), "flow_seen": seen_next,
                      "albedo": _picture_of(albedo), "roughness": _single(rough)}
        if config.linear:
            found["radiance"] = _single(colour.transpose(2, 0, 1))
        film = number * (STREET_CAMERAS if config.kind == "street" else 1) + (camera if config.kind == "street" else 0)
        return found | {
            "sun_direction": _single(lamp.sun[0]), "sun_colour": _single(lamp.sun[1]), "ambient": _single(lamp.ambient),
            "scene_number": np.array(number), "clip": np.array(film), "frame": np.array(frame),
            "moment": np.array(time, np.float32)}

    def _lens(self) -> Array:
        """fx fy cx cy (4,) float32, px."""
        config = self.config
        focal = config.width / 2 / math.tan(math.radians(config.field_deg or FIELD_DEG[config.kind]) / 2)
        return np.array([focal, focal, config.width / 2, config.height / 2], np.float32)


def _picture_of(linear: Array) -> Array:
    """(H, W, 3) linear to (3, H, W) float32 in sRGB."""
    planes = torch.from_numpy(np.ascontiguousarray(linear.transpose(2, 0, 1)).astype(np.float32))
    found: Array = to_srgb(planes).numpy()
    return found


def _single(values: Array) -> Array:
    return np.ascontiguousarray(values, np.float32)
