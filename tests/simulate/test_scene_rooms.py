"""Rooms of `simulate scene`: closed, with place for the camera, each another one, and their truth fits together."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from migaki.core.batch import Batch
from migaki.ops.camera import project, unproject
from migaki.simulate.scene import SceneSimulator
from migaki.simulate.scene_layouts import BOUNDS, RANGE
from migaki.simulate.scene_rooms import room, walk

HEIGHT, WIDTH = 18, 24


@pytest.fixture(scope="module")
def pictures() -> Batch:
    """Two neighbouring views of each of four rooms."""
    config = SceneSimulator.Config(kind="room", views=40, height=HEIGHT, width=WIDTH, supersample=1)
    return SceneSimulator(config).render(5, [40 * scene + view for scene in range(4) for view in (6, 7)])


def test_every_pixel_has_a_depth_within_the_range_that_is_said(pictures: Batch) -> None:
    near, far = RANGE["room"]
    depth = pictures["depth"]
    assert float(((depth > near) & (depth < far)).float().mean()) > 0.999
    assert len({float(one.mean()) for one in depth[::2]}) == 4 and float(depth.std()) > 0.3
    assert len({tuple(one.mean((1, 2)).tolist()) for one in pictures["image"][::2]}) == 4


def test_flow_is_depth_seen_by_the_next_camera(pictures: Batch) -> None:
    rows, columns = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    place = torch.stack([columns, rows], -1).reshape(-1, 2)
    for first in (0, 2, 4, 6):
        points = unproject(place, pictures["depth"][first].flatten(), pictures["intrinsics"][first],
                           pictures["camera_to_world"][first])
        uv, depth = project(points, pictures["intrinsics"][first + 1], pictures["camera_to_world"][first + 1])
        there = (depth > 0.1) & (pictures["depth"][first].flatten() > 0)
        found = pictures["flow"][first].flatten(1).T + place
        torch.testing.assert_close(found[there], uv[there], atol=2e-3, rtol=1e-3)


def test_the_camera_walks_where_no_furniture_stands() -> None:
    low, high = BOUNDS["room"]
    for seed in range(12):
        things = room(np.random.default_rng(seed))
        for thing in things[1:]:
            assert all(a - 0.5 <= c <= b + 0.5 for a, c, b in zip(low, thing.centre, high, strict=True))
        inside = [thing for thing in things if max(thing.half) < 1.5 and thing.half[1] != 0.03 != thing.half[0]]
        assert len(inside) > 5 and all(math.hypot(*thing.centre[:2]) > 0.8 for thing in inside)
        path = walk(np.random.default_rng(seed))
        for time in (0.0, 0.3, 0.8):
            pose = path(time)
            assert float(pose[:2, 3].norm()) < 0.75 and 0.9 < float(pose[2, 3]) < 2.0
            torch.testing.assert_close(pose[:, :3].T @ pose[:, :3], torch.eye(3), atol=1e-5, rtol=0)
        torch.testing.assert_close(path(0.0), path(1.0), atol=1e-4, rtol=0)
