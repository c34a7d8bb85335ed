"""Compiled kernels of the digit simulator: random numbers, handwriting, ink, scanner.

One thread draws one digit from one stream of random numbers, and no sum is split, so results are bit-identical.
A trace is an array (N, 4): pen positions x and y, the radius there, and 1 where the pen starts a new stroke. Its unit
is the digit's height at first, and pixels of the canvas after framing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

from migaki.simulate.digit_strokes import Skeletons

Array = npt.NDArray[np.float64]
Stream = npt.NDArray[np.uint64]  # (1,): the state of a SplitMix64 generator
Interval = tuple[float, float]
Function = TypeVar("Function", bound=Callable[..., Any])

SAMPLES = 8
"""Pen positions per piece of curve between two control points."""

MAX_TRACE = 512
"""Limit of the pen positions of one digit; the longest skeleton needs about 200."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)


class Style(NamedTuple):
    """The ranges of the simulation in numba's types; `DigitSimulator.Config` explains each."""

    aspect: Interval
    slant: Interval
    rotation: Interval
    jitter: Interval
    balance: Interval
    taper: Interval
    warp: Interval
    pen: Interval
    pressure: Interval
    extent: Interval
    shift: Interval
    blur: Interval
    noise: Interval
    intensity: Interval


def compiled(function: Function) -> Function:
    """Apply `numba.njit`, cached on disk, or only in memory if numba finds no writable folder."""
    try:
        return cast(Function, numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:
        return cast(Function, numba.njit(nogil=True)(function))


@compiled
def mix(bits: Any) -> Any:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), a bijection of 64-bit integers."""
    z = (bits ^ (bits >> _S30)) * _MIX_1
    z = (z ^ (z >> _S27)) * _MIX_2
    return z ^ (z >> _S31)


@compiled
def uniform(stream: Stream) -> float:
    """Returns the next number in [0, 1)."""
    stream[0] += _GOLDEN
    return (mix(stream[0]) >> _S11) * (1.0 / 9007199254740992.0)  # type: ignore[no-any-return]


@compiled
def between(stream: Stream, interval: Interval) -> float:
    """Returns the next number, uniform in the interval."""
    return interval[0] + (interval[1] - interval[0]) * uniform(stream)


@compiled
def normal(stream: Stream) -> float:
    """Returns the next number of N(0, 1) (Box and Muller 1958)."""
    return math.sqrt(-2 * math.log(1 - uniform(stream))) * math.cos(2 * math.pi * uniform(stream))


@compiled
def trace_stroke(x: Array, y: Array, corner: npt.NDArray[np.uint8], trace: Array, num: int) -> int:
    """Append the Catmull-Rom curve through the points to `trace[num:]`; returns the new length.

    At corners and ends the tangent is that of the straight line to the neighbour, which preserves corners.
    """
    last = len(x) - 1
    for i in range(last):
        x0, y0, x1, y1 = x[i], y[i], x[i + 1], y[i + 1]
        ax, ay, bx, by = x1 - x0, y1 - y0, x1 - x0, y1 - y0
        if i > 0 and not corner[i]:
            ax, ay = (x1 - x[i - 1]) / 2, (y1 - y[i - 1]) / 2
        if i + 1 < last and not corner[i + 1]:
            bx, by = (x[i + 2] - x0) / 2, (y[i + 2] - y0) / 2
        for k in range(0 if i == 0 else 1, SAMPLES + 1):
            t = k / SAMPLES
            h1, h2, h3 = t * t * (3 - 2 * t), t * (1 - t) * (1 - t), t * t * (t - 1)  # Hermite basis
            trace[num, 0] = x0 + (x1 - x0) * h1 + ax * h2 + bx * h3
            trace[num, 1] = y0 + (y1 - y0) * h1 + ay * h2 + by * h3
            trace[num, 3] = 1.0 if i == 0 and k == 0 else 0.0
            num += 1
    return num


@compiled
def write_by_hand(skeletons: Skeletons, hand: int, style: Style, stream: Stream, trace: Array) -> int:
    """Fill `trace` with the pen's path of this skeleton, with jittered control points; returns its length."""
    jitter = between(stream, style.jitter)
    num = 0
    for stroke in range(skeletons.hand[hand], skeletons.hand[hand + 1]):
        start, end = skeletons.stroke[stroke], skeletons.stroke[stroke + 1]
        x, y = np.empty(end - start), np.empty(end - start)
        move_x, move_y = 0.7 * jitter * normal(stream), 0.7 * jitter * normal(stream)
        for i in range(end - start):
            x[i] = skeletons.points[start + i, 0] + move_x + jitter * normal(stream)
            y[i] = skeletons.points[start + i, 1] + move_y + jitter * normal(stream)
        num = trace_stroke(x, y, skeletons.corner[start:end], trace, num)
    return num


