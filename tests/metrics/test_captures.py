"""Captures judged: broken ones, and the right sentence for each; good ones, and none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.ndimage import gaussian_filter

from migaki.metrics.captures import (
    Capture,
    aim_angles,
    guess_scene,
    look_of,
    read_look,
    remarks_on_looks,
    remarks_on_poses,
)
from migaki.ops.camera import ring, world_to_camera
from migaki.ops.camera_poses import to_axes

POSES = ring(16, 4.0, 25.0).numpy().astype(np.float64)
GOOD = Capture([f"{number:02d}" for number in range(16)], POSES, np.tile([300.0, 300.0, 100.0, 100.0], (16, 1)),
               np.full((16, 2), 200))


def lines(capture: Capture) -> list[str]:
    return [remark.line() for remark in remarks_on_poses(capture)]


def with_pose(number: int, pose: npt.NDArray[Any]) -> Capture:
    poses = POSES.copy()
    poses[number] = pose
    return replace(GOOD, poses=poses)


def test_good_captures_are_passed() -> None:
    assert lines(GOOD) == []
    half = ring(9, 4.0, 20.0, turn_deg=120.0).numpy()
    assert lines(Capture(GOOD.names[:9], half, GOOD.intrinsics[:9], GOOD.sizes[:9])) == []
    ahead = POSES[:1].repeat(16, 0)
    ahead[:, 0, 3] += np.arange(16)
    assert lines(replace(GOOD, poses=ahead)) == [], "side by side, all look ahead"


def test_wrong_conventions_are_named() -> None:
    (line,) = lines(replace(GOOD, poses=to_axes(POSES, "opengl")))
    assert "look away from each other's subject: flip axes y and z" in line
    (line,) = lines(replace(GOOD, poses=to_axes(POSES, "llff")))
    assert "swap axes x and y and flip z" in line
    inverse = world_to_camera(torch.from_numpy(POSES)).numpy()
    (line,) = lines(replace(GOOD, poses=inverse))
    assert "world-to-camera matrices: invert them" in line
    (line,) = lines(replace(GOOD, poses=to_axes(inverse, "opengl")))
    assert "world-to-camera" in line


def test_single_cameras_are_named() -> None:
    turned = POSES[3].copy()
    turned[:, :3] = turned[:, :3] @ np.diag([-1.0, 1.0, -1.0])
    assert lines(with_pose(3, turned)) == [
        "1 picture is looking away from what the others look at: check their poses, or leave them out (03)"]
    assert "very pose of another picture" in lines(with_pose(5, POSES[4]))[0]
    assert lines(with_pose(5, POSES[4]))[0].endswith("(05)")
    far = POSES[7].copy()
    far[:, 3] *= 30
    assert any("far from all other cameras" in line and "(07)" in line for line in lines(with_pose(7, far)))


def test_sets_without_depth_are_named() -> None:
    one = Capture(["a"], POSES[:1], GOOD.intrinsics[:1], GOOD.sizes[:1])
    assert "depth needs at least two" in lines(one)[0]
    still = POSES.copy()
    still[:, :, 3] = [1.0, 2.0, 3.0]
    assert "all cameras stand in one place" in lines(replace(GOOD, poses=still))[0]


def test_lenses_and_sizes_that_do_not_fit() -> None:
    lenses = GOOD.intrinsics.copy()
    lenses[2] *= 4
    assert "another resolution" in lines(replace(GOOD, intrinsics=lenses))[0]
    sizes = GOOD.sizes.copy()
    sizes[1] = 240
    assert "pictures are of 2 sizes, such as 200 x 200 and 240 x 240 px" in lines(replace(GOOD, sizes=sizes))[0]


def test_aims_are_angles() -> None:
    angles = aim_angles(POSES)
    assert angles is not None and angles.max() < 0.1
    flipped = aim_angles(to_axes(POSES, "opengl"))
    assert flipped is not None and flipped.min() > 179.9
    assert aim_angles(POSES[:2]) is None


def test_the_scene_is_what_all_see() -> None:
    scene = guess_scene(GOOD)
    np.testing.assert_allclose(scene["bounds"], [[-4 / 3] * 3, [4 / 3] * 3], atol=1e-4)
    assert scene["near"] == pytest.approx(4 - np.sqrt(3) * 4 / 3, abs=1e-3)
    assert scene["far"] == pytest.approx(4 + np.sqrt(3) * 4 / 3, abs=1e-3)


def test_blurred_dark_and_bright_pictures_are_named() -> None:
    draw = np.random.default_rng(0)
    base = gaussian_filter(draw.random((3, 80, 90)), (0, 1, 1))
    base = 255 * (base - base.min()) / np.ptp(base)
    looks = [look_of(f"{number}", (0.9 * base + number).astype(np.uint8)) for number in range(5)]
    assert remarks_on_looks([]) == []
    assert remarks_on_looks(look.text() for look in looks) == []
    assert read_look(looks[0].text()) == looks[0]
    spoilt = {"soft": gaussian_filter(base, (0, 4, 4)), "dark": base * 0.02, "bright": 255 - base * 0.01}
    odd = [look_of(name, image.astype(np.uint8)) for name, image in spoilt.items()]
    remarks = remarks_on_looks(look.text() for look in [*looks, *odd])
    found = {remark.text.split(":")[0]: remark.names for remark in remarks}
    assert "soft" in found["blurred beside the others"]
    assert found["nearly black"] == ("dark",) and found["nearly white"] == ("bright",)
