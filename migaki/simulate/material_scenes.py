"""Scenes of one thing made of a material, lit from one side, over another material or photographs, with exact masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.seeds import fold
from migaki.core.simulator import Simulator
from migaki.simulate.scene_grounds import Photographs, clutter, to_planes
from migaki.simulate.texture_painter import KINDS, paint_texture

Array = npt.NDArray[np.float32]
Interval = tuple[float, float]

_GAMMA = 2.2  # of the shading, which multiplies light


class MaterialScenes(Simulator):
    """Fills a random shape with a texture, shades it like a bulging surface, and puts it over a ground.

    Returns, first axis B: `image` (3, S, S) in [0, 1]; `mask` (S, S) 0 ground, 1 and up the materials; `label` the
    material of the shape. Textures are drawn, or cut from the photographs of a folder of class folders. Raises
    UserError for a folder without them.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Intervals are uniform."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "size textures grounds"}

        size: int = 96  # px, height and width of the image
        textures: Path | None = None  # a folder with a folder of pictures for each material; none: drawn ones
        grounds: Path | None = None  # a folder of photographs; none: clutter made from nothing
        extent: Interval = (0.25, 0.38)  # mean radius of the shape, shares of the image's side
        shading: Interval = (0.15, 0.5)  # how much darker the far side is than the lit one
        noise: float = 0.01  # standard deviation of the sensor's noise

        def __post_init__(self) -> None:
            if not 16 <= self.size <= 1024:
                raise UserError(f"material_scenes: size is {self.size}, it must lie between 16 and 1024 px")
            if not 0.1 <= self.extent[0] <= self.extent[1] <= 0.45:
                raise UserError("material_scenes: extent lies within 0.1 and 0.45, a lower and an upper end")
            if not 0 <= self.shading[0] <= self.shading[1] <= 0.9 or not 0 <= self.noise <= 0.5:
                raise UserError("material_scenes: shading lies within 0 and 0.9, noise between 0 and 0.5")

    config: Config

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or self.Config()
        self._grounds = None if self.config.grounds is None else Photographs(self.config.grounds)
        self._textures: dict[str, Photographs] | None = None
        if self.config.textures is not None:
            self._textures = _opened(self.config.textures)
        self._materials = tuple(KINDS if self._textures is None else self._textures)

    @property
    def names(self) -> dict[str, Any]:
        """The names of the labels, and of the indices of the mask."""
        return {"classes": list(self._materials), "mask_classes": ["background", *self._materials]}

    def render(self, seed: int, indices: Sequence[int]) -> Batch:
        """Draw the scenes; scene i depends on (config, seed, i) alone, and its material on i."""
        scenes = [self._scene(fold(seed, index), index % len(self._materials)) for index in indices]
        return {key: torch.from_numpy(np.stack([scene[key] for scene in scenes])) for key in scenes[0]}

    def _scene(self, seed: int, label: int) -> dict[str, npt.NDArray[Any]]:
        config, size, draw = self.config, self.config.size, np.random.default_rng(seed)
        ground = clutter(draw, size) if self._grounds is None else self._grounds.cut(draw, size)
        name = self._materials[label]
        texture = paint_texture(name, draw, size) if self._textures is None else self._textures[name].cut(draw, size)
        cover, bulge = blob(draw, size, config.extent)
        angle, depth = draw.uniform(0, 2 * np.pi), draw.uniform(*config.shading)
        y, x = np.mgrid[:size, :size].astype(np.float32) / size - 0.5
        side = 0.5 + (x * np.cos(angle) + y * np.sin(angle)) * bulge / max(config.extent[1], 0.1) / 2
        light = (1 - depth * np.clip(side, 0, 1)) * (0.75 + 0.25 * bulge)
        lit = np.clip(texture**_GAMMA * light[..., None], 0, 1) ** (1 / _GAMMA)
        picture = ground + cover[..., None] * (lit - ground)
        picture = np.clip(picture + draw.normal(0, config.noise, picture.shape), 0, 1).astype(np.float32)
        mask = np.where(cover >= 0.5, label + 1, 0).astype(np.uint8)
        return {"image": to_planes(picture), "mask": mask, "label": np.int64(label)}  # type: ignore[dict-item]


def blob(draw: np.random.Generator, size: int, extent: Interval) -> tuple[Array, Array]:
    """Returns the coverage (S, S) of a random round shape in the picture, and how far it bulges, both in [0, 1]."""
    radius = draw.uniform(*extent) * size
    numbers = np.arange(2, 6)
    heights, phases = draw.uniform(0, 0.12, 4) / np.sqrt(numbers - 1), draw.uniform(0, 2 * np.pi, 4)
    middle = draw.uniform(0.42, 0.58, 2) * size
    y, x = np.mgrid[:size, :size].astype(np.float64) + 0.5
    turn = np.arctan2(y - middle[0], x - middle[1])
    reach = radius * (1 + (heights * np.cos(numbers * turn[..., None] + phases)).sum(-1))
    away = np.hypot(y - middle[0], x - middle[1])
    cover = np.clip(reach - away + 0.5, 0, 1)
    bulge = np.sqrt(np.clip(1 - (away / reach) ** 2, 0, 1))
    return cover.astype(np.float32), bulge.astype(np.float32)


def _opened(folder: Path) -> dict[str, Photographs]:
    """The photographs of each material: one subfolder each, in the order of their names."""
    if not folder.is_dir():
        raise UserError(f"{show(folder)}: no such folder: give pictures of materials as --textures")
    inner = sorted(path for path in folder.iterdir()
                   if path.is_dir() and not path.is_symlink() and not path.name.startswith("."))
    found: dict[str, Photographs] = {}
    for path in inner:
        try:
            found[path.name] = Photographs(path)
        except UserError as error:
            raise UserError(f"{show(path)}: holds no picture: fill or remove it, or give another --textures") from error
    if not found:
        raise UserError(f"{show(folder)}: holds no folder of pictures for any material: give another --textures")
    return found