@compiled
def bend(trace: Array, num: int, style: Style, stream: Stream) -> None:
    """Deform the path by one writer's proportions: balance, taper, warp, aspect, slant, rotation."""
    balance, taper = math.exp(between(stream, style.balance)), between(stream, style.taper)
    warp, aspect = between(stream, style.warp), between(stream, style.aspect)
    slant, rotation = between(stream, style.slant), between(stream, style.rotation)
    fx, fy, gx, gy = 4 * normal(stream), 4 * normal(stream), 4 * normal(stream), 4 * normal(stream)  # rad per height
    phase_x, phase_y = 2 * math.pi * uniform(stream), 2 * math.pi * uniform(stream)
    c, s = math.cos(rotation), math.sin(rotation)
    for i in range(num):
        x, y = trace[i, 0] - 0.5, min(max(trace[i, 1], 0.0), 1.3)
        y = y**balance - 0.5
        x *= 1 + taper * y
        x, y = x + warp * math.sin(fx * x + fy * y + phase_x), y + warp * math.sin(gx * x + gy * y + phase_y)
        x = x * aspect - math.tan(slant) * y
        trace[i, 0], trace[i, 1] = c * x - s * y, s * x + c * y


@compiled
def press(trace: Array, num: int, style: Style, stream: Stream) -> None:
    """Set the radius of the pen, varying along the path; in units of the digit's height."""
    radius, pressure = between(stream, style.pen) / 2, between(stream, style.pressure)
    waves, phase = 0.5 + 2 * uniform(stream), 2 * math.pi * uniform(stream)
    for i in range(num):
        trace[i, 2] = radius * (1 + pressure * math.sin(2 * math.pi * waves * i / num + phase))


@compiled
def frame(trace: Array, num: int, side: int, fill: bool, style: Style, stream: Stream) -> None:
    """Scale and move the path from heights to pixels of a canvas of `side` pixels.

    With `fill`, the digit's height is the extent, its width is squeezed if it would not fit, and its box is centred
    (optdigits). Otherwise its longer side is the extent and its centre of mass is centred (MNIST).
    """
    extent = between(stream, style.extent) * side
    left, right, top, bottom, thickest = trace[0, 0], trace[0, 0], trace[0, 1], trace[0, 1], 0.0
    mass, mass_x, mass_y = 1e-9, 0.0, 0.0
    for i in range(num):
        x, y, radius = trace[i, 0], trace[i, 1], trace[i, 2]
        left, right, top, bottom = min(left, x), max(right, x), min(top, y), max(bottom, y)
        thickest = max(thickest, radius)
        if i > 0 and trace[i, 3] == 0:
            part = math.hypot(x - trace[i - 1, 0], y - trace[i - 1, 1]) * radius
            mass, mass_x, mass_y = mass + part, mass_x + part * x, mass_y + part * y
    thickest *= extent
    room = max(extent - 2 * thickest, 1.0)
    width, height = max(right - left, 1e-3), max(bottom - top, 1e-3)
    scale = room / (height if fill else max(width, height))
    scale_x = min(scale, max(side - 2 * thickest, 1.0) / width)
    x0, y0 = (mass_x / mass, mass_y / mass) if not fill else ((left + right) / 2, (top + bottom) / 2)
    move_x, move_y = between(stream, style.shift) * side, between(stream, style.shift) * side
    for i in range(num):
        trace[i, 0] = (trace[i, 0] - x0) * scale_x + side / 2 + move_x
        trace[i, 1] = (trace[i, 1] - y0) * scale + side / 2 + move_y
        trace[i, 2] *= extent


