"""All methods of explanation under their names: each makes one map (B, H, W) in the size of the images.

`random` and `centre` are no explanations: they stand beside these in every comparison, and cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.ops import attribution as pixels
from migaki.ops import attribution_layers as layers
from migaki.ops import attribution_patterns as patterns

Method = Literal["gradient", "gradient_x_input", "smooth_grad", "integrated_gradients", "guided", "occlusion", "cam",
                 "grad_cam", "pattern_net", "pattern_attribution", "dcsm"]
"""The methods."""

METHODS: Final[tuple[Method, ...]] = get_args(Method)
PATTERNED: Final = ("pattern_net", "pattern_attribution")
"""Methods that need the patterns of the model."""

SIGNED: Final = ("gradient_x_input", "integrated_gradients", "occlusion", "cam", "pattern_attribution")
"""Methods whose maps are below 0 where a pixel speaks against the class."""

FREE: Final = ("random", "centre")
"""Maps that ask no model."""

_CELLS = 7  # of the random map, along each side


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What the methods need to know; see each of them."""

    layers: tuple[str, ...] = ()
    samples: int = 25
    noise: float = 0.15
    steps: int = 50
    patch: int = 0  # px; 0 = a sixth of the shorter side
    rivals: int = 2


@pixels.differentiated
def explain(method: str, model: nn.Module, images: Tensor, targets: Tensor, seeds: Tensor, settings: Settings,
            found_patterns: patterns.Patterns | None = None) -> Tensor:
    """Returns the map (B, H, W) float32 of a method, also of one in `FREE`; higher is more important for the target.

    Shape:
        images: (B, C, H, W) in [0, 1]
        targets: (B,) int64, the classes to explain
        seeds: (B,) int64, of what is drawn

    Raises UnfitModel where a method does not apply to the model, and ValueError for settings that make no sense.
    """
    if method in PATTERNED:
        if found_patterns is None:
            raise ValueError(f"{method} needs the patterns of the model: see estimate_patterns")
        function = patterns.pattern_net if method == "pattern_net" else patterns.pattern_attribution
        values = function(model, images, targets, found_patterns)
        return pixels.added(values) if method in SIGNED else pixels.largest(values)
    if method in FREE:
        return random_map(images, seeds) if method == "random" else centre_map(images)
    if method not in _MAKERS:
        raise ValueError(f"'{method}' is no method: {', '.join(METHODS)}")
    found = _MAKERS[method](model, images, targets, seeds, settings)
    if found.shape[1:] == images.shape[2:]:
        return found
    return F.interpolate(found[:, None], images.shape[2:], mode="bilinear")[:, 0]


_Maker = Callable[[nn.Module, Tensor, Tensor, Tensor, Settings], Tensor]

_MAKERS: Final[dict[str, _Maker]] = {
    "gradient": lambda model, images, targets, seeds, s: pixels.largest(pixels.gradient(model, images, targets)),
    "gradient_x_input": lambda model, images, targets, seeds, s: pixels.added(
        pixels.gradient_x_input(model, images, targets)),
    "smooth_grad": lambda model, images, targets, seeds, s: pixels.largest(
        pixels.smooth_grad(model, images, targets, seeds, s.samples, s.noise)),
    "integrated_gradients": lambda model, images, targets, seeds, s: pixels.added(
        pixels.integrated_gradients(model, images, targets, steps=s.steps)),
    "guided": lambda model, images, targets, seeds, s: pixels.largest(pixels.guided(model, images, targets)),
    "occlusion": lambda model, images, targets, seeds, s: pixels.occlusion(
        model, images, targets, patch_of(s, images), max(1, patch_of(s, images) // 2)),
    "cam": lambda model, images, targets, seeds, s: layers.cam(model, images, targets, _only(s)),
    "grad_cam": lambda model, images, targets, seeds, s: layers.grad_cam(model, images, targets, _only(s)),
    "dcsm": lambda model, images, targets, seeds, s: _dcsm(model, images, targets, s),
}


def patch_of(settings: Settings, images: Tensor) -> int:
    """The side of occlusion's square in px; ValueError for one that hides more than the picture."""
    if settings.patch > min(images.shape[2:]):
        raise ValueError(f"the patch of occlusion has {settings.patch} px, and the picture {images.shape[3]} x "
                         f"{images.shape[2]}: choose a smaller patch")
    return settings.patch or max(2, min(images.shape[2:]) // 6)


def _only(settings: Settings) -> str:
    if len(settings.layers) > 1:
        raise ValueError("this method takes one layer")
    return settings.layers[0] if settings.layers else ""


def _dcsm(model: nn.Module, images: Tensor, targets: Tensor, settings: Settings) -> Tensor:
    """DCSM of the target against the classes with the highest scores besides it."""
    return layers.dcsm(model, images, with_rivals(model, images, targets, settings.rivals), settings.layers)[:, 0]


def with_rivals(model: nn.Module, images: Tensor, targets: Tensor, rivals: int) -> Tensor:
    """Returns (B, 1 + rivals) classes: each target, then the others with the highest scores."""
    with torch.no_grad():
        scores = pixels.all_scores(model, images.float())
    pixels.of_classes(scores, targets)
    if not 1 <= rivals < scores.shape[1]:
        raise ValueError(f"rivals must be 1 to {scores.shape[1] - 1}, the other classes")
    others = scores.scatter(1, targets[:, None].to(scores.device), -torch.inf).topk(rivals).indices
    return torch.cat([targets[:, None].to(scores.device), others], 1)


def random_map(images: Tensor, seeds: Tensor) -> Tensor:
    """A smooth map (B, H, W) of chance in [0, 1], drawn from `seeds` (B,) row by row."""
    cells = torch.stack([torch.rand(1, _CELLS, _CELLS, generator=torch.Generator().manual_seed(int(seed)))
                         for seed in seeds])
    return F.interpolate(cells, images.shape[2:], mode="bicubic")[:, 0].to(images.device)


def centre_map(images: Tensor) -> Tensor:
    """A bell (B, H, W) in the middle of each picture; its deviation is a quarter of each side."""
    rows, columns = (torch.linspace(-2, 2, side, dtype=torch.float32) for side in images.shape[2:])
    bell = torch.exp(-0.5 * (rows.square()[:, None] + columns.square()[None]))
    return bell.expand(len(images), -1, -1).to(images.device)
