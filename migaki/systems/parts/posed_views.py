"""What every field shares: posed views opened, the configuration completed from them, cameras kept for tours."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.data.batches.ray_pixels import RayPixels, divide_views, evenly
from migaki.data.folder import ImageFolder
from migaki.data.sets.scenes import scene_of

C = TypeVar("C")

_PIECE = 4096  # rays that are rendered at once

CAMERAS = 64
"""Most cameras that a field keeps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewOptions:
    """The views, and what the set says if nothing else is asked for."""

    channels: int = 0  # 0 = as the data; a field has 3
    height: int = 0  # px, of the pictures; 0 = as the data
    width: int = 0  # px; 0 = as the data
    bounds: tuple[float, ...] = ()  # x0 y0 z0 x1 y1 z1 of the box, scene units; none = as the data
    background: tuple[float, ...] = ()  # r g b behind the box; none = as the data, or black
    near: float = 0.0  # scene units, where rays begin; 0 = as the data
    far: float = 0.0  # scene units, where they end; 0 = as the data
    last_rate: float = 0.1  # share of the learning rate at the end; it falls exponentially
    hold_out: int = 8  # every so many-th view is held out, if no row says split; 0 = none


@dataclass(frozen=True, kw_only=True, slots=True)
class GridOptions(ViewOptions):
    """A grid of voxels and how it is learned; the defaults are those of a field of pictures."""

    space: Literal["", "box", "all"] = ""  # what the grid holds; none: the box before a known background, else all
    sides: tuple[int, ...] = (48, 96, 160)  # cells along a side, stage by stage
    begins: tuple[float, ...] = (0.03, 0.12)  # shares of the steps after which the second, third ... stage begins
    rows: int = 600_000  # vertices that may hold something
    degree: int = 1  # of the spherical harmonics: 0 = the same colour from everywhere, 1 or 2
    activation: Literal["linear", "sigmoid", "exponential"] = "linear"  # from harmonics to colours
    step: tuple[float, ...] = (1.0, 0.5)  # cells between samples, stage by stage; the last holds for later ones
    carvings: int = 4  # parts of a stage, each twice as long as the last, after which dark cells are given up
    faint: float = 1e-4  # opacity under which a sample is left out
    opaque: float = 1e-3  # share of light under which a ray ends
    alpha: float = 1e-3  # opacity of a cell at the start
    keep: float = 1e-2  # largest weight under which a cell is given up between stages
    steps: int = 20_000  # updates
    batch_size: int = 1024  # rays
    learning_rate: float = 0.1  # of Adam, on harmonics
    density_rate: float = 2.0  # times the learning rate, on raw densities
    view_rate: float = 0.25  # times the learning rate, on harmonics above the first
    clear: float = 1e-3  # weight of the entropy of what passes a ray: it is all or nothing (DVGO)
    smooth_density: float = 1e-9  # weight of the total variation of raw densities
    smooth_colour: float = 1e-9  # weight of the total variation of harmonics
    max_norm: float = 0.0  # gradient clipping, of the torch engine; 0 = off
    shown: int = 3  # held-out views that are rendered while it learns
    engine: Literal["auto", "compiled", "torch"] = "auto"  # auto: compiled kernels on a CPU, torch on a GPU


@dataclass(frozen=True, kw_only=True, slots=True)
class PosedPictures:
    """The posed pictures."""

    data: Path  # pictures of one scene with camera_to_world and intrinsics


def tiny_views() -> Batch:
    """Four rays and four views of 12x12 px of a box round the origin."""
    draw = torch.Generator().manual_seed(0)
    pose = torch.eye(3, 4).repeat(4, 1, 1)
    pose[:, :, 3] = torch.tensor([0.1, -0.2, -4.0]) + 0.3 * torch.rand(4, 3, generator=draw)
    towards = torch.nn.functional.normalize(0.5 * torch.rand(4, 3, generator=draw) - pose[:, :, 3], dim=1)
    return {"ray_origin": pose[:, :, 3].clone(), "ray_direction": towards,
            "ray_colour": torch.rand(4, 3, generator=draw), "image": torch.rand(4, 3, 12, 12, generator=draw),
            "camera_to_world": pose, "intrinsics": torch.tensor([20.0, 20.0, 6.0, 6.0]).repeat(4, 1)}