@compiled
def ink(trace: Array, num: int, canvas: Array) -> None:
    """Draw the path on the canvas (S, S): per pixel the largest coverage by a piece, with an edge of one pixel."""
    canvas[:] = 0
    side = len(canvas)
    for i in range(1, num):
        if trace[i, 3]:
            continue
        x0, y0, r0 = trace[i - 1, 0], trace[i - 1, 1], trace[i - 1, 2]
        dx, dy, dr = trace[i, 0] - x0, trace[i, 1] - y0, trace[i, 2] - r0
        reach, length = max(r0, r0 + dr) + 1, max(dx * dx + dy * dy, 1e-12)
        for row in range(max(0, int(min(y0, y0 + dy) - reach)), min(side, int(max(y0, y0 + dy) + reach) + 1)):
            for column in range(max(0, int(min(x0, x0 + dx) - reach)),
                                min(side, int(max(x0, x0 + dx) + reach) + 1)):
                px, py = column + 0.5 - x0, row + 0.5 - y0
                t = min(max((px * dx + py * dy) / length, 0.0), 1.0)
                cover = r0 + t * dr + 0.5 - math.sqrt((px - t * dx) ** 2 + (py - t * dy) ** 2)
                canvas[row, column] = max(canvas[row, column], min(cover, 1.0))


@compiled
def count_cells(canvas: Array, style: Style, stream: Stream, out: npt.NDArray[np.float32]) -> None:
    """Scan to one bit per pixel, with a rough edge, and count the ink in each cell, as for optdigits."""
    cell = len(canvas) // len(out)
    noise = between(stream, style.noise)
    out[:] = 0
    for row in range(len(canvas)):
        for column in range(len(canvas)):
            if canvas[row, column] + noise * normal(stream) > 0.5:
                out[row // cell, column // cell] += np.float32(1 / cell**2)


@compiled
def scan_grey(canvas: Array, style: Style, stream: Stream, out: npt.NDArray[np.float32]) -> None:
    """Reduce to the pixels of the image, blur, set the ink's brightness, add sensor noise."""
    side, cell = len(out), len(canvas) // len(out)
    sigma, noise = between(stream, style.blur), between(stream, style.noise)
    bright = between(stream, style.intensity)
    tap = math.exp(-0.5 / max(sigma, 1e-3) ** 2)
    centre, tap = bright / (1 + 2 * tap), tap / (1 + 2 * tap)
    centre /= bright
    small, wide = np.zeros((side, side)), np.zeros((side, side))
    for row in range(len(canvas)):
        for column in range(len(canvas)):
            small[row // cell, column // cell] += canvas[row, column] / cell**2
    for row in range(side):
        for column in range(side):
            near = (small[row, column - 1] if column else 0.0) + (small[row, column + 1] if column + 1 < side else 0.0)
            wide[row, column] = centre * small[row, column] + tap * near
    for row in range(side):
        for column in range(side):
            near = (wide[row - 1, column] if row else 0.0) + (wide[row + 1, column] if row + 1 < side else 0.0)
            value = bright * (centre * wide[row, column] + tap * near) + noise * normal(stream)
            out[row, column] = min(max(value, 0.0), 1.0)


@compiled
def draw_digits(skeletons: Skeletons, style: Style, seed: Any, indices: npt.NDArray[np.uint64], bitmap: bool,
                cell: int, images: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> None:
    """Draw the digits of `indices` into images (B, S, S) in [0, 1] and labels (B,).

    `seed` is a uint64, `cell` the pixels of the canvas on each side of a pixel of the image.
    """
    canvas = np.empty((images.shape[1] * cell, images.shape[2] * cell))
    trace, stream = np.empty((MAX_TRACE, 4)), np.empty(1, np.uint64)
    for b in range(len(indices)):
        stream[0] = mix(mix(seed + _GOLDEN) + _GOLDEN * indices[b])
        label = int(10 * uniform(stream))
        pick, hand = uniform(stream), skeletons.digit[label]
        while hand + 1 < skeletons.digit[label + 1] and pick >= skeletons.chance[hand]:
            hand += 1
        num = write_by_hand(skeletons, hand, style, stream, trace)
        bend(trace, num, style, stream)
        press(trace, num, style, stream)
        frame(trace, num, len(canvas), bitmap, style, stream)
        ink(trace, num, canvas)
        if bitmap:
            count_cells(canvas, style, stream, images[b])
        else:
            scan_grey(canvas, style, stream, images[b])
        labels[b] = label
