"""Albedo and light: exact light for a known albedo, patches told from shading, and what stays open."""

from __future__ import annotations

import math

import numpy as np
import pytest

from migaki.ops.albedo import MEAN_ALBEDO, divided, harmonics

LIGHT = np.array([[0.7, 0.65, 0.6], [0.2, 0.15, 0.1], [-0.1, 0.0, 0.1], [0.25, 0.25, 0.3], [0.05, 0, 0], [0, 0.05, 0],
                  [0.03, 0, 0.05], [-0.04, 0.02, 0], [0.05, 0.05, 0.02]])


def sphere(side: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Normals (N, 3) on rings from pole to pole, and the edges between neighbours."""
    rows, columns = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    height, turn = np.pi * (rows + 0.5) / side, 2 * np.pi * columns / side
    normals = np.stack([np.sin(height) * np.cos(turn), np.sin(height) * np.sin(turn), np.cos(height)], -1)
    number = rows * side + columns
    edges = [np.stack([number, np.roll(number, -1, 1)], -1), np.stack([number[:-1], number[1:]], -1)]
    return normals.reshape(-1, 3), np.concatenate([one.reshape(-1, 2) for one in edges])


def patches(normals: np.ndarray, seed: int = 0) -> np.ndarray:
    """One of eight colours for each of some forty cells of the sphere."""
    draw = np.random.default_rng(seed)
    seeds = draw.standard_normal((40, 3))
    cell = (normals @ (seeds / np.linalg.norm(seeds, axis=1, keepdims=True)).T).argmax(1)
    return draw.uniform(0.15, 0.85, (8, 3))[cell % 8]


def psnr(found: np.ndarray, truth: np.ndarray) -> float:
    """After one scale for each channel."""
    scale = (found * truth).sum(0) / (found**2).sum(0)
    return -10 * math.log10(float(((found * scale - truth) ** 2).mean()))


def test_the_harmonics_are_orthogonal() -> None:
    normals = np.random.default_rng(0).standard_normal((200_000, 3))
    basis = harmonics(normals / np.linalg.norm(normals, axis=1, keepdims=True))
    product = basis.T @ basis / len(basis)
    away = product - np.diag(np.diag(product))
    assert np.abs(away).max() < 0.01 and np.diag(product).min() > 0.06


def test_patches_are_told_from_shading() -> None:
    normals, edges = sphere()
    albedo = patches(normals)
    colours = albedo * (harmonics(normals) @ LIGHT)
    found, light = divided(colours, normals, edges, np.ones(len(normals)))
    assert psnr(found, albedo) > 35 and found.mean() == pytest.approx(MEAN_ALBEDO, abs=0.02)
    assert psnr(found, albedo) > psnr(colours, albedo) + 10  # the colours as they were seen
    assert np.abs(found * (harmonics(normals) @ light) - colours).max() < 0.02
    alone, even = divided(colours, normals, edges, np.ones(len(normals)), rounds=0)
    # Without a round the light is even: the colours stay, brought to the mean albedo alone.
    assert psnr(alone, albedo) == pytest.approx(psnr(colours, albedo), abs=1) and not even[1:].any()


def test_noise_does_not_bend_the_light() -> None:
    normals, edges = sphere()
    albedo, draw = patches(normals), np.random.default_rng(0)
    colours = albedo * (harmonics(normals) @ LIGHT) + 0.01 * draw.standard_normal(albedo.shape)
    found, _ = divided(colours, normals, edges, np.ones(len(normals)))
    assert psnr(found, albedo) > 27
    other = np.roll(LIGHT, 1, axis=1)
    other[1:4] *= -1
    assert psnr(*(one * (harmonics(normals) @ other) for one in (found, albedo))) > 26


def test_a_surface_without_patches() -> None:
    """Colours that change everywhere, but not with the normal."""
    normals, edges = sphere()
    albedo = 0.5 + 0.3 * np.stack([np.sin(normals @ (11.0 * np.roll([1.0, 0.7, -0.6], k)) + k) for k in range(3)], -1)
    colours = albedo * (harmonics(normals) @ LIGHT)
    found, _ = divided(colours, normals, edges, np.ones(len(normals)))
    assert psnr(found, albedo) > max(20, psnr(colours, albedo) + 4)


def test_points_that_nobody_saw_do_not_count() -> None:
    normals, edges = sphere(24)
    albedo, weights = patches(normals), (normals[:, 0] > -0.5).astype(float)
    colours = albedo * (harmonics(normals) @ LIGHT)
    spoilt = np.where(weights[:, None] > 0, colours, 7.0)
    found, light = divided(spoilt, normals, edges, weights)
    same, plain = divided(np.where(weights[:, None] > 0, colours, 0.0), normals, edges, weights)
    assert np.allclose(found, same) and np.allclose(light, plain) and found.max() <= 1
