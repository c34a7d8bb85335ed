"""Eye patches with gaze labels, from UnityEyes' assets or a built-in eye, with one renderer (see docs/eyes.md)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from migaki.core.batch import Batch, Key
from migaki.core.errors import UserError
from migaki.core.simulator import Simulator
from migaki.simulate.eye_model import assets
from migaki.simulate.eye_model.builtin_shape import build_geometry
from migaki.simulate.eye_model.builtin_skin import NUM_SKINS, paint_textures
from migaki.simulate.eye_model.landmarks import LABELS
from migaki.simulate.eye_model.parts import EyeParts
from migaki.simulate.eye_model.renderer import render_range
from migaki.simulate.eye_model.scene import LIGHTING, EyeConfig, draw_scenes

MM_PER_UV = 63.0  # of UnityEyes' skin textures


class EyeSimulator(Simulator):
    """Renders eye patches with labels.

    Returns, first axis B: `image` (C, H, W) in [0, 1]; `gaze`, `optical_gaze` (2) pitch, yaw in rad of the line of
    sight and the eyeball's axis; `gaze_vector` (3); `head_pose` (3) pitch, yaw, roll in rad; `pupil_centre` (2) px x,
    y; `iris_outline` (16, 2) px with `iris_visible`; `eyelid_outline` (16, 2) px with `eyelid_visible`; `eye_corners`
    (2, 2) px inner, outer; unless the config leaves it out `mask` (H, W) 0 skin, 1 sclera, 2 iris, 3 pupil;
    `pupil_radius_mm`; `kappa` (2) rad; `identity`; `lighting` (K) (`scene.LIGHTING` names its columns). Pixel centres
    are at integers; angles follow MPIIGaze: vector = (-cos p sin y, -sin p, -cos p cos y). The nose is on the left.
    Raises UserError for assets that cannot be read. Source: Wood et al., ETRA 2016 (UnityEyes).
    """

    Config = EyeConfig
    # The normalised camera frame: x right, y down, z away; gaze g = (-cos p sin y, -sin p, -cos p cos y).
    keys = (
        Key(name="gaze", shape=("2",), unit="rad, pitch and yaw of the line of sight",
            columns=("gaze_pitch", "gaze_yaw"), kind="directions"),
        Key(name="optical_gaze", shape=("2",), unit="rad, pitch and yaw of the eyeball's optical axis",
            columns=("optical_pitch", "optical_yaw"), kind="directions"),
        Key(name="gaze_vector", shape=("3",), unit="unit vector", kind="directions"),
        Key(name="head_pose", shape=("3",), unit="rad, pitch, yaw, roll",
            columns=("head_pitch", "head_yaw", "head_roll"), kind="directions"),
        Key(name="side", shape=(), unit="0 left, 1 right eye", kind="directions"),
        Key(name="pupil_centre", shape=("2",), unit="px, x y", columns=("pupil_x", "pupil_y"), kind="points"),
        Key(name="iris_outline", shape=("16", "2"), unit="px, x y", kind="points"),
        Key(name="iris_visible", shape=("16",), unit="0 or 1"),
        Key(name="eyelid_outline", shape=("16", "2"), unit="px, x y", kind="points"),
        Key(name="eyelid_visible", shape=("16",), unit="0 or 1"),
        Key(name="eye_corners", shape=("2", "2"), unit="px, x y; inner, outer", kind="points"),
        Key(name="pupil_radius_mm", shape=(), unit="mm"),
        Key(name="kappa", shape=("2",), unit="rad, visual against optical axis, pitch and yaw"),
        Key(name="identity", shape=(), unit="index of the skin"),
        Key(name="lighting", shape=("K",), unit="see the simulator"),
    )

    def __init__(self, config: EyeConfig) -> None:
        self.config: EyeConfig = config
        self._identities = self._chosen_identities()
        self._parts: EyeParts | None = None
        self._table = _read_table(config)

    def render(self, seed: int, indices: Sequence[int]) -> Batch:
        """Render the images `indices` of `seed`; see the class for the keys."""
        parts = self._load()
        config, places = self.config, np.asarray(indices, np.int64).reshape(-1)
        counts = (len(self._identities), len(parts.textures.iris), len(parts.geometry.components))
        scenes, coefficients = draw_scenes(config, seed, places, counts, self._table)
        images = np.empty((len(places), config.channels, config.height, config.width), np.float32)
        masks = np.empty((len(places), config.height, config.width), np.uint8)
        labels = np.zeros(len(places), LABELS)

        def work(start: int, stop: int) -> None:
            render_range(parts.geometry, parts.textures, scenes, coefficients, config.supersample, start, stop,
                         images, masks, labels)

        in_threads(work, len(places), config.threads)
        return _to_batch(images, masks if config.mask else None, labels, scenes, self._identities)

    def _chosen_identities(self) -> tuple[int, ...]:
        known = len(assets.skin_names(self.config.assets)) if self.config.assets else NUM_SKINS
        chosen = self.config.identities or tuple(range(known))
        if not all(0 <= identity < known for identity in chosen):
            raise UserError(f"eyes: identities {chosen} are not all within 0..{known - 1}; choose from these")
        return chosen

    def _load(self) -> EyeParts:
        if self._parts is None:
            config = self.config
            across = MM_PER_UV * 1.6 * config.width / 60 * 1.5  # texels per pixel, with a margin
            size = int(min(max(2 ** np.ceil(np.log2(across)), 128), 1024))
            self._parts = load_parts(config.assets, self._identities, size, config.channels)
        return self._parts


@lru_cache(maxsize=4)
def load_parts(folder: Path | None, identities: tuple[int, ...], size: int, num_channels: int) -> EyeParts:
    """Load the parts; they are read-only and shared by the simulators of a process."""
    if folder is not None:
        return assets.load_parts(folder, identities, size, num_channels)
    textures = paint_textures(identities, size, num_channels)
    return EyeParts(geometry=build_geometry(), textures=textures)


def in_threads(work: Any, count: int, threads: int) -> None:
    """Call work(start, stop) for equal ranges of 0..count, one per thread."""
    wanted = threads or int(os.environ.get("NUMBA_NUM_THREADS", 0)) or len(os.sched_getaffinity(0))
    wanted = max(1, min(wanted, count))
    edges = [count * t // wanted for t in range(wanted + 1)]
    if wanted == 1:
        work(0, count)
        return
    with ThreadPoolExecutor(wanted) as pool:
        list(pool.map(work, edges[:-1], edges[1:]))


def _read_table(config: EyeConfig) -> NDArray[np.float64] | None:
    """Returns rows of gaze (and head) angles to draw from, rad. Shape: (N, 2..5)."""
    path = config.gaze_table
    if path is None or config.gaze_prior != "table":
        return None
    try:
        table = np.load(path) if path.suffix == ".npy" else np.loadtxt(path, delimiter=",", ndmin=2)
    except (OSError, ValueError, EOFError, SyntaxError, RecursionError, MemoryError) as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"{path}: cannot be read as a table ({reason}); give a .npy or .csv of numbers") from None
    if not isinstance(table, np.ndarray) or table.dtype.kind not in "fiu":  # such as an archive of arrays
        raise UserError(f"{path}: holds no table of numbers; give a .npy or .csv of numbers")
    if table.ndim != 2 or not 2 <= table.shape[1] <= 5 or not len(table) or not (np.abs(table) <= np.pi / 2).all():
        raise UserError(f"{path}: expected 2 to 5 columns of angles in rad within +-pi/2; convert it")
    return table.astype(np.float64)


def _to_batch(
    images: NDArray[np.float32], masks: NDArray[np.uint8] | None, labels: NDArray[Any], scenes: NDArray[Any],
    identities: tuple[int, ...],
) -> Batch:
    def columns(*names: str) -> torch.Tensor:
        return torch.from_numpy(np.stack([scenes[name] for name in names], 1).astype(np.float32))

    batch = {"image": torch.from_numpy(images)}
    if masks is not None:
        batch["mask"] = torch.from_numpy(masks)
    for name in LABELS.names or ():
        batch[name] = torch.from_numpy(np.ascontiguousarray(labels[name]))
    batch["head_pose"] = columns("head_pitch", "head_yaw", "head_roll")
    batch["kappa"] = columns("kappa_pitch", "kappa_yaw")
    batch["lighting"] = columns(*LIGHTING)
    batch["pupil_radius_mm"] = columns("pupil_radius")[:, 0]
    batch["identity"] = torch.from_numpy(np.asarray(identities, np.int64)[scenes["skin"]])
    return batch