def open_views(data: PosedPictures, config: Any) -> ImageFolder:
    """Returns the posed set `data.data` in the size of the configuration; UserError for pictures without cameras."""
    if bool(config.height) != bool(config.width):
        raise UserError(f"--height {config.height} --width {config.width}: give both, or neither for the size of the "
                        "data")
    size = (config.height, config.width) if config.height else None
    folder = ImageFolder(data.data, size=size, channels=3)
    folder.require("camera_to_world", "intrinsics")
    return folder


def completed(config: C, folder: ImageFolder) -> C:
    """The configuration (with channels, height, width, bounds, background, near and far) with what the set says."""
    given: Any = config
    scene = scene_of(folder)
    _, height, width = folder.shape
    found: C = replace(given, channels=3, height=height, width=width, bounds=given.bounds or scene.bounds,
                       background=given.background or scene.background or (0.0, 0.0, 0.0),
                       near=given.near or scene.near, far=given.far or scene.far)
    return found


def space_of(config: Any, folder: ImageFolder) -> Literal["box", "all"]:
    """Returns what a grid holds: `box` before a known background, else `all` of space, unless the configuration says.
    """
    asked: Literal["", "box", "all"] = config.space
    return asked or ("box" if config.background or scene_of(folder).background else "all")


def ray_source(config: Any, folder: ImageFolder, seed: int) -> RayPixels:
    """The rays of the views that are learned from, and some views that are held out."""
    learned, held = divide_views(folder, config.hold_out)
    shown = evenly(held, config.shown)
    return RayPixels(folder.select(learned), config.batch_size, seed, folder.select(shown) if shown else None)


def check_views(name: str, config: Any) -> None:
    """UserError for a size, a box or distances that cannot be."""
    if config.channels != 3 or min(config.height, config.width) < 1:
        raise UserError(f"{name}: pictures have 3 channels and a size: give --data a posed set")
    if len(config.bounds) != 6 or any(low >= high for low, high in zip(config.bounds[:3], config.bounds[3:],
                                                                       strict=True)):
        raise UserError("--bounds: give x0 y0 z0 x1 y1 z1 of the box, the second three above the first")
    if not all(math.isfinite(value) for value in config.bounds) or not 0 <= config.near < config.far:
        raise UserError(f"--near {config.near:g} --far {config.far:g}: rays begin before they end")
    if len(config.background) != 3 or not all(0 <= part <= 1 for part in config.background):
        raise UserError("--background: give r g b from 0 to 1")


def in_pieces(shade: Callable[[Tensor, Tensor], tuple[Tensor, ...]], origins: Tensor,
              towards: Tensor) -> tuple[Tensor, ...]:
    """What `shade` makes of rays (N, 3), a few thousand at a time; all at once in a graph for export, where N is open.
    """
    if torch.compiler.is_exporting():
        return shade(origins, towards)
    pieces = zip(torch.split(origins, _PIECE), torch.split(towards, _PIECE), strict=True)
    parts = [shade(*piece) for piece in pieces]
    return tuple(torch.cat(part) for part in zip(*parts, strict=True))


def by_views(render: Callable[[Tensor, Tensor], Batch], batch: Batch) -> Batch:
    """What cameras see, view by view, so that the rays of one are in memory; all at once in a graph for export."""
    poses, lenses = batch["camera_to_world"], batch["intrinsics"]
    if torch.compiler.is_exporting():
        return render(poses, lenses)
    views = [render(*pair) for pair in zip(torch.split(poses, 1), torch.split(lenses, 1), strict=True)]
    return {key: torch.cat([view[key] for view in views]) for key in views[0]}


class KeptCameras(nn.Module):
    """Some of the cameras that a field has learned from, evenly chosen, and a lens: where a tour may go."""

    poses: Tensor
    lens: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("poses", torch.eye(3, 4).repeat(CAMERAS, 1, 1))
        self.register_buffer("lens", torch.tensor([1.0, 1.0, 0.5, 0.5]))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def keep(self, folder: ImageFolder, learned: list[int]) -> None:
        """Keep some of the views `learned` of a posed set."""
        chosen = evenly(learned, CAMERAS)
        self.poses[: len(chosen)] = folder.read_label("camera_to_world", chosen).float()
        self.lens.copy_(folder.read_label("intrinsics", chosen[:1])[0])
        self.count.fill_(len(chosen))
