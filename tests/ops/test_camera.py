"""Pinhole cameras against naive twins and OpenCV: rays, projection, views, lens, and float32 under autocast."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from migaki.ops import camera

LENS = torch.tensor([90.0, 110.0, 33.0, 21.0])
POSE = camera.look_at(torch.tensor([1.0, -3.0, 2.0]), torch.tensor([0.2, 0.1, -0.3]))


def test_rays_go_through_pixel_centres() -> None:
    origins, directions = camera.pixel_rays(LENS, POSE, 40, 60)
    assert origins.shape == directions.shape == (40, 60, 3)
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(40, 60))
    local = np.array([(7.5 - 33.0) / 90.0, (30.5 - 21.0) / 110.0, 1.0])
    wanted = POSE[:, :3].numpy() @ (local / np.linalg.norm(local))
    np.testing.assert_allclose(directions[30, 7], wanted, atol=1e-6)
    assert torch.equal(origins[3, 4], POSE[:, 3])


def test_projection_is_opencvs_and_comes_back() -> None:
    cv2 = pytest.importorskip("cv2")
    points = torch.tensor([[0.1, 0.2, -0.3], [0.5, 0.4, 0.2], [-0.4, 0.3, 0.6]])
    uv, depth = camera.project(points, LENS, POSE)
    inverse = camera.world_to_camera(POSE).double().numpy()
    matrix = np.array([[90.0, 0, 33], [0, 110, 21], [0, 0, 1]])
    turn = cv2.Rodrigues(inverse[:, :3])[0]
    wanted, _ = cv2.projectPoints(points.double().numpy(), turn, inverse[:, 3], matrix, None)
    np.testing.assert_allclose(uv, wanted[:, 0], atol=1e-3)
    np.testing.assert_allclose(depth, points.numpy() @ inverse[2, :3] + inverse[2, 3], atol=1e-6)
    torch.testing.assert_close(camera.unproject(uv, depth, LENS, POSE), points, atol=1e-5, rtol=0)
    behind = POSE[:, 3] - POSE[:, 2]
    assert camera.project(behind[None], LENS, POSE)[1] < 0


def test_cameras_come_in_batches() -> None:
    poses = camera.ring(5, 3.0, 20.0)
    origins, directions = camera.pixel_rays(LENS.expand(5, 4), poses, 8, 10)
    points = (origins + 2.5 * directions).reshape(5, 80, 3)
    uv, _ = camera.project(points, LENS, poses)
    rows, columns = torch.meshgrid(torch.arange(8) + 0.5, torch.arange(10) + 0.5, indexing="ij")
    wanted = torch.stack([columns, rows], -1).reshape(1, 80, 2).expand(5, 80, 2)
    torch.testing.assert_close(uv, wanted, atol=1e-4, rtol=0)


def test_autocast_rounds_nothing() -> None:
    points = torch.rand(50, 3) - 0.5
    plain = camera.project(points, LENS, POSE)[0], camera.pixel_rays(LENS, POSE, 9, 9)[1]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(camera.project(points, LENS, POSE)[0], plain[0])
        assert torch.equal(camera.pixel_rays(LENS, POSE, 9, 9)[1], plain[1])


def test_a_resized_and_cut_picture_sees_the_same() -> None:
    points = torch.rand(20, 3) - 0.5
    uv, _ = camera.project(points, LENS, POSE)
    half, _ = camera.project(points, camera.resized(LENS, 0.5), POSE)
    torch.testing.assert_close(half, uv / 2)
    uneven, _ = camera.project(points, camera.resized(LENS, (2.0, 3.0)), POSE)
    torch.testing.assert_close(uneven, uv * torch.tensor([2.0, 3.0]), atol=1e-3, rtol=0)
    cut, _ = camera.project(points, camera.cropped(LENS, 5, 7), POSE)
    torch.testing.assert_close(cut, uv - torch.tensor([5.0, 7.0]))


def test_a_camera_looks_at_its_target_and_stands_upright() -> None:
    uv, depth = camera.project(torch.tensor([[0.2, 0.1, -0.3], [0.2, 0.1, 0.0]]), LENS, POSE)
    np.testing.assert_allclose(uv[0], [33.0, 21.0], atol=1e-4)
    assert depth[0] > 0 and uv[1, 1] < 21 and abs(float(uv[1, 0]) - 33) < 1e-4, "up is up, and y grows downwards"
    above = camera.look_at(torch.tensor([0.0, 0.0, 5.0]), torch.zeros(3))
    np.testing.assert_allclose(above[:, 2], [0, 0, -1], atol=1e-6)
    for pose in (POSE, above, camera.look_at(torch.zeros(3), torch.zeros(3))):
        np.testing.assert_allclose(pose[:, :3].T @ pose[:, :3], np.eye(3), atol=1e-6)
        assert torch.linalg.det(pose[:, :3]) > 0


def test_rings_focus_and_orbits() -> None:
    target = torch.tensor([1.0, 2.0, 3.0])
    poses = camera.ring(8, 2.0, 30.0, target)
    np.testing.assert_allclose((poses[:, :, 3] - target).norm(dim=1), 2, atol=1e-6)
    np.testing.assert_allclose(poses[:, 2, 3], 4, atol=1e-6)
    turn = torch.rad2deg(torch.arccos((poses[0, :2, 3] - target[:2]) @ (poses[1, :2, 3] - target[:2]) / 3))
    assert turn == pytest.approx(45, abs=1e-3), "a whole ring does not repeat its first camera"
    half = camera.ring(3, 2.0, 0.0, turn_deg=180.0)
    np.testing.assert_allclose(half[0, :, 3], -half[2, :, 3], atol=1e-6)
    np.testing.assert_allclose(camera.focus(poses), target, atol=1e-5)
    parallel = poses[:1].repeat(3, 1, 1)
    np.testing.assert_allclose(camera.focus(parallel), parallel[0, :, 3], atol=1e-6)
    np.testing.assert_allclose(camera.orbit(poses, 8), poses, atol=1e-5)
    tour = camera.tour_of(poses)
    np.testing.assert_allclose(tour.pose(tour.start_deg, tour.elevation_deg, tour.distance), poses[0], atol=1e-5)
    closer = tour.pose(tour.start_deg + 90, 0.0, tour.distance / 2)
    assert float((closer[:, 3] - tour.target).norm()) == pytest.approx(tour.distance / 2, rel=1e-5)


def test_the_lens_is_opencvs_and_is_undone() -> None:
    cv2 = pytest.importorskip("cv2")
    bend = torch.tensor([0.058, -0.081, -0.002, 0.001])
    slopes = torch.rand(200, 2) * 1.6 - 0.8
    bent = camera.distort(slopes, bend)
    points = np.concatenate([slopes.double().numpy(), np.ones((200, 1))], 1)
    wanted, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), np.eye(3), bend.double().numpy())
    np.testing.assert_allclose(bent, wanted[:, 0], atol=1e-6)
    torch.testing.assert_close(camera.undistort(bent, bend), slopes, atol=2e-6, rtol=0)
    for place in range(4):  # each coefficient counts
        one = torch.zeros(4)
        one[place] = 0.05
        assert (camera.distort(slopes, one) - slopes).abs().max() > 1e-3
        torch.testing.assert_close(camera.undistort(camera.distort(slopes, one), one), slopes, atol=1e-5, rtol=0)


def test_a_straight_line_is_straight_again() -> None:
    """A dot seen through the lens is, after resampling, where a lens without distortion shows it."""
    lens, bend = torch.tensor([80.0, 80.0, 40.0, 30.0]), torch.tensor([-0.25, 0.05, 0.0, 0.0])
    slope = torch.tensor([[0.35, -0.24]])
    rows, columns = torch.meshgrid(torch.arange(60) + 0.5, torch.arange(80) + 0.5, indexing="ij")

    def dot(place: torch.Tensor) -> torch.Tensor:
        u, v = (place * lens[:2] + lens[2:])[0]
        return torch.exp(-((columns - u) ** 2 + (rows - v) ** 2) / 8)

    straight, seen = camera.undistort_image(dot(camera.distort(slope, bend))[None, None], lens, bend)
    weights = straight[0, 0] / straight.sum()
    found = [float((columns * weights).sum()), float((rows * weights).sum())]
    np.testing.assert_allclose(found, (slope * lens[:2] + lens[2:])[0], atol=0.1)  # the lens shears the dot
    assert seen.all() and not math.isnan(found[0])
    assert not camera.undistort_image(torch.zeros(1, 1, 60, 80), lens, -bend)[1].all()
