"""Published captures: their cameras agree with their depth and their silhouettes. Skipped without MIGAKI_DATA."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from migaki.importers.importer import Importer
from migaki.importers.middlebury_views import MiddleburyViews
from migaki.importers.posed import View
from migaki.importers.seven_scenes import SevenScenes
from migaki.importers.transforms import Transforms
from migaki.ops.camera import project, unproject

SCENES = Path(os.environ.get("MIGAKI_DATA", "/nowhere")) / "scenes"
pytestmark = pytest.mark.skipif(not SCENES.is_dir(), reason=f"no published captures at {SCENES}: set MIGAKI_DATA")


def camera(view: View) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(view.intrinsics).float(), torch.from_numpy(np.asarray(view.camera_to_world)).float()


def test_depth_of_one_frame_is_that_of_the_next() -> None:
    """7-Scenes: points measured from one pose are where another measures them, within the noise of the sensor."""
    views = SevenScenes().find(SCENES / "seven_scenes_rgbd")
    first, second = views[0], views[1]
    assert first.depth is not None and second.depth is not None
    depth, other = torch.from_numpy(first.depth()), torch.from_numpy(second.depth())
    rows, columns = torch.nonzero(depth, as_tuple=True)
    uv = torch.stack([columns + 0.5, rows + 0.5], 1)
    points = unproject(uv, depth[rows, columns], *camera(first))
    seen, far = project(points, *camera(second))
    inside = (far > 0) & (seen >= 0).all(1) & (seen[:, 0] < 640) & (seen[:, 1] < 480)
    measured = other[seen[inside, 1].long(), seen[inside, 0].long()]
    error = ((far[inside] - measured) / measured)[measured > 0].abs()
    assert inside.float().mean() > 0.3 and error.median() < 0.02


@pytest.mark.parametrize("name", ["middlebury_mvs/templeSparseRing", "nerf_synthetic_lego_200"])
def test_the_bounds_hold_what_is_seen(name: str) -> None:
    """The object's pixels lie within the projected box, and fill a good part of it."""
    importer: Importer = MiddleburyViews() if "temple" in name else Transforms()
    views = importer.find(SCENES / name)
    low, high = torch.tensor(importer.scene["bounds"])
    corners = torch.stack([torch.where(torch.tensor([n & 1, n & 2, n & 4]) > 0, high, low) for n in range(8)])
    for view in views[::5]:
        _, image, row = importer.load(view)
        seen = row["mask"] > 0 if "mask" in row else image.max(0) > 90  # the stand behind the temple is darker
        there = np.argwhere(seen)[:, ::-1] + 0.5
        uv = project(corners, *camera(view))[0].numpy()
        inside = ((there >= uv.min(0)) & (there <= uv.max(0))).all(1)
        assert inside.mean() > 0.95
        assert (np.ptp(there, axis=0) > 0.2 * np.ptp(uv, axis=0)).all()
