"""Meshes as arrays: surfaces of analytic densities, smoothing, decimation, normals and distances."""

from __future__ import annotations

import numpy as np
import pytest

from migaki.ops.mesh import (
    chamfer,
    decimated,
    edges_of,
    face_normals,
    is_closed,
    large_parts,
    smoothed,
    steady_normals,
    surface_of,
    surface_points,
    vertex_normals,
)

BOUNDS = np.array([[-1.0, -1.2, -1.4], [1.0, 1.2, 1.4]])
RADIUS = 0.7


def grid(shape: tuple[int, int, int] = (30, 34, 40)) -> np.ndarray:
    axes = [np.linspace(low, high, count) for low, high, count in zip(*BOUNDS, shape, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1)


def ball(centre: tuple[float, float, float] = (0.1, -0.2, 0.3), radius: float = RADIUS) -> np.ndarray:
    """Positive inside."""
    return radius - np.linalg.norm(grid() - np.array(centre), axis=-1)


def on_ball(count: int = 40_000) -> np.ndarray:
    directions = np.random.default_rng(0).standard_normal((count, 3))
    return np.array([0.1, -0.2, 0.3]) + RADIUS * directions / np.linalg.norm(directions, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def sphere() -> tuple[np.ndarray, np.ndarray]:
    return surface_of(ball(), BOUNDS, 0.0)


def test_a_ball_is_where_it_is_and_faces_outwards(sphere: tuple[np.ndarray, np.ndarray]) -> None:
    vertices, faces = sphere
    away = vertices - np.array([0.1, -0.2, 0.3])
    assert np.abs(np.linalg.norm(away, axis=1) - RADIUS).max() < 0.006 and is_closed(faces)
    normals = vertex_normals(vertices, faces)
    assert (normals * away / RADIUS).sum(1).min() > 0.99
    volume = (vertices[faces[:, 0]] * face_normals(vertices, faces)).sum() / 6
    assert volume == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.02)
    assert chamfer(surface_points(vertices, faces, 40_000, 1), on_ball()) / (2 * RADIUS) < 0.01


def test_what_leaves_the_grid_is_closed_at_its_bounds() -> None:
    vertices, faces = surface_of(ball((0.9, 0, 0)), BOUNDS, 0.0)
    assert is_closed(faces) and vertices[:, 0].max() == pytest.approx(1.0, abs=0.08)
    assert not is_closed(faces[:-1])
    with pytest.raises(ValueError, match="none is at 5"):
        surface_of(ball(), BOUNDS, 5.0)


def test_smoothing_removes_noise_and_keeps_the_size(sphere: tuple[np.ndarray, np.ndarray]) -> None:
    vertices, faces = sphere
    centre = np.array([0.1, -0.2, 0.3])
    rough = vertices + 0.01 * np.random.default_rng(0).standard_normal(vertices.shape)
    before, after = (np.linalg.norm(one - centre, axis=1) for one in (rough, smoothed(rough, faces, 10)))
    assert after.std() < 0.5 * before.std() and after.mean() == pytest.approx(RADIUS, abs=0.004)
    edges, once = edges_of(faces), smoothed(rough, faces, 1, inward=0.5, outward=0.0)
    for number in range(10):  # halfway to the neighbours' mean
        beside = edges[(edges == number).any(1)]
        assert np.allclose(once[number], 0.5 * rough[number] + 0.5 * rough[beside[beside != number]].mean(0))


def test_small_parts_are_left_out() -> None:
    both = np.maximum(ball((-0.4, 0, 0), 0.4), ball((0.7, 0.8, 0.9), 0.15))
    vertices, faces = surface_of(both, BOUNDS, 0.0)
    kept, left = large_parts(vertices, faces, 0.5)
    assert len(left) < len(faces) and is_closed(left) and kept[:, 0].max() < 0.1 and left.max() == len(kept) - 1
    assert len(large_parts(vertices, faces, 0.0)[1]) == len(faces)


def test_fewer_faces_stay_near_the_surface(sphere: tuple[np.ndarray, np.ndarray]) -> None:
    vertices, faces = sphere
    small, few = decimated(vertices, faces, 800)
    assert 300 < len(few) <= 800 and is_closed(few)
    assert chamfer(surface_points(small, few, 40_000, 1), on_ball()) / (2 * RADIUS) < 0.015
    assert decimated(vertices, faces, len(faces))[1] is faces
    corner = np.minimum.reduce([0.6 - np.abs(grid()[..., k]) for k in range(3)])  # a box: its corners stay sharp
    box, sides = decimated(*surface_of(corner, BOUNDS, 0.0), 600)
    assert np.abs(np.abs(box).max(0) - 0.6).max() < 0.02 and len(sides) <= 600


def test_chamfer_against_its_definition() -> None:
    a, b = np.random.default_rng(0).random((30, 3)), np.random.default_rng(1).random((40, 3))
    distance = np.linalg.norm(a[:, None] - b[None], axis=2)
    assert chamfer(a, b) == pytest.approx((distance.min(1).mean() + distance.min(0).mean()) / 2)


def test_steady_normals_lose_noise_and_keep_edges() -> None:
    """A roof of two planes with noise: normals come nearer to both, and the ridge stays a ridge."""
    axis = np.linspace(-1, 1, 41)
    x, y = np.meshgrid(axis, axis, indexing="ij")
    number = np.arange(41 * 41).reshape(41, 41)
    a, b, c, d = number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]
    faces = np.stack([a, b, c, a, c, d], -1).reshape(-1, 3)
    noise = 0.008 * np.random.default_rng(0).standard_normal(x.shape)
    vertices = np.stack([x, y, noise - np.abs(x)], -1).reshape(-1, 3)
    truth = np.stack([np.sign(vertices[:, 0]), 0 * vertices[:, 0], np.ones(len(vertices))], 1) / np.sqrt(2)
    off = np.abs(vertices[:, 0]) > 0.01

    def error(normals: np.ndarray) -> float:
        return float(np.linalg.norm((normals - truth)[off], axis=1).mean())

    plain, steady = vertex_normals(vertices, faces), steady_normals(vertices, faces, 10, 0.35)
    assert error(steady) < 0.5 * error(plain) and np.allclose(np.linalg.norm(steady, axis=1), 1)
    beside = np.abs(np.abs(vertices[:, 0]) - 0.1) < 0.01
    assert np.linalg.norm((steady - truth)[beside], axis=1).mean() < 0.15
    # Without regard to what looks alike the ridge is rounded.
    assert np.linalg.norm((steady_normals(vertices, faces, 10, 10.0) - truth)[beside], axis=1).mean() > 0.15
    assert np.array_equal(steady_normals(vertices, faces, 0), plain)
