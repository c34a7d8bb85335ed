"""Depth images of an articulated right hand, with the 14 joints that NYU evaluates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from migaki.core.batch import Batch, Key
from migaki.core.errors import UserError
from migaki.core.seeds import fold
from migaki.core.simulator import Simulator
from migaki.ops.depth import NYU_CAMERA, crop_camera, normalise_depth, project
from migaki.simulate.hand_fit import Poses, load_poses
from migaki.simulate.hand_jit import in_threads
from migaki.simulate.hand_skeleton import (
    DEFAULT_SHAPE,
    FACING,
    LIMITS,
    NUM_BONES,
    NUM_FRAMES,
    NUM_JOINTS,
    SHAPE_BONES,
    SHAPE_KNUCKLES,
    Array,
    pose_hand,
    rotation_matrix,
    turn,
)
from migaki.simulate.hand_surface import (
    CONE_SIZE,
    NUM_CONES,
    PALM_BONE,
    TEMPLATE,
    dress,
    first_bone,
    penetration,
    render_depths,
)

_BONES_AT_JOINT = ((11,), (10, 9), (8,), (7, 6), (5,), (4, 3), (2,), (1, 0), (14,), (14, 13), (13, 12),
                   (PALM_BONE,), (PALM_BONE, 12), (PALM_BONE, 12))
"""The bones that meet in each joint; a joint is visible if the first flesh on its ray belongs to one of them ..."""

_DEEPEST = 42.0
"""... and lies at most this many mm (of the default hand) before it."""

_POSE, _VIEW = 0, 1  # positions folded into the seed: one stream for the hand, one for its view


class HandSimulator(Simulator):
    """Renders right hands like a depth camera without noise (see `depth_sensor.py` for the noise).

    `render` returns, with N images of H x W:

    - `image` (N, 1, H, W): depth as grey in [0, 1]; 0 at the front and 1 at the back of a cube of `cube_mm` around
      the hand's centre, background 1 (`ops.depth.normalise_depth`);
    - `depth` (N, H, W): mm, 0 where there is no hand;
    - `joints` (N, 14, 3): u px, v px, depth mm, in the order of `hand_skeleton.JOINTS`; pixel centres at integers;
    - `joint_visible` (N, 14) uint8: 1 if the joint lies in the image and the first surface on its ray is the flesh of
      the bones that meet in it, not more than 42 mm (of the default hand) before it;
    - `camera` (N, 4): fx, fy, cx, cy px of this image, so that x = (u - cx) z / fx in mm (`ops.depth.unproject`);
    - `centre` (N, 3): u px and v px in the whole frame of the NYU camera, and mm: the centre of the cube;
    - `cube` (N,): side of the cube in mm;
    - `bone_lengths` (N, 15) mm, in the order of `hand_skeleton.BONES`;
    - `angles` (N, 23) rad, in the order of `hand_skeleton.ANGLES`.
    """

    keys = (
        Key(name="joints", shape=("J", "3"), unit="px, px, mm: u v depth", kind="points"),
        Key(name="joint_visible", shape=("J",), unit="0 or 1"),
        Key(name="camera", shape=("4",), unit="px, fx fy cx cy", kind="camera"),
        Key(name="centre", shape=("3",), unit="u v in px of the whole frame, mm"),
        Key(name="cube", shape=(), unit="mm, side of the cube that fills the image"),
        Key(name="bone_lengths", shape=("15",), unit="mm"),
        Key(name="angles", shape=("23",), unit="rad, of the hand's joints"),
    )

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Ranges of the simulation. Unless noted otherwise we chose the values."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "height width cube_mm poses", "run": "cache threads"}

        height: int = 224  # px (the paper's size, sec. 3.2)
        width: int = 224  # px
        cube_mm: float = 300.0  # side of the cube around the hand that fills the image (usual for NYU)
        poses: Path | None = None  # table of measured joints to draw poses from (`hand_fit.read_joint_table`)
        cache: Path | None = None  # folder of the cached fit to that table; by default the user's cache folder
        distance_mm: tuple[float, float] = (600.0, 1000.0)  # of the hand's centre from the camera (NYU: 616 .. 1118)
        off_axis_deg: float = 12.0  # largest angle between the hand's centre and the optical axis, in x and in y
        centre_jitter_mm: float = 8.0  # standard deviation of the cube's centre from the mean of the 14 joints
        size: tuple[float, float] = (0.88, 1.12)  # relative to the default hand of about 185 mm, or the fitted one
        proportion_sd: float = 0.03  # relative standard deviation of each bone's length
        thickness: tuple[float, float] = (1.0, 1.2)  # of the flesh, relative to the default radii
        angle_noise_deg: float = 4.0  # standard deviation added to each angle of a drawn pose
        tilt_deg: float = 60.0  # without a table: largest angle between the palm's normal and the camera
        back_share: float = 0.25  # without a table: fraction of hands that show their back
        roll_deg: float = 60.0  # without a table: largest rotation in the image plane
        extra_tilt_deg: float = 15.0  # with a table: largest random tilt added to the real rotation
        extra_roll_deg: float = 20.0  # with a table: largest random roll added to the real rotation
        forearm_nearer_deg: float = 10.0  # largest angle of the forearm towards the camera; other views are drawn again
        penetration_mm: float = 4.0  # largest depth to which fingers penetrate each other; deeper poses are drawn again
        num_tries: int = 12  # draws after which the pose with the least penetration is used
        threads: int = 0  # 0: as many as NUMBA_NUM_THREADS or the machine allows; changes no bit

    def __init__(self, config: Config | None = None) -> None:
        self.config: HandSimulator.Config = config or self.Config()
        _check(self.config)
        self._poses: Poses | None = None
        if self.config.poses is not None:
            self._poses = load_poses(self.config.poses, self.config.cache)

    def render(self, seed: int, indices: Sequence[int]) -> Batch:
        """See the class and `Simulator.render`. Every image has its own counter-based stream of random numbers."""
        hands = [self._hand(seed, int(index)) for index in indices]
        cones = np.stack([hand.cones for hand in hands]) if hands else np.empty((0, NUM_CONES, CONE_SIZE))
        points = torch.from_numpy(np.array([hand.joints for hand in hands]).reshape(-1, NUM_JOINTS, 3))
        centres = torch.from_numpy(np.array([hand.centre for hand in hands]).reshape(-1, 3))
        frame = torch.tensor(NYU_CAMERA, dtype=torch.float64)
        config = self.config
        # One image at a time, because sums or vector lengths could make rounding depend on the batch.
        cropped = [crop_camera(frame, project(c[None], frame)[0], config.cube_mm, (config.height, config.width))
                   for c in centres]
        cameras = torch.stack(cropped) if hands else torch.empty(0, 4, dtype=torch.float64)
        depth = np.zeros((len(hands), config.height, config.width), np.float32)
        views = cameras.numpy()
        in_threads(lambda first, last: render_depths(cones, views, depth, first, last), len(hands), config.threads)
        joints = project(points, cameras).float()
        seen = torch.tensor([hand.visible for hand in hands], dtype=torch.bool).reshape(-1, NUM_JOINTS)
        cube = torch.full((len(hands),), config.cube_mm)
        return {
            "image": normalise_depth(torch.from_numpy(depth), centres[:, 2], config.cube_mm),
            "depth": torch.from_numpy(depth),
            "joints": joints,
            "joint_visible": (seen & self._inside(joints)).to(torch.uint8),
            "camera": cameras.float(),
            "centre": project(centres[:, None], frame)[:, 0].float(),
            "cube": cube,
            "bone_lengths": torch.from_numpy(np.array([h.lengths for h in hands]).reshape(-1, NUM_BONES)).float(),
            "angles": torch.from_numpy(np.array([h.angles for h in hands]).reshape(-1, len(LIMITS))).float(),
        }

    def _inside(self, joints: torch.Tensor) -> torch.Tensor:
        u, v = joints[..., 0], joints[..., 1]
        return (u > -0.5) & (u < self.config.width - 0.5) & (v > -0.5) & (v < self.config.height - 0.5)

    def _hand(self, seed: int, index: int) -> _Hand:
        """Draw the hand of one image: bones, pose, position; and find the joints that its own flesh hides."""
        config = self.config
        rng = np.random.Generator(np.random.Philox(key=fold(seed, index, _POSE)))
        chosen = None if self._poses is None else int(rng.integers(len(self._poses.angles)))
        size, thickness = rng.uniform(*config.size), rng.uniform(*config.thickness)
        shape = self._shape(rng, size, chosen)
        # The flesh scales with the hand's own size, which a fitted shape already includes.
        size = float(shape[SHAPE_BONES].sum() / DEFAULT_SHAPE[SHAPE_BONES].sum())
        best: tuple[float, Array, Array] | None = None
        frames, joints = np.empty((NUM_FRAMES, 3, 4)), np.empty((NUM_JOINTS, 3))
        cones = np.empty((NUM_CONES, CONE_SIZE))
        for _ in range(config.num_tries):
            angles = self._angles(rng, chosen)
            pose_hand(shape, FACING, np.zeros(3), angles, frames, joints)
            dress(TEMPLATE, frames, shape[SHAPE_BONES], size, thickness, cones)
            depth = penetration(cones)
            if best is None or depth < best[0]:
                best = depth, angles, joints.copy()
            if depth <= config.penetration_mm:
                break
        assert best is not None
        view = np.random.Generator(np.random.Philox(key=fold(seed, index, _VIEW)))
        rotation, centre = self._view(view, chosen, best[1]), self._centre(view)
        pose_hand(shape, rotation, np.zeros(3), best[1], frames, joints)
        translation = centre - joints.mean(0)
        pose_hand(shape, rotation, translation, best[1], frames, joints)
        dress(TEMPLATE, frames, shape[SHAPE_BONES], size, thickness, cones)
        visible = [first_bone(cones, joint[0], joint[1], joint[2], _DEEPEST * size) in bones
                   for joint, bones in zip(joints, _BONES_AT_JOINT, strict=True)]
        jitter = view.normal(0.0, config.centre_jitter_mm, 3)
        return _Hand(cones, joints, visible, centre + jitter, shape[SHAPE_BONES].copy(), best[1])

    def _shape(self, rng: np.random.Generator, size: float, chosen: int | None) -> Array:
        base = DEFAULT_SHAPE if self._poses is None else self._poses.shapes[self._poses.persons[chosen]]
        shape = base * size
        shape[SHAPE_BONES] *= 1.0 + self.config.proportion_sd * np.clip(rng.standard_normal(NUM_BONES), -2, 2)
        # The breadth of the palm varies independently: x of the four knuckles.
        shape[SHAPE_KNUCKLES][::3] *= 1.0 + self.config.proportion_sd * np.clip(rng.standard_normal(), -2, 2)
        return shape

    def _angles(self, rng: np.random.Generator, chosen: int | None) -> Array:
        """Returns (23,) rad within LIMITS: a real pose with noise, or a random one."""
        angles = draw_angles(rng) if self._poses is None else self._poses.angles[chosen].copy()
        if self._poses is not None:
            angles[-2:] = rng.normal(0.0, 0.5, 2) * LIMITS[-2:, 1]  # the table does not determine the forearm
        angles += math.radians(self.config.angle_noise_deg) * rng.standard_normal(len(angles))
        return np.clip(angles, LIMITS[:, 0], LIMITS[:, 1])

    def _view(self, rng: np.random.Generator, chosen: int | None, angles: Array) -> Array:
        """Returns a rotation (3, 3) hand to camera in which the forearm points away from the camera."""
        most = math.sin(math.radians(self.config.forearm_nearer_deg))
        best, least = FACING, math.inf
        for _ in range(self.config.num_tries):
            rotation = self._rotation(rng, chosen)
            nearer = turn(turn(rotation, 2, -angles[22]), 0, angles[21])[2, 1]  # depth per mm along the forearm's y
            if nearer < least:
                best, least = rotation, float(nearer)
            if nearer <= most:
                break
        return best

    def _rotation(self, rng: np.random.Generator, chosen: int | None) -> Array:
        config = self.config
        known = self._poses is not None
        base = FACING
        if self._poses is not None:
            base = self._poses.rotations[chosen]
        elif rng.random() < config.back_share:
            base = np.diag([-1.0, -1.0, 1.0])
        tilt = math.radians(config.extra_tilt_deg if known else config.tilt_deg) * math.sqrt(rng.random())
        about = rng.uniform(0.0, 2.0 * math.pi)
        roll = math.radians(config.extra_roll_deg if known else config.roll_deg) * rng.uniform(-1.0, 1.0)
        tilted = rotation_matrix(tilt * np.array([math.cos(about), math.sin(about), 0.0]))
        rolled = rotation_matrix(np.array([0.0, 0.0, roll]))
        # einsum without optimisation sums in a fixed order, unlike an unknown BLAS.
        return np.ascontiguousarray(np.einsum("ij,jk,kl->il", rolled, tilted, base))

    def _centre(self, rng: np.random.Generator) -> Array:
        depth = rng.uniform(*self.config.distance_mm)
        x, y = np.tan(np.radians(rng.uniform(-self.config.off_axis_deg, self.config.off_axis_deg, 2))) * depth
        return np.array([x, y, depth])


@dataclass(frozen=True, slots=True)
class _Hand:
    cones: Array  # (N, 12), see hand_surface
    joints: Array  # (14, 3) mm, the camera's frame
    visible: list[bool]  # 14
    centre: Array  # (3,) mm
    lengths: Array  # (15,) mm
    angles: Array  # (23,) rad


def draw_angles(rng: np.random.Generator) -> Array:
    """Returns a random pose (23,) rad within LIMITS: each finger open, half bent or closed, often as its neighbour."""
    angles = np.zeros(len(LIMITS))
    spread = rng.uniform(0.0, 1.0)
    kind = rng.integers(3)
    for finger in range(4):
        if rng.random() < 0.4:
            kind = rng.integers(3)
        curl = (0.12, 0.5, 0.9)[kind] + 0.12 * rng.standard_normal()
        flexion, pip = 70.0 * curl + 12.0 * rng.standard_normal(), 95.0 * curl + 12.0 * rng.standard_normal()
        # A bent finger can hardly be spread, because the ligaments at the knuckle are then taut.
        open_ = max(0.0, 1.0 - abs(flexion) / 80.0)
        rest, wide = ((5.0, 12.0), (0.0, 3.0), (-4.0, -6.0), (-8.0, -18.0))[finger]
        abduction = rest + wide * spread * open_ + 4.0 * rng.standard_normal() * (0.3 + open_)
        dip = pip * (2.0 / 3.0) + 8.0 * rng.standard_normal()
        angles[4 * finger:4 * finger + 4] = np.radians([flexion, abduction, pip, dip])
    across = rng.uniform(0.0, 1.0)  # thumb beside the palm, or across it
    angles[16:21] = np.radians([
        -15.0 + 55.0 * across, rng.uniform(-15.0, 30.0), rng.normal(-5.0, 15.0),
        15.0 + 25.0 * across + 12.0 * rng.standard_normal(), 12.0 + 25.0 * across + 18.0 * rng.standard_normal()])
    angles[21:23] = np.radians([rng.normal(0.0, 22.0), rng.normal(0.0, 10.0)])
    return np.clip(angles, LIMITS[:, 0], LIMITS[:, 1])


def _check(config: Any) -> None:
    if min(config.height, config.width) < 1:
        raise UserError("hands: height and width must be at least 1 px")
    for name in ("off_axis_deg", "centre_jitter_mm"):
        if getattr(config, name) < 0:
            raise UserError(f"hands: {name} must be at least 0")
    if config.cube_mm <= 0 or config.num_tries < 1:
        raise UserError("hands: cube_mm must be above 0 and num_tries at least 1")
    for name in ("distance_mm", "size", "thickness"):
        low, high = getattr(config, name)
        if not 0 < low <= high:
            raise UserError(f"hands: {name} must be two positive values, the smaller first, got {low} and {high}")
    if config.distance_mm[0] < 300:
        raise UserError("hands: distance_mm must be at least 300, because a nearer finger could reach the camera")
