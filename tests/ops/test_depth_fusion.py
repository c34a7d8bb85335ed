"""Depth maps fused into a grid: against a naive twin, the surface of a ball, and what nobody saw."""

from __future__ import annotations

import numpy as np
import torch

from migaki.ops.camera import look_at, pixel_rays, project, ring
from migaki.ops.depth_fusion import BAND, Fusion, walled_in
from migaki.ops.mesh import is_closed, surface_of

SIDE, COUNTS, CELL = 48, (25, 26, 27), 0.1
LOW = np.array([-1.2, -1.25, -1.3])
LENS = torch.tensor([60.0, 60.0, SIDE / 2, SIDE / 2])


def ball_depth(pose: torch.Tensor, radius: float = 0.7) -> np.ndarray:
    origins, towards = pixel_rays(LENS, pose, SIDE, SIDE)
    middle = -(origins * towards).sum(-1)
    inside = radius**2 - (origins.square().sum(-1) - middle**2)
    distance = middle - inside.clamp_min(0).sqrt()
    return torch.where(inside > 0, distance * (towards * pose[:, 2]).sum(-1), 0.0).numpy()


def points() -> np.ndarray:
    axes = [low + CELL * np.arange(count) for low, count in zip(LOW, COUNTS, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1)


def test_a_map_counts_as_in_a_naive_twin() -> None:
    pose = look_at(torch.tensor([2.0, 1.5, 1.0]), torch.zeros(3))
    depth = ball_depth(pose)
    depth[:4] = 0.0
    depth[40:44] = 3.5  # flat: bilinear or nearest, it is the same
    fusion = Fusion(LOW, CELL, COUNTS)
    fusion.add(depth, pose.numpy(), LENS.numpy())
    uv, ahead = project(torch.from_numpy(points()).float().view(-1, 3), LENS, pose)
    x, y = uv.floor().long().T.numpy()
    seen = (ahead.numpy() > 0) & (x >= 0) & (y >= 0) & (x < SIDE) & (y < SIDE)
    there = depth[y.clip(0, SIDE - 1), x.clip(0, SIDE - 1)]
    apart = np.where(there == 0, BAND * CELL, there - ahead.numpy())
    counted = seen & (apart >= -BAND * CELL)
    wanted = np.where(counted, np.minimum(apart, BAND * CELL), 0).reshape(COUNTS)
    assert (fusion.votes.astype(bool) == counted.reshape(COUNTS)).mean() > 0.97  # half a pixel at edges
    both = (fusion.votes > 0) & counted.reshape(COUNTS)
    assert np.abs(fusion.sums - wanted)[both].mean() < 0.2 * CELL
    flat = both & (there.reshape(COUNTS) == 3.5) & (np.abs(y.reshape(COUNTS) - 41.5) < 1)
    assert flat.any() and np.abs(fusion.sums - wanted)[flat].max() < 1e-5


def test_a_ball_is_closed_and_solid_from_a_ring_of_cameras() -> None:
    fusion = Fusion(LOW, CELL, COUNTS)
    for pose in torch.cat([ring(8, 3.0, 30.0), ring(4, 3.0, -40.0, start_deg=20)]):
        fusion.add(ball_depth(pose), pose.numpy(), LENS.numpy())
    solid = fusion.solidity()
    radius = np.linalg.norm(points(), axis=-1)
    assert (solid[radius < 0.55] > 0).all() and (solid[radius > 0.85] < 0).all()
    vertices, faces = surface_of(solid, np.stack([LOW, LOW + CELL * (np.array(COUNTS) - 1)]), 0.0)
    assert is_closed(faces) and np.abs(np.linalg.norm(vertices, axis=1) - 0.7).mean() < 0.02


def test_what_nobody_saw_is_solid_only_between_walls() -> None:
    box = np.zeros((9, 9, 9), bool)
    box[2:7, 2:7, 2:7] = True
    box[3:6, 3:6, 3:6] = False
    assert walled_in(box).sum() == 27
    box[2:7, 2:7, 6] = False  # a lid is off: five walls are enough
    assert walled_in(box)[4, 4, 4]
    box[2:7, 6, 2:7] = False
    assert not walled_in(box).any()
    fusion = Fusion(LOW, CELL, COUNTS)
    assert (fusion.solidity() == -BAND).all()  # no map: nothing is there
