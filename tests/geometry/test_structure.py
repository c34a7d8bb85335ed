"""Structure from motion: derivatives, bundle adjustment, tracks, and a scene whose poses are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pairs import cameras
from scipy.optimize import least_squares

from migaki.metrics.geometry import pose_errors
from migaki.ops.geometry.bundle import Bundle, adjust, jacobians, turns
from migaki.ops.geometry.features import Features, candidate_pairs, matches
from migaki.ops.geometry.structure import PoseSettings, _Growing
from migaki.ops.geometry.tracks import Tracks, join_tracks
from migaki.ops.geometry.triangulation import angles, triangulate

Array = np.ndarray[Any, Any]


def scene(num_points: int, count: int = 4, noise: float = 0.0, turn_deg: float = 9.0) -> Bundle:
    """Cameras on an arc and points before them, as seen with some noise in px."""
    random = np.random.default_rng(1)
    poses = cameras(count, turn_deg).astype(np.float64)
    rotations = poses[:, :, :3].transpose(0, 2, 1)
    shifts = -np.einsum("nij,nj->ni", rotations, poses[:, :, 3])
    points = random.uniform(-0.6, 0.9, (num_points, 3))
    views, tracks = (index.ravel() for index in np.meshgrid(range(count), range(num_points), indexing="ij"))
    bundle = Bundle(rotations, shifts, points, np.array([300.0, 0.05]), np.array([80.0, 60.0]), views, tracks,
                    np.zeros((len(views), 2)))
    bundle.places = bundle.projected() + random.normal(0, noise, (len(views), 2)) if noise else bundle.projected()
    return bundle


def copy(bundle: Bundle, **more: Array) -> Bundle:
    values = {name: getattr(bundle, name).copy() for name in Bundle.__slots__}  # type: ignore[attr-defined]
    return Bundle(**(values | more))


def test_derivatives_are_those_of_finite_differences() -> None:
    bundle = scene(3, 2)
    by_pose, by_point, by_lens = jacobians(bundle)
    step = 1e-6
    for axis in range(3):
        turn = np.zeros((2, 3))
        turn[:, axis] = step
        moved = copy(bundle, rotations=turns(turn) @ bundle.rotations)
        np.testing.assert_allclose((moved.projected() - bundle.projected()) / step, by_pose[:, :, axis], rtol=1e-3,
                                   atol=1e-2)
        moved = copy(bundle, shifts=bundle.shifts + turn)
        np.testing.assert_allclose((moved.projected() - bundle.projected()) / step, by_pose[:, :, 3 + axis], rtol=1e-3,
                                   atol=1e-2)
        moved = copy(bundle, points=bundle.points + step * np.eye(3)[axis])
        np.testing.assert_allclose((moved.projected() - bundle.projected()) / step, by_point[:, :, axis], rtol=1e-3,
                                   atol=1e-2)
    for k in range(2):
        moved = copy(bundle, lens=bundle.lens + step * np.eye(2)[k])
        np.testing.assert_allclose((moved.projected() - bundle.projected()) / step, by_lens[:, :, k], rtol=1e-3,
                                   atol=1e-2)


def test_adjustment_reaches_what_scipy_reaches() -> None:
    """Small errors, so that Huber's function is the square; poses and points, the lens known."""
    true = scene(8, 3, noise=0.1)
    random = np.random.default_rng(2)
    start = copy(true, points=true.points + random.normal(0, 0.02, true.points.shape),
                 rotations=turns(random.normal(0, 0.005, (3, 3))) @ true.rotations)

    def rest(values: Array) -> Array:
        moved = copy(start, rotations=turns(np.append(np.zeros(3), values[:6]).reshape(3, 3)) @ start.rotations,
                     shifts=start.shifts + np.append(np.zeros(3), values[6:12]).reshape(3, 3),
                     points=start.points + values[12:].reshape(-1, 3))
        return np.asarray((moved.projected() - moved.places).ravel())

    best = least_squares(rest, np.zeros(36), method="trf", x_scale="jac")
    first = start.rotations[0].copy()
    error = adjust(start, rounds=60)
    assert error == pytest.approx(np.sqrt(2 * best.cost / len(true.places)), rel=1e-3)
    assert (start.rotations[0] == first).all()  # the fixed camera


