"""The ray marcher of a voxel field: what a ray sees, and by hand-written gradients what every voxel does to it.

Volume rendering as in Mildenhall et al., "NeRF", ECCV 2020, equation 3, over a sparse grid of densities and spherical
harmonics as in Fridovich-Keil, Yu et al., "Plenoxels", CVPR 2022. Density is softplus(raw + shift) after the
interpolation (Sun et al., "Direct Voxel Grid Optimization", CVPR 2022, section 4.2), which makes sharp surfaces in
coarse grids. `ops.volume_torch` says the same in plain torch; tests compare both.

A grid has `index` (z, y, x flattened), the row of each vertex in the table or -1. Both rows of two neighbours along x
follow each other, since rows are numbered in the order of the vertices; so eight corners need four look-ups. `leap`
holds for each cell 0 if all of its vertices have a row and something may be there, else the distance in cells to the
next such cell (Chebyshev), which empty space is skipped by. Samples lie where they lay without skipping.

Lengths along a ray are in cells. A row of the table is: raw density, then for red, green and blue the coefficients of
the basis, then zeros up to a whole number of vector registers.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from migaki.ops.volume_jit import compiled, inlined

f4 = np.float32

# Numbers of one sample, in the order of their places in `samples`.
FX, FY, FZ, SLOPE, THROUGH, ALPHA, RED, GREEN, BLUE, AT, G_DENSITY, G_RED, G_GREEN, G_BLUE = range(14)
WIDTH = 16
"""Numbers kept of each sample: with two to spare, one line of the cache."""

_FARTHEST = f4(1 / 256)
_WIDEST = f4(3.0)  # cells that a step may move where space is contracted, over its length

LINEAR, SIGMOID, EXPONENTIAL = 0, 1, 2
"""How a sum of spherical harmonics becomes a colour: max(0, 1/2 + v), 1 / (1 + exp(-v)), exp(v - 5)."""


@inlined
def _colour(value: Any, activation: Any) -> Any:
    if activation == 0:
        return max(f4(0.0), f4(0.5) + value)
    if activation == 1:
        return f4(1.0) / (f4(1.0) + f4(math.exp(-value)))
    return f4(math.exp(min(value, f4(15.0)) - f4(5.0)))


@inlined
def _colour_slope(colour: Any, activation: Any) -> Any:
    """The derivative of `_colour`, from its result."""
    if activation == 0:
        return f4(1.0) if colour > f4(0.0) else f4(0.0)
    if activation == 1:
        return colour * (f4(1.0) - colour)
    return colour


@inlined
def _span(origin: Any, direction: Any, dims: Any, near: Any, far: Any) -> Any:
    """Where a ray enters and leaves the grid, in cells; the second is not above the first if it misses."""
    first, last = near, far
    for axis in range(3):
        top = f4(dims[axis] - 1)
        if abs(direction[axis]) < f4(1e-9):
            if origin[axis] < f4(0.0) or origin[axis] > top:
                return f4(0.0), f4(0.0)
            continue
        one = -origin[axis] / direction[axis]
        other = (top - origin[axis]) / direction[axis]
        first, last = max(first, min(one, other)), min(last, max(one, other))
    return first, last


@inlined
def _leaves(origin: Any, direction: Any, near: Any) -> Any:
    """Where a ray leaves the inner cube [-1, 1]^3, and `near` if it misses it."""
    first, last = near, f4(1e9)
    for axis in range(3):
        if abs(direction[axis]) < f4(1e-9):
            if abs(origin[axis]) > f4(1.0):
                return near
            continue
        one = (-f4(1.0) - origin[axis]) / direction[axis]
        other = (f4(1.0) - origin[axis]) / direction[axis]
        first, last = max(first, min(one, other)), min(last, max(one, other))
    return last if last > first else near


@inlined
def _stretched(at: Any, inner: Any, steepest: Any) -> Any:
    """The distance of a sample whose place in its row is `at`: the same up to the inner cube's end, from there in steps
    that grow so that they stay alike where space is contracted."""
    if at <= inner:
        return at
    part = min(at - inner, f4(1.0) - _FARTHEST)
    return inner + part / (f4(1.0) - part) / steepest


@inlined
def _drawn(radius: Any) -> Any:
    """By what a place is drawn to the middle: (2 - 1 / r) / r beyond the inner cube (Barron et al., "Mip-NeRF 360",
    CVPR 2022, equation 10, with the largest coordinate as r)."""
    return f4(1.0) if radius <= f4(1.0) else (f4(2.0) - f4(1.0) / radius) / radius


@inlined
def _near(distance: Any) -> Any:
    """A distance drawn into [0, 1): what is far counts less."""
    return distance / (f4(1.0) + distance)


@compiled
def march(origins: Any, directions: Any, jitter: Any, basis: Any, table: Any, index: Any, leap: Any, dims: Any,
          shift: Any, step: Any, near: Any, far: Any, faint: Any, opaque: Any, activation: Any, low: Any, scale: Any,
          rows: Any, samples: Any, starts: Any, counts: Any, colours: Any, through: Any, start: Any,
          stop: Any) -> None:
    """March the rays start .. stop and keep their samples; the first half of a step of learning, and all of rendering.

    `faint`: samples of less opacity are left out. `opaque`: a ray ends where less light than this comes through.
    Ray r keeps `counts[r]` samples from `starts[r]` on in `rows` (4 rows, of the corner and its neighbours along y, z
    and both) and `samples`. `colours` receives the light of the samples alone, `through` the share that passes all.

    With a `scale` above 0 space is contracted: rays are in units in which the inner cube is [-1, 1]^3, all else is
    drawn into [-2, 2]^3, where the grid lies, and `low` is its first vertex, `scale` its cells in a unit.

    Shape: origins (N, 3) in cells from the first vertex; directions (N, 3) of length 1; jitter (N,) in [0, 1); basis
        (N, K); table (V, W); index and leap as above; low (3,); rows (S, 4) int32; samples (S, 16); starts, counts (N,)
        int64; colours (N, 3); through (N,)
    """
    terms, width = basis.shape[1], table.shape[1]
    dx, dy = dims[0], dims[1]
    value = np.empty(width, np.float32)
    place = starts[start]
    room = samples.shape[0] if stop >= starts.shape[0] else starts[stop]
    for ray in range(start, stop):
        starts[ray] = place
        inner = f4(0.0)
        if scale > f4(0.0):
            inner = _leaves(origins[ray], directions[ray], near)
            first, last = near * scale, (inner + f4(1.0) - _FARTHEST) * scale
        else:
            first, last = _span(origins[ray], directions[ray], dims, near, far)
        ox, oy, oz = origins[ray, 0], origins[ray, 1], origins[ray, 2]
        vx, vy, vz = directions[ray, 0], directions[ray, 1], directions[ray, 2]
        steepest = max(abs(vx), max(abs(vy), abs(vz)))
        pace = step * (steepest if scale == f4(0.0) else _WIDEST)
        passing, red, green, blue = f4(1.0), f4(0.0), f4(0.0), f4(0.0)
        number = 0
        while place < room:
            at = first + (f4(number) + jitter[ray]) * step
            if at >= last:
                break
            number += 1
            if scale > f4(0.0):
                at = _stretched(at / scale, inner, steepest)
            x, y, z = ox + at * vx, oy + at * vy, oz + at * vz
            if scale > f4(0.0):
                drawn = _drawn(max(abs(x), max(abs(y), abs(z))))
                x, y, z = (x * drawn - low[0]) * scale, (y * drawn - low[1]) * scale, (z * drawn - low[2]) * scale
                if min(x, min(y, z)) < f4(0.0) or x > dx - 1 or y > dy - 1 or z > dims[2] - 1:
                    continue
            ix = min(max(int(x), 0), dx - 2)
            iy = min(max(int(y), 0), dy - 2)
            iz = min(max(int(z), 0), dims[2] - 2)
            free = leap[(iz * (dy - 1) + iy) * (dx - 1) + ix]
            if free > 0:
                number += int(f4(free - 1) / pace)
                continue
            fx, fy, fz = x - f4(ix), y - f4(iy), z - f4(iz)
            corner = (iz * dy + iy) * dx + ix
            r0, r1 = index[corner], index[corner + dx]
            r2, r3 = index[corner + dx * dy], index[corner + dx * dy + dx]
            w1, w3, w5, w7 = _four(fx, fy, fz)
            w0, w2, w4, w6 = _four(f4(1.0) - fx, fy, fz)
            raw = (w0 * table[r0, 0] + w1 * table[r0 + 1, 0] + w2 * table[r1, 0] + w3 * table[r1 + 1, 0]
                   + w4 * table[r2, 0] + w5 * table[r2 + 1, 0] + w6 * table[r3, 0] + w7 * table[r3 + 1, 0])
            grown = f4(math.exp(min(raw + shift, f4(30.0))))
            kept = f4(math.exp(-step * f4(math.log1p(grown))))  # the light that passes this sample
            alpha = f4(1.0) - kept
            if alpha < faint:
                continue
            for c in range(width):
                value[c] = (w0 * table[r0, c] + w1 * table[r0 + 1, c] + w2 * table[r1, c] + w3 * table[r1 + 1, c]
                            + w4 * table[r2, c] + w5 * table[r2 + 1, c] + w6 * table[r3, c] + w7 * table[r3 + 1, c])
            sample = samples[place]
            sample[FX], sample[FY], sample[FZ] = fx, fy, fz
            sample[SLOPE] = step * grown / (f4(1.0) + grown)
            sample[THROUGH], sample[ALPHA], sample[AT] = passing, alpha, at
            for channel in range(3):
                total = f4(0.0)
                for k in range(terms):
                    total += basis[ray, k] * value[1 + channel * terms + k]
                sample[RED + channel] = _colour(total, activation)
            weight = passing * alpha
            red += weight * sample[RED]
            green += weight * sample[GREEN]
            blue += weight * sample[BLUE]
            rows[place, 0], rows[place, 1], rows[place, 2], rows[place, 3] = r0, r1, r2, r3
            place += 1
            passing *= kept
            if passing < opaque:
                break
        counts[ray] = place - starts[ray]
        colours[ray, 0], colours[ray, 1], colours[ray, 2] = red, green, blue
        through[ray] = passing


@inlined
def _four(fx: Any, fy: Any, fz: Any) -> Any:
    """The weights of four corners: of this one along x, with those along y, z and both."""
    gy, gz = f4(1.0) - fy, f4(1.0) - fz
    return fx * gy * gz, fx * fy * gz, fx * gy * fz, fx * fy * fz


@compiled
def gradients(samples: Any, starts: Any, counts: Any, colour_pull: Any, through_pull: Any, own_pull: Any,
              spread_pull: Any, reach: Any, targets: Any, activation: Any, start: Any, stop: Any) -> None:
    """The gradients of the loss by raw density and by the sums of harmonics of each sample, written into `samples`.

    A ray's colour is sum_i T_i alpha_i c_i and the share that passes T_end. `colour_pull` (N, 3) and `through_pull`
    (N,) are the gradients of the loss by both. `own_pull` weighs sum_i w_i |c_i - target|^2, in which the weights
    count as constants: it draws the colour of each sample towards its pixel. `spread_pull` weighs the sum over pairs
    of samples of w_i w_j |s_i - s_j|, the spread of light along a ray, with s = d / (1 + d) at the distance d from
    the camera in units of `reach` (Barron et al., "Mip-NeRF 360", CVPR 2022, equation 15, without its second sum).
    """
    for ray in range(start, stop):
        pr, pg, pb = colour_pull[ray, 0], colour_pull[ray, 1], colour_pull[ray, 2]
        nearer, nearer_moment = f4(0.0), f4(0.0)  # of the light that comes from before a sample, and its moment
        farther, farther_moment = f4(0.0), f4(0.0)  # from behind it
        if spread_pull > f4(0.0):
            for place in range(starts[ray], starts[ray] + counts[ray]):
                weight = samples[place, THROUGH] * samples[place, ALPHA]
                nearer += weight
                nearer_moment += weight * _near(samples[place, AT] / reach)
        first = starts[ray]
        last = first + counts[ray] - 1
        behind = f4(0.0)
        if counts[ray] > 0:
            behind = through_pull[ray] * samples[last, THROUGH] * (f4(1.0) - samples[last, ALPHA])
        for place in range(last, first - 1, -1):
            sample = samples[place]
            weight = sample[THROUGH] * sample[ALPHA]
            seen = pr * sample[RED] + pg * sample[GREEN] + pb * sample[BLUE]
            if spread_pull > f4(0.0):
                at = _near(sample[AT] / reach)
                nearer -= weight
                nearer_moment -= weight * at
                seen += spread_pull * f4(2.0) * (at * (nearer - farther) - (nearer_moment - farther_moment))
                farther += weight
                farther_moment += weight * at
            sample[G_DENSITY] = (sample[THROUGH] * (f4(1.0) - sample[ALPHA]) * seen - behind) * sample[SLOPE]
            behind += weight * seen
            for channel in range(3):
                colour = sample[RED + channel]
                pull = colour_pull[ray, channel] + own_pull * f4(2.0) * (colour - targets[ray, channel])
                sample[G_RED + channel] = weight * pull * _colour_slope(colour, activation)


@compiled
def scatter(rows: Any, samples: Any, starts: Any, counts: Any, basis: Any, gradient: Any, stamps: Any, stamp: Any,
            touched: Any, lane: Any, lanes: Any) -> Any:
    """Add the gradients of all samples to the rows of one lane of the table; returns how many rows were touched.

    A lane owns every `lanes`-th block of 64 rows, and each row adds its samples in their order. A row that this step
    touches first is overwritten, so that nothing has to be cleared.

    Shape: gradient (V, W); stamps (V,) int64, the step that touched a row last; touched (V,) int32
    """
    terms, width = basis.shape[1], gradient.shape[1]
    value = np.zeros(width, np.float32)
    weights = np.empty(8, np.float32)
    number = 0
    for ray in range(starts.shape[0]):
        for place in range(starts[ray], starts[ray] + counts[ray]):
            sample = samples[place]
            value[0] = sample[G_DENSITY]
            for channel in range(3):
                for k in range(terms):
                    value[1 + channel * terms + k] = sample[G_RED + channel] * basis[ray, k]
            fx, fy, fz = sample[FX], sample[FY], sample[FZ]
            weights[1], weights[3], weights[5], weights[7] = _four(fx, fy, fz)
            weights[0], weights[2], weights[4], weights[6] = _four(f4(1.0) - fx, fy, fz)
            for corner in range(8):
                row = rows[place, corner >> 1] + (corner & 1)
                if lanes > 1 and (row >> 6) % lanes != lane:
                    continue
                weight = weights[corner]
                if stamps[row] == stamp:
                    for c in range(width):
                        gradient[row, c] += weight * value[c]
                else:
                    stamps[row] = stamp
                    touched[number] = row
                    number += 1
                    for c in range(width):
                        gradient[row, c] = weight * value[c]
    return number


@compiled
def descend_rows(table: Any, first: Any, second: Any, gradient: Any, rates: Any, keep_first: Any, keep_second: Any,
                 small: Any, touched: Any, number: Any) -> None:
    """One step of Adam on the touched rows: Kingma and Ba, 2015, algorithm 1, without the correction of the bias.

    With 1 - keep_first = sqrt(1 - keep_second) a row's first step has the length of the learning rate, as the
    corrected one has; so no row needs a count of its steps.

    Shape: table, first, second, gradient (V, W); rates (W,), the learning rate of each column
    """
    width = table.shape[1]
    new_first, new_second = f4(1.0) - keep_first, f4(1.0) - keep_second
    for k in range(number):
        row = touched[k]
        for c in range(width):
            slope = gradient[row, c]
            mean = keep_first * first[row, c] + new_first * slope
            square = keep_second * second[row, c] + new_second * slope * slope
            first[row, c] = mean
            second[row, c] = square
            table[row, c] -= rates[c] * mean / (f4(math.sqrt(square)) + small)


@compiled
def smooth(table: Any, gradient: Any, index: Any, vertex_of: Any, dims: Any, weights: Any, turn: Any, every: Any,
           touched: Any, number: Any) -> None:
    """Add the gradient of total variation to the touched rows: squared differences to the neighbours with a row.

    Plenoxels, equation 4, with the square in place of its root. Only `gradient` is written, so that lanes may run at
    the same time. Of the touched rows every `every`-th has its turn: reading six neighbours costs more than a sample.

    Shape: vertex_of (V,) int32, the place of each row in `index`; weights (W,), of each column
    """
    width = table.shape[1]
    dx, dy, dz = dims[0], dims[1], dims[2]
    for k in range(number):
        row = touched[k]
        if (row + turn) % every != 0:
            continue
        vertex = vertex_of[row]
        ix, iy, iz = vertex % dx, (vertex // dx) % dy, vertex // (dx * dy)
        for side in range(6):
            axis, sign = side >> 1, 1 - 2 * (side & 1)
            at, length, stride = ix, dx, 1
            if axis == 1:
                at, length, stride = iy, dy, dx
            elif axis == 2:
                at, length, stride = iz, dz, dx * dy
            if at + sign < 0 or at + sign >= length:
                continue
            other = index[vertex + sign * stride]
            if other < 0:
                continue
            for c in range(width):
                gradient[row, c] += weights[c] * (table[row, c] - table[other, c])


@compiled
def strongest(rows: Any, samples: Any, starts: Any, counts: Any, weights: Any) -> None:
    """Raise `weights` (V,) of each cell, named by the row of its first vertex, to the largest weight of its samples."""
    for ray in range(starts.shape[0]):
        for place in range(starts[ray], starts[ray] + counts[ray]):
            weight = samples[place, THROUGH] * samples[place, ALPHA]
            weights[rows[place, 0]] = max(weights[rows[place, 0]], weight)


@compiled
def surfaces(table: Any, rows: Any, samples: Any, starts: Any, counts: Any, distances: Any, normals: Any) -> None:
    """The distance of each ray's surface (the first sample with half of the seen weight before it) and its normal.

    The normal is that of the falling density, averaged with the samples' weights, of length 1 at most; zeros where a
    ray meets nothing.

    Shape: distances (N,) in cells; normals (N, 3)
    """
    for ray in range(starts.shape[0]):
        first, last = starts[ray], starts[ray] + counts[ray]
        whole = f4(0.0)
        for place in range(first, last):
            whole += samples[place, THROUGH] * samples[place, ALPHA]
        distances[ray] = f4(0.0)
        normals[ray, 0] = normals[ray, 1] = normals[ray, 2] = f4(0.0)
        met, found = f4(0.0), False
        for place in range(first, last):
            sample = samples[place]
            weight = sample[THROUGH] * sample[ALPHA]
            met += weight
            if not found and met >= f4(0.5) * whole:
                distances[ray] = sample[AT]
                found = True
            nx, ny, nz = _fall(table, rows[place], sample[FX], sample[FY], sample[FZ])
            length = f4(math.sqrt(nx * nx + ny * ny + nz * nz)) + f4(1e-12)
            normals[ray, 0] += weight * nx / length
            normals[ray, 1] += weight * ny / length
            normals[ray, 2] += weight * nz / length


@inlined
def _fall(table: Any, four: Any, fx: Any, fy: Any, fz: Any) -> Any:
    """The negative gradient of the interpolated raw density, per cell."""
    gx, gy, gz = f4(1.0) - fx, f4(1.0) - fy, f4(1.0) - fz
    a, b = table[four[0], 0], table[four[0] + 1, 0]
    c, d = table[four[1], 0], table[four[1] + 1, 0]
    e, f = table[four[2], 0], table[four[2] + 1, 0]
    g, h = table[four[3], 0], table[four[3] + 1, 0]
    nx = gy * gz * (a - b) + fy * gz * (c - d) + gy * fz * (e - f) + fy * fz * (g - h)
    ny = gx * gz * (a - c) + fx * gz * (b - d) + gx * fz * (e - g) + fx * fz * (f - h)
    nz = gx * gy * (a - e) + fx * gy * (b - f) + gx * fy * (c - g) + fx * fy * (d - h)
    return nx, ny, nz
