"""A moment in space and time between two photographs: points of both, moved by time and seen by a moving camera.

Wang et al., "3D Moments from near-duplicate photos", CVPR 2022, with colours in place of learned features: alignment,
flow and depth give each pixel a place at both ends; points move on straight lines, are drawn from both ends, and blend.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from migaki.ops.geometry.flow import FlowSettings, inconsistency, optical_flow, sampled
from migaki.ops.geometry.splat import fill_holes, splat

Array = np.ndarray[Any, Any]

_CONSISTENT = 2.0  # px by which flow there and back may miss
_QUIET = 0.75  # share of the matches, the least moved, among which the background is sought
_TRIES = 200  # of the random search for the background's motion
_FIT = 1.0  # px by which a match of the background may miss
_NEARER = 20.0  # exponent by which the nearest point outweighs the farthest
_COVERED = 0.25  # share of a pixel that points must cover; less is a hole
_RIM = 0.05  # relative step of depth that hides something behind


Placing = Callable[[Array, Array], Array]
"""From places (..., 2) in px and depths (...) of one photograph to points (..., 3) in the first camera's axes."""


@dataclass(frozen=True, slots=True)
class Cloud:
    """Points of one photograph with their places at both times, in the first camera's axes.

    Shape: start, end (N, 3) float32, z forward; colours (N, 3) in [0, 1]
    """

    start: Array
    end: Array
    colours: Array


def background_motion(flow: Array, seed: int) -> Array:
    """Returns the homography (3, 3) that moves pixels of the background as the flow (2, H, W) does; float64.

    Of every tenth pixel along both axes, those that move least; the motion that most of them follow to 1 px. The
    identity where too few agree.
    """
    _, height, width = flow.shape
    rows, columns = (index.ravel() for index in np.mgrid[0:height:10, 0:width:10])
    moved = flow[:, rows, columns]
    quiet = np.hypot(*moved) <= np.quantile(np.hypot(*moved), _QUIET)
    source = np.stack([columns, rows], 1)[quiet].astype(np.float64)
    target = source + moved.T[quiet]
    draw, best = np.random.default_rng(seed), np.zeros(len(source), bool)
    if len(source) < 8:
        return np.eye(3)
    for _ in range(_TRIES):
        chosen = draw.choice(len(source), 4, replace=False)
        inliers = _misses(homography(source[chosen], target[chosen]), source, target) < _FIT
        if inliers.sum() > best.sum():
            best = inliers
    return homography(source[best], target[best]) if best.sum() >= max(8, 0.3 * len(source)) else np.eye(3)


def homography(source: Array, target: Array) -> Array:
    """Returns the matrix (3, 3) of the projective map from places (K, 2) to others, K >= 4, by least squares (DLT)."""
    scales = []
    flat = []
    for places in (source, target):
        middle = places.mean(0)
        size = max(float(np.linalg.norm(places - middle, axis=1).mean()), 1e-9) / np.sqrt(2)
        scales.append(np.array([[1 / size, 0, -middle[0] / size], [0, 1 / size, -middle[1] / size], [0, 0, 1]]))
        flat.append((places - middle) / size)
    (x, y), (u, v) = flat[0].T, flat[1].T
    one, none = np.ones_like(x), np.zeros_like(x)
    rows = np.concatenate([np.stack([x, y, one, none, none, none, -u * x, -u * y, -u], 1),
                           np.stack([none, none, none, x, y, one, -v * x, -v * y, -v], 1)])
    found = np.linalg.inv(scales[1]) @ np.linalg.svd(rows)[2][-1].reshape(3, 3) @ scales[0]
    return np.asarray(found / found[2, 2]) if abs(found[2, 2]) > 1e-12 else np.eye(3)


def moved_places(matrix: Array, places: Array) -> Array:
    """Returns places (..., 2) after the projective map `matrix` (3, 3)."""
    whole = places @ matrix[:, :2].T + matrix[:, 2]
    return np.asarray(whole[..., :2] / np.where(np.abs(whole[..., 2:]) > 1e-9, whole[..., 2:], 1e-9))


def _misses(matrix: Array, source: Array, target: Array) -> Array:
    return np.asarray(np.linalg.norm(moved_places(matrix, source) - target, axis=1))


def both_flows(first: Array, second: Array, settings: FlowSettings) -> tuple[Array, Array]:
    """Returns the flow (2, H, W) from one photograph (H, W, 3) to the other, and back."""
    return optical_flow(first, second, settings), optical_flow(second, first, settings)


def clouds(first: Array, second: Array, depths: tuple[Array, Array], focal: float, flows: tuple[Array, Array],
           moved: Array | None = None) -> tuple[Cloud, Cloud]:
    """Returns the points of both photographs; `flows` are those of `both_flows`.

    `moved` (3, 4) is the second camera in the first one's axes, if it is known. Else the camera's motion is taken off
    as far as a homography of the background says, and the second depth is scaled to the first by the mean ratio where
    both are known. Pixels without a sure match move as those around do.

    Shape: first, second (H, W, 3) float32 in [0, 1]; depths (H, W) above 0; focal in px
    """
    there, back = flows
    gaps = inconsistency(there, back), inconsistency(back, there)
    size = depths[0].shape

    def from_first(places: Array, depth: Array) -> Array:
        return lifted(places, depth, focal, size)

    if moved is None:
        align = np.linalg.inv(background_motion(there, 0))  # from the second picture to the first one's view
        depths = depths[0], depths[1] * _ratio(depths, there, gaps[0])

    def from_second(places: Array, depth: Array) -> Array:
        if moved is None:
            return lifted(moved_places(align, places), depth, focal, size)
        return np.asarray(lifted(places, depth, focal, size) @ moved[:, :3].T + moved[:, 3])

    ahead = _cloud(first, depths, there, gaps[0], (from_first, from_second))
    behind = _cloud(second, (depths[1], depths[0]), back, gaps[1], (from_second, from_first))
    return ahead, Cloud(behind.end, behind.start, behind.colours)