def test_adjustment_finds_the_lens_and_bears_outliers() -> None:
    bundle = scene(60, 5, noise=0.05, turn_deg=25.0)
    wrong = copy(bundle, lens=np.array([330.0, 0.0]))
    wrong.places[::37] += 25
    error = adjust(wrong, free_lens=(True, True), rounds=80)
    assert abs(wrong.lens[0] - 300) < 6 and wrong.lens[1] != 0 and error > 0.05
    assert np.median(wrong.errors()) < 0.1
    held = copy(bundle, lens=np.array([330.0, 0.0]))
    adjust(held, rounds=5)
    assert held.lens.tolist() == [330.0, 0.0]


def test_points_behind_a_camera_are_infinitely_wrong() -> None:
    bundle = scene(2, 2)
    assert np.isinf(copy(bundle, points=bundle.points + 40 * cameras(2)[0, :, 3]).errors()).any()


def test_points_are_triangulated() -> None:
    bundle = scene(5, 3)
    local = np.einsum("nij,pj->npi", bundle.rotations, bundle.points) + bundle.shifts[:, None]
    poses = list(zip(bundle.rotations, bundle.shifts, strict=True))
    np.testing.assert_allclose(triangulate(poses, local[..., :2] / local[..., 2:]), bundle.points, atol=1e-9)
    right = angles(np.zeros((1, 3)), np.array([1.0, 0, 0]), np.array([0, 2.0, 0]))
    assert right[0] == pytest.approx(90)


def test_tracks_join_matches_and_leave_out_contradictions() -> None:
    joined = {(0, 1): np.array([[0, 0], [1, 1]]), (1, 2): np.array([[0, 2], [1, 0]]), (0, 2): np.array([[2, 0]])}
    tracks = join_tracks([3, 2, 3], joined)
    # Features 1 and 2 of picture 0 are joined by (1, 1), (2, 0): one track with two features of one picture.
    seen = sorted(zip(tracks.views, tracks.features, strict=True))
    assert tracks.num_tracks == 1 and seen == [(0, 0), (1, 0), (2, 2)]
    assert join_tracks([2, 2], {}).num_tracks == 0


def test_features_match_both_ways() -> None:
    words = np.eye(6, 128, dtype=np.float32)
    one = Features(np.zeros((6, 2)), words)
    other = Features(np.zeros((5, 2)), words[[3, 1, 0, 4, 4]])
    assert matches(one, other).tolist() == [[0, 2], [1, 1], [3, 0]]  # 4 has two equal partners, 2 and 5 have none
    assert matches(one, Features(np.zeros((1, 2)), words[:1])).shape == (0, 2)
    assert candidate_pairs([one, one, one], 2) == [(0, 1), (0, 2), (1, 2)]
    lone = Features(np.zeros((2, 2)), np.roll(words[:2], 64, 1))
    assert candidate_pairs([one, other, lone, one], 1) == [(0, 3), (1, 3)]  # picture 2 has none


def observed(bundle: Bundle, count: int) -> tuple[list[Array], dict[tuple[int, int], Array], Tracks]:
    """What matching would give: places by picture, matches by pair, and tracks."""
    places = [bundle.places[bundle.views == view] for view in range(count)]
    every = np.arange(len(places[0]))
    joined = {(a, b): np.stack([every, every], 1) for a in range(count) for b in range(a + 1, count)}
    return places, joined, join_tracks([len(one) for one in places], joined)


def test_a_scene_grows_picture_by_picture() -> None:
    pytest.importorskip("cv2", reason="extra migaki[poses]")
    bundle = scene(80, 6, noise=0.3)
    places, joined, tracks = observed(bundle, 6)
    random = np.random.default_rng(3)
    places[5] = random.uniform(0, 150, (80, 2))  # a picture of something else
    growing = _Growing(places, joined, tracks, 340.0, bundle.centre, PoseSettings())
    found = growing.grow(lambda done: None)
    assert sorted(found.poses) == [0, 1, 2, 3, 4] and 5 in growing.refused
    poses = np.stack([np.concatenate([rotation.T, -rotation.T @ shift[:, None]], 1)
                      for _, (rotation, shift) in sorted(found.poses.items())])
    errors = pose_errors(poses, cameras(6)[:5])
    assert errors["rotation"].max() < 0.5 and errors["centre"].max() < 2
    assert abs(found.lens[0] - 300) < 25 and found.error < 0.6 and len(found.points) > 60


def test_one_place_makes_no_structure() -> None:
    pytest.importorskip("cv2", reason="extra migaki[poses]")
    bundle = scene(60, 2)
    still = copy(bundle, rotations=bundle.rotations[[0, 0]], shifts=bundle.shifts[[0, 0]])
    still.places = still.projected()
    growing = _Growing(*observed(still, 2), 300.0, bundle.centre, PoseSettings())
    assert not growing.grow(lambda done: None).poses
