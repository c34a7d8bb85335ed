"""Divides the colour of a surface into its own colour and the light on it: albedo times spherical harmonics.

Source: Ramamoorthi and Hanrahan, SIGGRAPH 2001: nine harmonics of the normal hold 98 % of the light that a matt
surface sends back. Alternating least squares; brightness may go to albedo or light, so the mean albedo is fixed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import linalg

Array = np.ndarray[Any, Any]

MEAN_ALBEDO = 0.5
"""What the mean of the albedo is set to, in linear light: nothing in pictures says how bright the lamp was."""

_SMALLEST = 1e-4


def harmonics(normals: Array) -> Array:
    """Returns the nine real spherical harmonics up to degree 2 without their constants. Shape: (N, 3) to (N, 9)"""
    x, y, z = normals.T
    return np.stack([np.ones_like(x), x, y, z, x * y, y * z, z * x, x * x - y * y, 3 * z * z - 1], 1)


def light_of(colours: Array, albedo: Array, basis: Array, weights: Array) -> Array:
    """Least squares for the light (9, 3) that gives `colours` (N, 3) on `albedo` (N, 3); weights (N,)."""
    found = np.empty((basis.shape[1], 3))
    for channel in range(3):
        rows = basis * (albedo[:, channel] * weights)[:, None]
        # A little of ridge: normals that all look one way do not say what comes from behind.
        system = rows.T @ (basis * albedo[:, channel, None]) + 1e-6 * weights.sum() * np.eye(basis.shape[1])
        found[:, channel] = np.linalg.solve(system, rows.T @ colours[:, channel])
    return found


def divided(colours: Array, normals: Array, edges: Array, weights: Array, *, rounds: int = 12,
            smooth: float = 1.0) -> tuple[Array, Array]:
    """Returns albedo (N, 3), whose mean is `MEAN_ALBEDO`, and light (9, 3), so that colours = albedo * harmonics light.

    In turns: the light, given the albedo; the albedo, given the light, with neighbours alike except where they differ
    much (absolute differences, by reweighting). At last the albedo is what the light leaves of the colours, where the
    point was seen.

    Args:
        colours: (N, 3) linear light, the mean over the views.
        normals: (N, 3) of length 1.
        edges: (E, 2), pairs of neighbours.
        weights: (N,) how surely a colour is known, 0 for points that no view saw.
        smooth: Weight of the differences between neighbours.
    """
    basis, albedo = harmonics(normals), np.broadcast_to(_mean(colours, weights), colours.shape).copy()
    light = light_of(colours, albedo, basis, weights)
    for _ in range(rounds):
        shading = np.maximum(basis @ light, _SMALLEST)
        for channel in range(3):
            albedo[:, channel] = _albedo(colours[:, channel], shading[:, channel], albedo[:, channel], edges, weights,
                                         smooth)
        light = light_of(colours, albedo, basis, weights)
    shading = np.maximum(basis @ light, 0.05 * np.maximum(_mean(basis @ light, weights), _SMALLEST))
    exact = colours / shading
    albedo = np.where((weights > 0)[:, None], exact, albedo)
    scale = MEAN_ALBEDO / max(float(_mean(albedo, weights).mean()), _SMALLEST)
    return (albedo * scale).clip(0, 1), light / scale


def _albedo(colours: Array, shading: Array, before: Array, edges: Array, weights: Array, smooth: float) -> Array:
    """One channel: weights (colour - albedo shading)^2 + smooth |difference of neighbours|, reweighted once."""
    count, scale = len(colours), max(float(np.abs(before).mean()), _SMALLEST)
    away = np.abs(before[edges[:, 0]] - before[edges[:, 1]])
    pull = smooth * 0.02 / np.maximum(away / scale, 0.02)
    laplacian = sparse.coo_matrix((np.concatenate([pull, pull]), np.concatenate([edges, edges[:, ::-1]]).T),
                                  shape=(count, count)).tocsr()
    degree = np.asarray(laplacian.sum(1)).ravel()
    own = weights * shading**2
    system = sparse.diags(own + degree + 1e-9) - laplacian
    right = weights * shading * colours + 1e-9 * before
    found, _ = linalg.cg(system, right, x0=before, rtol=1e-6, maxiter=200,
                         M=sparse.diags(1 / (own + degree + 1e-9)))
    return np.maximum(found, _SMALLEST)


def _mean(values: Array, weights: Array) -> Array:
    mean: Array = (values * weights[:, None]).sum(0) / max(float(weights.sum()), _SMALLEST)
    return mean
