"""Poses: quaternions against SciPy, similarity, errors, conventions of axes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from migaki.ops import camera_poses as poses
from migaki.ops.camera import ring


def test_quaternions_are_scipys() -> None:
    random = Rotation.random(50, random_state=0)
    half_turns = Rotation.from_rotvec(np.pi * np.eye(3))
    for rotations in (random, half_turns):
        given = rotations.as_quat()[:, [3, 0, 1, 2]]
        np.testing.assert_allclose(poses.quaternion_to_matrix(3 * given), rotations.as_matrix(), atol=1e-12)
        found = poses.matrix_to_quaternion(rotations.as_matrix())
        np.testing.assert_allclose(np.abs((found * given).sum(1)), 1, atol=1e-12)
        assert (found[:, 0] >= 0).all()
    with pytest.raises(ValueError, match="length 0"):
        poses.quaternion_to_matrix(np.zeros(4))


def test_conventions_turn_axes_and_come_back() -> None:
    given = ring(4, 2.0, 20.0).numpy()
    opengl = poses.to_axes(given, "opengl")
    np.testing.assert_allclose(opengl[:, :, 1], -given[:, :, 1])
    np.testing.assert_allclose(opengl[:, :, 2], -given[:, :, 2])
    llff = poses.to_axes(given, "llff")  # down, right, back
    np.testing.assert_allclose(llff[:, :, :3], np.stack([given[:, :, 1], given[:, :, 0], -given[:, :, 2]], -1))
    for axes in poses.AXES:
        np.testing.assert_allclose(poses.from_axes(poses.to_axes(given, axes), axes), given, atol=1e-7)
        assert np.linalg.det(poses.AXES[axes]) == pytest.approx(1)


def test_a_similarity_is_found() -> None:
    draw = np.random.default_rng(1)
    points = draw.normal(size=(7, 3))
    wanted = poses.Similarity(2.5, Rotation.random(random_state=3).as_matrix(), np.array([1.0, -2.0, 3.0]))
    found = poses.align(points, wanted.points(points))
    np.testing.assert_allclose(found.rotation, wanted.rotation, atol=1e-6)
    assert found.scale == pytest.approx(2.5, rel=1e-6)
    np.testing.assert_allclose(found.shift, wanted.shift, atol=1e-5)
    mirrored = points * [1, 1, -1]
    assert np.linalg.det(poses.align(points, mirrored).rotation) == pytest.approx(1), "never a mirror image"
    noisy = poses.align(points, wanted.points(points) + draw.normal(0, 0.01, points.shape))
    assert noisy.scale == pytest.approx(2.5, abs=0.02)
    with pytest.raises(ValueError, match="two different points"):
        poses.align(np.zeros((3, 3)), points[:3])


def test_two_cameras_on_a_line_are_aligned_by_their_directions() -> None:
    given = ring(4, 2.0, 20.0).numpy()[:2]
    wanted = poses.Similarity(0.4, Rotation.random(random_state=5).as_matrix(), np.array([0.0, 1.0, 0.0]))
    moved = wanted.poses(given)
    again = poses.align_poses(given, moved).poses(given)
    assert poses.rotation_errors(again, moved).max() < 1e-3
    assert poses.centre_errors(again, moved, 1.0).max() < 1e-3


def test_errors_have_their_units() -> None:
    given = ring(3, 2.0, 20.0).numpy().astype(np.float64)
    for angle in (1e-4, 3.0, 170.0):
        turned = given.copy()
        turned[:, :, :3] = given[:, :, :3] @ Rotation.from_rotvec([0, 0, np.radians(angle)]).as_matrix()
        np.testing.assert_allclose(poses.rotation_errors(turned, given), angle, rtol=1e-5)
    moved = given.copy()
    moved[:, 0, 3] += 0.1
    np.testing.assert_allclose(poses.centre_errors(moved, given, 5.0), 2.0)


def test_rotations_are_made_exact() -> None:
    rotation = Rotation.random(random_state=2).as_matrix()
    np.testing.assert_allclose(poses.nearest_rotation(1.7 * rotation + 1e-9), rotation, atol=1e-8)
    for bad in (np.diag([1.0, 1.0, -1.0]), np.zeros((3, 3)), np.full((3, 3), np.nan)):
        with pytest.raises(ValueError, match="no rotation"):
            poses.nearest_rotation(bad)
