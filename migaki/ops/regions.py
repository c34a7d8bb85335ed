"""Regions of pictures as outlines, as runs and as truth values (H, W), in COCO's conventions.

An outline is a list of corners x y in px, where the corner of the first pixel is (0, 0). Runs go down the columns, one
column after the other; the first one counts pixels outside of the region.

Source: the COCO API (Lin et al., "Microsoft COCO", ECCV 2014), `maskApi.c`: `rleFrPoly`, `rleFrString`. The same pixels
are in a region here as there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

Array = np.ndarray[Any, Any]

MAX_CORNERS: Final = 50_000
"""Corners of one outline, at most: each may cost as many operations as a picture has pixels in a row."""

_FINER = 5  # steps a pixel along an outline, as COCO's


def fill_outline(corners: Array, size: tuple[int, int]) -> Array:
    """The pixels (H, W) bool inside of an outline (K, 2), x y in px; `size` is (H, W).

    Raises ValueError for fewer than three corners, more than `MAX_CORNERS`, or one that lies further outside of the
    picture than the picture is large.
    """
    height, width = size
    points = np.asarray(corners, np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not 3 <= len(points) <= MAX_CORNERS:
        raise ValueError(f"an outline has 3 to {MAX_CORNERS} corners")
    extent = np.array([width, height], np.float64)
    if not ((points >= -extent) & (points <= 2 * extent)).all():
        raise ValueError("an outline lies far outside of its picture")
    steps = np.trunc(_FINER * points + 0.5).astype(np.int64)
    left = int(np.clip(points[:, 0].min() - 2, 0, width))
    right = int(np.clip(points[:, 0].max() + 3, left, width))
    toggles = np.zeros(height * (right - left) + 1, np.uint8)  # only of the columns that the outline reaches
    for start, end in zip(steps, np.roll(steps, -1, axis=0), strict=True):
        np.add.at(toggles, _crossings(start, end, height, width) - left * height, 1)
    region = np.zeros((width, height), np.bool_)
    region[left:right] = np.bitwise_xor.accumulate(toggles[:-1] & 1).reshape(right - left, height)
    return region.T


def _crossings(start: Array, end: Array, height: int, width: int) -> Array:
    """Where a line between two points of the finer grid crosses the middles of columns: places in the runs."""
    (xs, ys), (xe, ye) = (start.tolist(), end.tolist())
    across, down = abs(xe - xs), abs(ye - ys)
    if not across:
        return np.zeros(0, np.int64)
    is_flat = across >= down
    is_turned = xs > xe if is_flat else ys > ye
    if is_turned:
        xs, ys, xe, ye = xe, ye, xs, ys
    step = np.arange(max(across, down) + 1)
    if is_turned:
        step = step[::-1]
    u = step + xs if is_flat else np.trunc(xs + (xe - xs) / down * step + 0.5).astype(np.int64)
    v = np.trunc(ys + (ye - ys) / across * step + 0.5).astype(np.int64) if is_flat else step + ys
    moves = np.flatnonzero(u[1:] != u[:-1])
    u0, u1, v0, v1 = u[moves], u[moves + 1], v[moves], v[moves + 1]
    x = (np.where(u1 < u0, u1, u1 - 1) + 0.5) / _FINER - 0.5
    y = np.ceil(np.clip((np.minimum(v0, v1) + 0.5) / _FINER - 0.5, 0, height))
    kept = (np.floor(x) == x) & (x >= 0) & (x <= width - 1)
    places: Array = (x[kept] * height + y[kept]).astype(np.int64)
    return places


def fill_outlines(outlines: Iterable[Array], size: tuple[int, int]) -> Array:
    """The pixels (H, W) bool that are inside of any of these outlines; see `fill_outline`."""
    region = np.zeros(size, np.bool_)
    for corners in outlines:
        region |= fill_outline(corners, size)
    return region


def region_of_runs(runs: Sequence[int] | Array, size: tuple[int, int]) -> Array:
    """The pixels (H, W) bool of runs; ValueError for runs that do not fill the picture."""
    lengths = np.asarray(runs)
    if lengths.ndim != 1 or (lengths.size and lengths.dtype.kind not in "iu"):
        raise ValueError("runs are a list of whole numbers")
    if (lengths < 0).any() or (lengths > size[0] * size[1]).any() or lengths.sum() != size[0] * size[1]:
        raise ValueError(f"runs do not fill a picture of {size[1]} x {size[0]} px")
    inside = np.arange(len(lengths)) % 2 == 1
    return np.repeat(inside, lengths).reshape(size[1], size[0]).T


def runs_of_region(region: Array) -> list[int]:
    """The runs of a region (H, W) of truth values."""
    flat = np.asarray(region, np.bool_).ravel(order="F")
    edges = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1, [flat.size]])
    runs: list[int] = np.diff(edges).tolist()
    return ([0] if flat.size and flat[0] else []) + runs


def unpack_runs(text: str) -> list[int]:
    """The runs in COCO's compressed text: five bits a letter, lowest first; from the fourth run on, differences to the
    run but one before. ValueError for letters that are none of its own, or a text that ends within a number."""
    runs: list[int] = []
    value = shift = 0
    for letter in text:
        code = ord(letter) - 48
        if not 0 <= code < 64 or shift > 30:
            raise ValueError("compressed runs hold another letter than COCO's")
        value |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:
            continue
        if code & 0x10:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("compressed runs end within a number")
    return runs
