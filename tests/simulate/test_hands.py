"""Hands against what can be worked out without them: spheres, triangles, the pinhole, and the data's own joints."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from migaki.core.errors import UserError
from migaki.ops.depth import crop_camera, normalise_depth, project, unproject
from migaki.simulate.hand_fit import align, fit_joints, joints_of, load_poses, persons_of, read_joint_table
from migaki.simulate.hand_skeleton import (
    ANGLES,
    BONES,
    DEFAULT_SHAPE,
    FACING,
    JOINTS,
    LIMITS,
    NUM_FRAMES,
    pose_hand,
    rotation_matrix,
)
from migaki.simulate.hand_surface import cone_distance, make_cone, render_depth, smooth_minimum
from migaki.simulate.hands import HandSimulator, draw_angles

DATA = Path(os.environ.get("MIGAKI_DATA", Path(__file__).parents[3] / "shared/data")) / "hands"
TABLE = DATA / "nyu_keypointsUVD_test.mat"
needs_table = pytest.mark.skipif(not TABLE.is_file(), reason=f"no joints at {TABLE}: set MIGAKI_DATA")

SMALL = HandSimulator.Config(height=64, width=64, threads=1)
CAMERA = np.array([500.0, 500.0, 31.5, 31.5])
# The joints that a finger of the shape runs through: first bone, PIP, tip, knuckle's place in the shape.
FINGERS = {"index": (0, 7, 6, 15), "middle": (3, 5, 4, 18), "ring": (6, 3, 2, 21), "pinky": (9, 1, 0, 24)}


@pytest.fixture(scope="module")
def batch():
    return HandSimulator(HandSimulator.Config(height=96, width=80, threads=2)).render(3, range(24))


def rendered(a, b, radius_a, radius_b, camera=CAMERA, size=64):
    cones = np.zeros((1, 12))
    make_cone(np.array(a, float), np.array(b, float), radius_a, radius_b, 0, 15, cones[0])
    depth = np.zeros((size, size), np.float32)
    render_depth(cones, camera, depth)
    return depth, cones[0]


def rays(size=64, camera=CAMERA):
    v, u = np.mgrid[:size, :size]
    return np.stack([(u - camera[2]) / camera[0], (v - camera[3]) / camera[1], np.ones_like(u, float)], -1)


def sphere_depth(ray, centre, radius):
    """Depth of the nearer root of |z ray - centre|^2 = radius^2; nan where the ray misses."""
    a, b, c = (ray**2).sum(-1), ray @ centre, centre @ centre - radius**2
    with np.errstate(invalid="ignore"):
        return (b - np.sqrt(b * b - a * c)) / a


@pytest.mark.parametrize("centre", [(0.0, 0, 600), (20.0, -12, 520)])
def test_a_sphere_has_the_depth_of_the_quadratic(centre):
    depth, _ = rendered(centre, np.add(centre, (0, 0, 1e-6)), 22.0, 22.0)
    expected = sphere_depth(rays(), np.array(centre), 22.0)
    both = np.isfinite(expected) & (depth > 0)
    assert both.sum() > 500
    # A ray that just misses the outline or just grazes it may fall on either side.
    assert (np.isfinite(expected) != (depth > 0)).mean() < 0.01
    steep = np.abs(np.gradient(np.nan_to_num(expected, nan=1e4)))
    flat = both & (steep.max(0) < 3)
    assert np.abs(depth - expected)[flat].max() < 0.05


def test_a_capsule_and_a_round_cone_are_the_hull_of_their_spheres():
    a, b = np.array([-15.0, -10, 560]), np.array([18.0, 14, 610])
    for radius_a, radius_b in ((9.0, 9.0), (14.0, 6.0)):
        depth, _ = rendered(a, b, radius_a, radius_b)
        many = [sphere_depth(rays(), a + t * (b - a), radius_a + t * (radius_b - radius_a))
                for t in np.linspace(0, 1, 1500)]
        expected = np.fmin.reduce(many)
        assert (np.isfinite(expected) != (depth > 0)).mean() < 0.01
        inner = np.isfinite(expected) & (depth > 0)
        assert np.quantile(np.abs(depth - expected)[inner], 0.95) < 0.1  # the rest grazes the outline


@given(st.lists(st.floats(-60, 60), min_size=3, max_size=3), st.floats(3, 20), st.floats(3, 20), st.floats(0, 50))
@settings(max_examples=40, deadline=None)
def test_the_distance_to_a_cone_is_the_least_over_its_spheres(point, radius_a, radius_b, length):
    if length <= 1.1 * abs(radius_a - radius_b) + 0.1:
        length += 1.1 * abs(radius_a - radius_b) + 0.1
    cone = np.zeros(12)
    a, b = np.zeros(3), np.array([0.6, 0.0, 0.8]) * length
    make_cone(a, b, radius_a, radius_b, 0, 0, cone)
    t = np.linspace(0, 1, 4001)[:, None]
    distances = np.linalg.norm(np.array(point) - a - t * (b - a), axis=1) - (radius_a + t[:, 0] * (radius_b - radius_a))
    assert cone_distance(cone, *point) == pytest.approx(distances.min(), abs=2e-2)


def test_the_smooth_minimum_is_a_minimum_away_from_the_seam():
    assert smooth_minimum(1.0, 9.0, 4.0) == 1.0
    assert smooth_minimum(5.0, 5.0, 4.0) == pytest.approx(4.0)  # width / 4 below


def test_keys_shapes_and_ranges(batch):
    assert batch["image"].shape == (24, 1, 96, 80) and batch["image"].dtype == torch.float32
    assert batch["image"].min() >= 0 and batch["image"].max() == 1
    assert batch["depth"].shape == (24, 96, 80) and batch["joints"].shape == (24, len(JOINTS), 3)
    assert batch["bone_lengths"].shape == (24, len(BONES)) and batch["angles"].shape == (24, len(ANGLES))
    assert batch["joint_visible"].dtype == torch.uint8 and set(batch["joint_visible"].unique().tolist()) == {0, 1}
    hand = (batch["depth"] > 0).flatten(1).float().mean(1)
    assert hand.min() > 0.03 and hand.max() < 0.8


def test_the_image_is_the_depth_in_the_cube(batch):
    depth, front = batch["depth"].numpy(), (batch["centre"][:, 2] - batch["cube"] / 2).numpy()[:, None, None]
    expected = np.where(depth > 0, np.clip((depth - front) / 300.0, 0, 1), 1)
    np.testing.assert_allclose(batch["image"][:, 0].numpy(), expected, atol=1e-4)


def test_joints_go_back_to_millimetres_in_which_bones_have_their_length(batch):
    joints, camera = batch["joints"].double().numpy(), batch["camera"].double().numpy()
    fx, fy, cx, cy = (camera[:, i, None] for i in range(4))
    z = joints[..., 2]
    points = np.stack([(joints[..., 0] - cx) * z / fx, (joints[..., 1] - cy) * z / fy, z], -1)
    lengths, angles = batch["bone_lengths"].numpy(), batch["angles"].numpy()
    for place, (bone, pip, tip, _) in enumerate(FINGERS.values()):
        middle, distal, dip = lengths[:, bone + 1], lengths[:, bone + 2], angles[:, 4 * place + 3]
        cosine_law = np.sqrt(middle**2 + distal**2 + 2 * middle * distal * np.cos(dip))
        np.testing.assert_allclose(np.linalg.norm(points[:, tip] - points[:, pip], axis=1), cosine_law, atol=2e-2)
    np.testing.assert_allclose(np.linalg.norm(points[:, 8] - points[:, 9], axis=1), lengths[:, 14], atol=2e-2)
    np.testing.assert_allclose(np.linalg.norm(points[:, 9] - points[:, 10], axis=1), lengths[:, 13], atol=2e-2)


def test_the_crop_shows_the_cube_about_the_centre():
    whole = torch.tensor([588.03, 587.07, 320.0, 240.0], dtype=torch.float64)
    centre = torch.tensor([250.0, 300.0, 750.0], dtype=torch.float64)
    view = crop_camera(whole, centre, 300.0, (128, 96))
    middle = unproject(centre[None], whole)
    np.testing.assert_allclose(project(middle, view)[0, :2], [47.5, 63.5], atol=1e-9)
    corner = project(middle + torch.tensor([150.0, -150.0, 0.0]), view)[0]
    np.testing.assert_allclose(corner[:2], [95.5, -0.5], atol=1e-9)  # the outer edge of the last column, first row


def test_background_is_one_and_depth_is_clipped_to_the_cube():
    depth = torch.tensor([[[0.0, 500, 600, 750, 900, 1200]]])
    grey = normalise_depth(depth, torch.tensor([750.0]), 300.0)
    assert grey.flatten().tolist() == [1, 0, 0, 0.5, 1, 1]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_poses_respect_the_limits_and_keep_the_bones(seed):
    rng = np.random.default_rng(seed)
    angles = draw_angles(rng)
    assert (angles >= LIMITS[:, 0]).all() and (angles <= LIMITS[:, 1]).all()
    frames, joints = np.zeros((NUM_FRAMES, 3, 4)), np.zeros((14, 3))
    turned, shift = rotation_matrix(rng.normal(size=3)), rng.normal(size=3) * 100
    pose_hand(DEFAULT_SHAPE, turned, shift, angles, frames, joints)
    for frame in frames:
        np.testing.assert_allclose(frame[:, :3].T @ frame[:, :3], np.eye(3), atol=1e-12)
        assert np.linalg.det(frame[:, :3]) > 0
    for bone, pip, _, knuckle in FINGERS.values():
        start = turned @ DEFAULT_SHAPE[knuckle:knuckle + 3] + shift
        assert np.linalg.norm(joints[pip] - start) == pytest.approx(DEFAULT_SHAPE[bone])
        for k in (bone, bone + 1):
            step = frames[k + 1, :, 3] - frames[k, :, 3]
            assert np.linalg.norm(step) == pytest.approx(DEFAULT_SHAPE[k])
    palm = joints[11:14] - joints[11]
    straight = DEFAULT_SHAPE[30:39].reshape(3, 3)
    np.testing.assert_allclose(palm, (straight - straight[0]) @ turned.T, atol=1e-9)


def test_a_bent_finger_comes_out_of_the_palm_and_a_turned_hand_turns_its_joints():
    zero = np.zeros(len(ANGLES))
    flat = joints_of(DEFAULT_SHAPE, np.eye(3), np.zeros(3), zero)
    bent = zero.copy()
    bent[0] = np.pi / 2  # the index finger's knuckle
    tip = joints_of(DEFAULT_SHAPE, np.eye(3), np.zeros(3), bent)[6]
    assert flat[6, 2] == pytest.approx(0, abs=1e-9) and flat[6, 1] == pytest.approx(96 + 44 + 26 + 22)
    np.testing.assert_allclose(tip[1], 96, atol=1e-9)
    assert tip[2] == pytest.approx(92 * np.cos(np.radians(6)), abs=1e-9)  # the index finger rolls by 6 degrees
    turned = joints_of(DEFAULT_SHAPE, FACING, np.array([1.0, 2, 3]), bent)
    np.testing.assert_allclose(turned, joints_of(DEFAULT_SHAPE, np.eye(3), np.zeros(3), bent) @ FACING.T + [1, 2, 3])


def test_simulated_angles_respect_the_limits(batch):
    angles = batch["angles"].double().numpy()
    assert (angles >= LIMITS[:, 0] - 1e-6).all() and (angles <= LIMITS[:, 1] + 1e-6).all()


def test_visible_joints_lie_just_under_the_surface_and_hidden_ones_behind_it(batch):
    height, width = batch["depth"].shape[1:]
    over = {0: [], 1: []}
    for depth, joints, visible in zip(batch["depth"], batch["joints"], batch["joint_visible"], strict=True):
        for (u, v, z), seen in zip(joints.tolist(), visible.tolist(), strict=True):
            column, row = round(u), round(v)
            if not (0 <= column < width and 0 <= row < height):
                assert not seen
                continue
            near = depth[max(row - 1, 0):row + 2, max(column - 1, 0):column + 2]
            if (near == 0).any() or near.max() - near.min() > 8:
                continue  # on an outline the pixel's ray and the joint's may meet different things
            over[seen].append(z - float(depth[row, column]))
    shown, hidden = np.array(over[1]), np.array(over[0])
    assert len(shown) > 120 and len(hidden) > 5
    assert (shown > -4).all() and (shown < 42 * 1.15 + 1).all()
    assert (hidden > 4).all() and np.median(hidden) > np.median(shown) + 5


def test_an_open_hand_shows_all_its_joints_and_a_fist_from_behind_hides_the_tips():
    still = HandSimulator.Config(height=64, width=64, threads=1, tilt_deg=0, roll_deg=0, back_share=0, off_axis_deg=0)

    class Posed(HandSimulator):
        bend = 0.0

        def _angles(self, rng, chosen):
            angles = np.zeros(len(ANGLES))
            angles[[0, 2, 3, 4, 6, 7, 8, 10, 11, 12, 14, 15]] = self.bend
            return angles

        def _rotation(self, rng, chosen):
            return FACING if self.bend == 0 else np.diag([-1.0, -1.0, 1.0])

    open_ = Posed(still).render(0, [0])
    assert open_["joint_visible"].all()
    # Fingers up, thumb to the right, in the order of JOINTS.
    u, v = open_["joints"][0, :, 0], open_["joints"][0, :, 1]
    assert u[0] < u[2] < u[4] < u[6] < u[8] and v[4] < v[5] < v[13] < v[11]
    fist = Posed(still)
    fist.bend = 1.4
    assert fist.render(0, [0])["joint_visible"][0, [0, 2, 4, 6]].sum() == 0


def test_an_image_is_the_same_bits_for_every_batch_thread_count_and_order():
    several = HandSimulator(SMALL).render(7, [4, 0, 9, 2])
    threaded = HandSimulator(HandSimulator.Config(height=64, width=64, threads=3)).render(7, [9, 2, 4, 0, 1])
    for key, value in several.items():
        assert torch.equal(value, threaded[key][[2, 3, 0, 1]]), key
        assert torch.equal(value[2:3], HandSimulator(SMALL).render(7, [9])[key]), key
    other = HandSimulator(SMALL).render(8, [9])
    assert not torch.equal(other["depth"][0], several["depth"][2])


def test_no_images_and_any_size():
    assert HandSimulator(SMALL).render(0, [])["image"].shape == (0, 1, 64, 64)
    assert HandSimulator(HandSimulator.Config(height=13, width=37)).render(0, [5])["image"].shape == (1, 1, 13, 37)


def test_a_larger_image_shows_the_same_hand():
    small = HandSimulator(HandSimulator.Config(height=50, width=50)).render(2, [0, 1])
    large = HandSimulator(HandSimulator.Config(height=150, width=150)).render(2, [0, 1])
    torch.testing.assert_close(large["joints"][..., 2], small["joints"][..., 2])
    # Pixel centres are whole numbers: the middle of small pixel u is that of large pixel 3 u + 1.
    torch.testing.assert_close(large["joints"][..., :2], 3 * small["joints"][..., :2] + 1, atol=1e-3, rtol=0)
    torch.testing.assert_close(large["depth"][:, 1::3, 1::3], small["depth"], atol=0.5, rtol=0)


@pytest.mark.parametrize("wrong", [{"height": 0}, {"size": (1.0, 0.5)}, {"distance_mm": (100.0, 200.0)},
                                   {"poses": Path("nowhere.mat")}])
def test_mistakes_are_reported_in_one_line(wrong):
    with pytest.raises(UserError) as caught:
        HandSimulator(HandSimulator.Config(**wrong))
    assert "\n" not in str(caught.value)


def made_up_table(count, rng):
    """Joints of known poses, as a table in px and mm."""
    shape, fx, fy = DEFAULT_SHAPE * 1.05, 588.03, 587.07
    poses = [draw_angles(rng) for _ in range(count)]
    points = np.stack([joints_of(shape, rotation_matrix(rng.normal(size=3) * 0.4) @ FACING,
                                 np.array([0.0, 60, 800]), pose) for pose in poses])
    u, v = points[..., 0] * fx / points[..., 2] + 320, points[..., 1] * fy / points[..., 2] + 240
    return points, np.stack([u, v, points[..., 2]], -1), np.array(poses)


def test_a_fit_finds_joints_that_the_model_itself_has_made(tmp_path):
    points, table, angles = made_up_table(12, np.random.default_rng(5))
    np.save(tmp_path / "joints.npy", table)
    np.testing.assert_allclose(read_joint_table(tmp_path / "joints.npy"), points, atol=1e-9)
    poses = fit_joints(points)
    assert len(poses.shapes) == 1 and poses.residuals.mean() < 1.0
    assert (poses.angles >= LIMITS[:, 0]).all() and (poses.angles <= LIMITS[:, 1]).all()
    # Flexion is what the joints see best; what they hardly tell apart (twists, MCP against PIP) is left to the prior.
    assert np.degrees(np.abs(poses.angles[:, 0] - angles[:, 0])).mean() < 12
    cached = load_poses(tmp_path / "joints.npy", tmp_path / "cache")
    (kept,) = (tmp_path / "cache").iterdir()
    before = kept.stat().st_mtime_ns
    again = load_poses(tmp_path / "joints.npy", tmp_path / "cache")
    assert kept.stat().st_mtime_ns == before and np.array_equal(cached.angles, again.angles)
    kept.write_bytes(b"damaged")
    assert np.array_equal(load_poses(tmp_path / "joints.npy", tmp_path / "cache").angles, cached.angles)
    config = HandSimulator.Config(height=32, width=32, poses=tmp_path / "joints.npy", cache=tmp_path / "cache")
    assert torch.isfinite(HandSimulator(config).render(0, range(4))["joints"]).all()


def test_align_finds_a_rotation_and_persons_are_distinguished():
    rng = np.random.default_rng(0)
    points, turned = rng.normal(size=(5, 3)), rotation_matrix(np.array([0.3, -1.0, 0.6]))
    np.testing.assert_allclose(align(points, (points @ turned.T + 7)[None])[0], turned, atol=1e-9)
    seen = np.zeros((6, 14, 3))
    seen[:, 12, 0], seen[:, 13, 1] = 30, 70
    seen[4:] *= 1.2
    assert persons_of(seen).tolist() == [0, 0, 0, 0, 1, 1]


def test_a_table_of_another_shape_is_refused(tmp_path):
    np.save(tmp_path / "joints.npy", np.zeros((4, 21, 3)))
    with pytest.raises(UserError, match="keypoints3D"):
        read_joint_table(tmp_path / "joints.npy")


@needs_table
def test_real_joints_are_fitted_to_a_few_millimetres():
    seen = read_joint_table(TABLE)[::200]
    poses = fit_joints(seen)
    assert poses.residuals.mean() < 3.5 and np.quantile(poses.residuals, 0.95) < 9
    assert len(poses.shapes) >= 2  # two people
