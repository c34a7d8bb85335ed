"""Divides the colour of a surface into its own colour and the light on it: albedo times spherical harmonics.

Nine harmonics of the normal hold 98 % of the light that a matt surface sends back (Ramamoorthi and Hanrahan, SIGGRAPH
2001). Brightness may belong to the albedo or to the light, so the mean albedo is fixed and the light taken for white.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import linalg

Array = np.ndarray[Any, Any]

MEAN_ALBEDO = 0.5
"""What the mean of the albedo is set to, in linear light: nothing in pictures says how bright the lamp was."""

_SMALLEST = 1e-4
_HOPS = (1, 2, 4, 8, 16)  # steps of the random walks that pair points
_FEWEST_ALIKE = 0.3  # share of pairs of one albedo below which there are no patches to go by
_DARKEST = 0.05  # of the mean shading: darker points would get any albedo


def harmonics(normals: Array) -> Array:
    """Returns the nine real spherical harmonics up to degree 2 without their constants. Shape: (N, 3) to (N, 9)"""
    x, y, z = normals.T
    return np.stack([np.ones_like(x), x, y, z, x * y, y * z, z * x, x * x - y * y, 3 * z * z - 1], 1)


def divided(colours: Array, normals: Array, edges: Array, weights: Array, *, rounds: int = 12, alike: float = 0.1,
            seed: int = 0) -> tuple[Array, Array]:
    """Returns albedo (N, 3) and light (9, 3), so that colours = albedo * (harmonics of the normals) @ light.

    In turns: the light, given which points have one albedo; which points have one albedo, given the light. Two points
    of one albedo have m_i / s_i = m_j / s_j (m the colour, s the shading), so m_i s_j - m_j s_i = 0 is linear in the
    light: the smallest generalised eigenvector. Noise of the colours adds the same to all eigenvalues, so it does not
    bend the light. A surface with few points of one albedo gets the light under which points anywhere differ least. At
    last the albedo is what the light leaves of the colours.

    Args:
        colours: (N, 3) linear light, the mean over the views.
        normals: (N, 3) of length 1.
        edges: (E, 2), pairs of neighbours on the surface; walks along them pair points that are farther apart.
        weights: (N,) how surely a colour is known, 0 for points that no view saw.
        rounds: Of the alternation; 0 takes the light for even.
        alike: Difference of albedo, relative to its mean, at which a pair counts half.
        seed: Of the walks.
    """
    basis, pairs = harmonics(normals), _pairs(edges, len(colours), seed)
    mean = np.maximum(_mean(colours, weights), _SMALLEST)
    known = weights[pairs[:, 0]] * weights[pairs[:, 1]]
    pairs, known = pairs[known > 0], known[known > 0]
    light = np.zeros((basis.shape[1], 3))
    light[0] = 1.0
    if rounds and len(pairs):
        shown = colours / mean
        for number in range(rounds):
            width = alike * max(1.0, 4.0 * 0.5**number)  # at first the shading is in the differences too
            same = known * _alike(shown, basis @ light, pairs, width)
            light = _light(shown, basis, pairs, same, weights)
        if float((known * _alike(shown, basis @ light, pairs, alike)).sum() / known.sum()) < _FEWEST_ALIKE:
            light = _light_of_any(shown, basis, weights, seed)
    shading = basis @ light
    albedo = np.where((weights > 0)[:, None], colours / np.maximum(shading, _DARKEST), 0.0)
    scale = MEAN_ALBEDO / max(float(_mean(albedo, weights).mean()), _SMALLEST)
    return (albedo * scale).clip(0, 1), light / scale


def _pairs(edges: Array, count: int, seed: int) -> Array:
    """Each point with the ends of random walks from it, (P, 2), and the edges themselves."""
    draw = np.random.default_rng(seed)
    both = np.concatenate([edges, edges[:, ::-1]])
    both = both[np.argsort(both[:, 0], kind="stable")]
    degree = np.bincount(both[:, 0], minlength=count)
    first = np.concatenate([[0], np.cumsum(degree)[:-1]])
    ends, found = np.arange(count), [edges]
    has = degree > 0
    for step in range(1, max(_HOPS) + 1):
        chosen = first + np.minimum((draw.random(count) * degree).astype(np.int64), np.maximum(degree - 1, 0))
        nearby = both[np.minimum(chosen, len(both) - 1), 1]
        ends = np.where(has[ends], nearby[ends], ends)
        if step in _HOPS:
            found.append(np.stack([np.arange(count), ends], 1))
    whole = np.concatenate(found)
    return np.asarray(whole[whole[:, 0] != whole[:, 1]])


def _alike(colours: Array, shading: Array, pairs: Array, width: float) -> Array:
    """How surely each pair has one albedo under this light, 0 to 1."""
    ratio = colours / np.maximum(shading, _DARKEST)
    apart = ((ratio[pairs[:, 0]] - ratio[pairs[:, 1]]) ** 2).sum(1)
    return np.asarray((width**2 / (width**2 + apart)) ** 2)


def _light(colours: Array, basis: Array, pairs: Array, same: Array, weights: Array) -> Array:
    """The light (9, 3), whose mean shading is 1, from pairs of one albedo (their weights `same`)."""
    first, second = pairs.T
    whole = basis[first].T @ (basis[first] * same[:, None]) + basis[second].T @ (basis[second] * same[:, None])
    # A little of ridge: normals that all look one way do not say what comes from behind.
    ridge = 1e-5 * float(np.trace(whole)) / len(whole) * np.diag(np.r_[0.0, np.ones(len(whole) - 1)])
    below = whole + ridge + 1e-12 * np.eye(len(whole))
    found = np.empty((len(whole), 3))
    for channel in range(3):
        gaps = colours[first, channel, None] * basis[second] - colours[second, channel, None] * basis[first]
        light = linalg.eigh(gaps.T @ (gaps * same[:, None]) + ridge, below)[1][:, 0]
        mean = float(((basis @ light) * weights).sum() / weights.sum())
        found[:, channel] = light / (mean if abs(mean) > _SMALLEST else np.copysign(_SMALLEST, mean))
    return found


def _light_of_any(colours: Array, basis: Array, weights: Array, seed: int) -> Array:
    """The light under which points anywhere differ least: right if albedo has nothing to do with the normal."""
    draw, seen = np.random.default_rng(seed), np.flatnonzero(weights > 0)
    pairs = np.stack([np.tile(seen, 4), np.concatenate([draw.permutation(seen) for _ in range(4)])], 1)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    return _light(colours, basis, pairs, weights[pairs[:, 0]] * weights[pairs[:, 1]], weights)


def _mean(values: Array, weights: Array) -> Array:
    mean: Array = (values * weights[:, None]).sum(0) / max(float(weights.sum()), _SMALLEST)
    return mean