def _ratio(depths: tuple[Array, Array], flow: Array, gap: Array) -> float:
    sure = gap <= _CONSISTENT
    if not sure.any():
        return 1.0
    rows, columns = np.mgrid[: flow.shape[1], : flow.shape[2]].astype(np.float32)
    other = sampled(depths[1][None], np.stack([columns, rows]) + flow)[0]
    return float((1 / other[sure]).mean() / (1 / depths[0][sure]).mean())


def _cloud(picture: Array, depths: tuple[Array, Array], flow: Array, gap: Array,
           placed: tuple[Placing, Placing]) -> Cloud:
    """The points of a picture: where they are at its own time, and where flow and the other depth put them."""
    rows, columns = np.mgrid[: flow.shape[1], : flow.shape[2]].astype(np.float32)
    places = np.stack([columns, rows])
    start = placed[0](places.transpose(1, 2, 0), depths[0])
    to = places + flow
    end = placed[1](to.transpose(1, 2, 0), sampled(depths[1][None], to)[0])
    # A match that jumps to another layer is none: depths of one surface differ little between two photographs.
    ratio = np.maximum(end[..., 2], 1e-6) / np.maximum(start[..., 2], 1e-6)
    sure = (gap <= _CONSISTENT) & (np.abs(np.log(ratio)) < 0.25)
    move = np.where(sure, (end - start).transpose(2, 0, 1), 0).astype(np.float32)
    end = start + fill_holes(move, sure.astype(np.float32)).transpose(1, 2, 0)
    behind, colours, hidden = rims(depths[0], picture)
    rest = placed[0](places.transpose(1, 2, 0), behind)[hidden]  # what is hidden is taken to rest
    return Cloud(np.concatenate([start.reshape(-1, 3), rest]).astype(np.float32),
                 np.concatenate([end.reshape(-1, 3), rest]).astype(np.float32),
                 np.concatenate([picture.reshape(-1, 3), colours[hidden]]).astype(np.float32))


def rims(depth: Array, picture: Array, reach: int = 12) -> tuple[Array, Array, Array]:
    """Returns depth and colour of the layer behind the rims of near things, and where it is (H, W) bool.

    A pixel is at a rim if something within `reach` px is farther by more than 5 %. What is behind it is taken from the
    nearest pixel that is no part of a near thing: its depth, and colours that spread from there.
    """
    from scipy.ndimage import distance_transform_edt, maximum_filter

    hidden = maximum_filter(depth, 2 * reach + 1) > depth * (1 + _RIM)
    # The inside of a near thing is as near to its rim as what is behind: twice the reach keeps it out.
    near = maximum_filter(depth, 4 * reach + 1) > depth * (1 + _RIM)
    if near.all() or not hidden.any():
        return depth, picture, np.zeros_like(hidden)
    at = distance_transform_edt(near, return_distances=False, return_indices=True)
    behind = depth[at[0], at[1]]
    hidden &= behind > depth * (1 + _RIM)
    colours = fill_holes(np.ascontiguousarray(picture.transpose(2, 0, 1)), (~near).astype(np.float32))
    return behind, colours.transpose(1, 2, 0), hidden


def lifted(places: Array, depth: Array, focal: float, size: tuple[int, ...]) -> Array:
    """Returns the points (..., 3) at places (..., 2) in px and depths (...), the optical axis through the middle."""
    height, width = size
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    return np.concatenate([(places - middle) * (depth / focal)[..., None], depth[..., None]], -1)


def drawn(pair: tuple[Cloud, Cloud], time: float, camera: Array, focal: float, size: tuple[int, int]
          ) -> tuple[Array, Array]:
    """Returns what a camera sees at a time from 0 to 1; `camera` (3, 4) is its pose in the first camera's axes.

    Shape: the picture (3, H, W) in [0, 1], and its depth (H, W)
    """
    height, width = size
    sums, total = np.zeros((5, height, width), np.float32), np.zeros((height, width), np.float32)
    nearest = min(float(np.quantile(cloud.start[:, 2], 0.01)) for cloud in pair)
    for cloud, share in zip(pair, (1 - time, time), strict=True):
        points = ((1 - time) * cloud.start + time * cloud.end - camera[:, 3]) @ camera[:, :3]
        ahead = points[:, 2] > 0.1 * nearest
        if share <= 0 or not ahead.any():
            continue
        points = points[ahead]
        places = points[:, :2] / points[:, 2:] * focal + np.array([(width - 1) / 2, (height - 1) / 2])
        # Softmax of 1 / depth: of two points on one pixel the nearer one counts.
        weights = share * np.exp(_NEARER * (np.minimum(nearest / points[:, 2:], 2) - 1))
        # The last value makes the sum of the shares alone: far points weigh little, and are there all the same.
        values = np.concatenate([cloud.colours[ahead], 1 / points[:, 2:], share / weights], 1)
        part, weight = splat(places, values, weights[:, 0], height, width)
        sums, total = sums + part, total + weight
    known = sums[4] > _COVERED
    mean = np.where(known, sums[:4] / np.where(known, total, 1), 0).astype(np.float32)
    whole = fill_holes(mean, known.astype(np.float32))
    return np.asarray(whole[:3].clip(0, 1)), np.asarray(1 / np.maximum(whole[3], 1e-9))
