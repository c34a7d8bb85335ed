"""Optical flow between two pictures: total variation and L1, coarse to fine, with weighted medians between.

Zach et al., DAGM 2007 (TV-L1); Wedel et al., "An improved algorithm for TV-L1 optical flow", 2009 (texture, medians);
Werlberger et al., "Anisotropic Huber-L1 optical flow", BMVC 2009 (Huber, edges); Sun et al., CVPR 2010, section 5
(weighted median).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from migaki.ops.geometry.flow_kernels import descend, linearise
from migaki.ops.geometry.weighted_median import weighted_median

Array = np.ndarray[Any, Any]

_SMALLEST = 16  # px, shorter side of the coarsest level
_STEP = 1 / 32  # px, bins of the weighted median


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowSettings:
    """How flow is computed; chosen as docs/geometry.md says."""

    weight: float = 40.0  # of the brightness constancy, whose values lie in [0, 1], beside the variation of the flow
    huber: float = 0.01  # px per px: smaller changes of the flow count by their square
    edge_scale: float = 8.0  # of exp(-scale |gradient|^power), the weight of the variation
    edge_power: float = 0.8
    texture: float = 0.0  # share of the smooth part of a picture that is taken off, against changes of light
    smooth: float = 4.0  # px, width of that part
    ratio: float = 0.7  # size of a level by that of the next finer one
    warps: int = 6  # linearisations at each level
    rounds: int = 30  # steps of the descent after each
    radius: int = 3  # px, half the side of the weighted median's window
    colour: float = 0.06  # of [0, 1]: difference of colour at which a weight falls to 1/e
    place: float = 7.0  # px: distance at which a weight falls to 1/e


def optical_flow(first: Array, second: Array, settings: FlowSettings) -> Array:
    """Returns the flow: what the first picture shows at p, the second shows at p + flow(p).

    Shape: first, second (H, W, C) float32 in [0, 1]; result (2, H, W) float32 px, x before y
    """
    views = [np.ascontiguousarray(view, np.float32) for view in (first, second)]
    flow: Array | None = None
    for height, width in _levels(first.shape[0], first.shape[1], settings.ratio):
        small = [_resized(view.transpose(2, 0, 1), (height, width)).transpose(1, 2, 0) for view in views]
        start = np.zeros((2, height, width), np.float32) if flow is None else _grown(flow, (height, width))
        flow = _at_level(small[0], small[1], start, settings)
    assert flow is not None
    return flow


def inconsistency(forward: Array, backward: Array) -> Array:
    """Returns |forward(p) + backward(p + forward(p))| in px, (H, W) float32; infinite where p leaves the picture.

    Small values mean that both directions agree (Sundaram et al., ECCV 2010); 2 px is a usual limit.
    """
    _, height, width = forward.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    to = np.stack([columns, rows]) + forward
    inside = (to >= 0).all(0) & (to[0] <= width - 1) & (to[1] <= height - 1)
    away = np.hypot(*(forward + sampled(backward, to)))
    return np.where(inside, away, np.inf).astype(np.float32)


def sampled(values: Array, places: Array) -> Array:
    """Returns values (C, H, W) at places (2, ...) in px, x before y, bilinearly; the edge goes on."""
    height, width = values.shape[1:]
    x, y = places[0].clip(0, width - 1), places[1].clip(0, height - 1)
    left, top = np.minimum(x.astype(np.int64), width - 2), np.minimum(y.astype(np.int64), height - 2)
    left, top = left.clip(0), top.clip(0)
    right, below = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    a, b = (x - left).astype(np.float32), (y - top).astype(np.float32)
    found: Array = ((1 - b) * ((1 - a) * values[:, top, left] + a * values[:, top, right])
                    + b * ((1 - a) * values[:, below, left] + a * values[:, below, right]))
    return found


def _levels(height: int, width: int, ratio: float) -> list[tuple[int, int]]:
    """The sizes of the pyramid, the coarsest first."""
    sizes, scale = list[tuple[int, int]](), 1.0
    while True:
        sizes.append((max(1, round(height * scale)), max(1, round(width * scale))))
        scale *= ratio
        if min(height, width) * scale < _SMALLEST:
            return sizes[::-1]


def _resized(planes: Array, size: tuple[int, int]) -> Array:
    """Planes (C, H, W) at another size, bilinearly; without aliasing where it is smaller."""
    if planes.shape[1:] == size:
        return planes
    tensor = torch.from_numpy(np.ascontiguousarray(planes))[None]
    return np.asarray(F.interpolate(tensor, size, mode="bilinear", antialias=True)[0].numpy())


def _grown(flow: Array, size: tuple[int, int]) -> Array:
    factor = np.array([size[1] / flow.shape[2], size[0] / flow.shape[1]], np.float32)
    return np.ascontiguousarray(_resized(flow, size) * factor[:, None, None])


def _at_level(first: Array, second: Array, flow: Array, settings: FlowSettings) -> Array:
    textures = [_texture(view.mean(2), settings) for view in (first, second)]
    slope_x, slope_y = _slope(textures[0], 1), _slope(textures[0], 0)
    grey = first.mean(2)
    steep = np.hypot(_slope(grey, 1), _slope(grey, 0))
    edges = np.maximum(np.exp(-settings.edge_scale * steep**settings.edge_power), 1e-3).astype(np.float32)
    duals = np.zeros((4, *grey.shape), np.float32)
    everywhere = np.ones(grey.shape, bool)
    for _ in range(settings.warps):
        data = linearise(textures[0], textures[1], slope_x, slope_y, flow)
        new = flow.copy()
        descend(new, flow, data, edges, duals, settings.weight, settings.huber, settings.rounds)
        flow = np.stack([weighted_median(plane, first, everywhere, everywhere, radius=settings.radius,
                                         colour=settings.colour, place=settings.place, step=_STEP) for plane in new])
    return flow


def _texture(grey: Array, settings: FlowSettings) -> Array:
    from scipy.ndimage import gaussian_filter

    return np.asarray(grey - settings.texture * gaussian_filter(grey, settings.smooth, mode="nearest"), np.float32)


def _slope(grey: Array, axis: int) -> Array:
    """The derivative along an axis, by five points: (-1, 8, 0, -8, 1) / 12."""
    from scipy.ndimage import correlate1d

    weights = np.array([1, -8, 0, 8, -1], np.float32) / 12
    return np.asarray(correlate1d(grey, weights, axis, mode="nearest"), np.float32)
