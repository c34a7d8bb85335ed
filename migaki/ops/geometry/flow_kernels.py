"""The inner loops of optical flow: the linearised brightness constancy, and a primal-dual descent under it."""

from __future__ import annotations

from typing import Any

import numpy as np

from migaki.ops.geometry.compiled import compiled

Array = np.ndarray[Any, Any]


@compiled
def linearise(first: Array, second: Array, slope_x: Array, slope_y: Array, flow: Array) -> Array:
    """Returns second(p + flow(p)) - first(p), and its derivatives by the flow, (3, H, W) float32.

    The second picture is interpolated by cubic polynomials (Keys 1981, a = -1/2), whose own derivatives are averaged
    with those of the first picture (Sun et al., "Secrets of optical flow estimation and their principles", CVPR 2010,
    section 3). Where p + flow leaves the picture all three are 0: nothing is known there.

    Shape: first, second, slope_x, slope_y (H, W) float32; flow (2, H, W) float32 px, x before y
    """
    height, width = first.shape
    found = np.zeros((3, height, width), np.float32)
    along, across = np.zeros((2, 4), np.float32), np.zeros((2, 4), np.float32)  # weights, and their derivatives
    for y in range(height):
        for x in range(width):
            to_x, to_y = x + flow[0, y, x], y + flow[1, y, x]
            if not (0 <= to_x <= width - 1 and 0 <= to_y <= height - 1):
                continue
            left, top = int(to_x), int(to_y)
            for weights, t in ((along, to_x - left), (across, to_y - top)):
                weights[0, 0] = ((-0.5 * t + 1) * t - 0.5) * t
                weights[0, 1] = (1.5 * t - 2.5) * t * t + 1
                weights[0, 2] = ((-1.5 * t + 2) * t + 0.5) * t
                weights[0, 3] = (0.5 * t - 0.5) * t * t
                weights[1, 0] = (-1.5 * t + 2) * t - 0.5
                weights[1, 1] = (4.5 * t - 5) * t
                weights[1, 2] = (-4.5 * t + 4) * t + 0.5
                weights[1, 3] = (1.5 * t - 1) * t
            value, by_x, by_y = np.float32(0), np.float32(0), np.float32(0)
            for j in range(4):
                row = min(max(top + j - 1, 0), height - 1)
                for i in range(4):
                    pixel = second[row, min(max(left + i - 1, 0), width - 1)]
                    value += across[0, j] * along[0, i] * pixel
                    by_x += across[0, j] * along[1, i] * pixel
                    by_y += across[1, j] * along[0, i] * pixel
            found[0, y, x] = value - first[y, x]
            found[1, y, x] = (by_x + slope_x[y, x]) / 2
            found[2, y, x] = (by_y + slope_y[y, x]) / 2
    return found


@compiled
def descend(flow: Array, start: Array, data: Array, edges: Array, duals: Array, weight: float, huber: float,
            rounds: int) -> None:
    """Lower sum_p g |grad flow|_huber + weight |rest + slope . (flow - start)|, in place, by `rounds` steps.

    Chambolle and Pock, "A first-order primal-dual algorithm", JMIV 2011, algorithm 1 with theta 1; the threshold is
    that of Zach, Pock, Bischof, "A duality based approach for realtime TV-L1 optical flow", DAGM 2007, equation 15.

    Shape:
        flow, start: (2, H, W) float32 px
        data: (3, H, W), of `linearise`; edges: g, (H, W) float32 above 0
        duals: (4, H, W) float32, kept from call to call
    """
    _, height, width = flow.shape
    pace = np.float32(1 / np.sqrt(8.0))
    ahead = flow.copy()
    push = pace * np.float32(weight)
    for _ in range(rounds):
        for k in range(2):
            for y in range(height):
                for x in range(width):
                    here, g = ahead[k, y, x], edges[y, x]
                    shrink = 1 / (1 + pace * huber / g)
                    a = ahead[k, y, x + 1] - here if x + 1 < width else np.float32(0)
                    b = ahead[k, y + 1, x] - here if y + 1 < height else np.float32(0)
                    a = (duals[2 * k, y, x] + pace * a) * shrink
                    b = (duals[2 * k + 1, y, x] + pace * b) * shrink
                    over = max(np.float32(1), np.sqrt(a * a + b * b) / g)
                    duals[2 * k, y, x] = a / over
                    duals[2 * k + 1, y, x] = b / over
        for y in range(height):
            for x in range(width):
                u, v = flow[0, y, x], flow[1, y, x]
                new_u = u + pace * (duals[0, y, x] + duals[1, y, x])
                new_v = v + pace * (duals[2, y, x] + duals[3, y, x])
                if x > 0:
                    new_u -= pace * duals[0, y, x - 1]
                    new_v -= pace * duals[2, y, x - 1]
                if y > 0:
                    new_u -= pace * duals[1, y - 1, x]
                    new_v -= pace * duals[3, y - 1, x]
                by_x, by_y = data[1, y, x], data[2, y, x]
                steep = by_x * by_x + by_y * by_y
                rest = data[0, y, x] + by_x * (new_u - start[0, y, x]) + by_y * (new_v - start[1, y, x])
                move = np.float32(0)
                if rest < -push * steep:
                    move = push
                elif rest > push * steep:
                    move = -push
                elif steep > 1e-9:
                    move = -rest / steep
                new_u += move * by_x
                new_v += move * by_y
                ahead[0, y, x], ahead[1, y, x] = 2 * new_u - u, 2 * new_v - v
                flow[0, y, x], flow[1, y, x] = new_u, new_v
