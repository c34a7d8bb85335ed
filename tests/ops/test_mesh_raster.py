"""Triangles in pixels: against rays, in front of each other, in a texture; and an atlas with its gutter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from migaki.ops.camera import look_at, pixel_rays
from migaki.ops.mesh_raster import drawn, laid_out
from migaki.ops.texture_atlas import gutter_filled, looked_up, unwrapped


def test_pixels_show_what_their_rays_meet() -> None:
    draw = np.random.default_rng(0)
    vertices, faces = draw.uniform(-1, 1, (24, 3)), np.arange(24).reshape(8, 3)
    pose = look_at(torch.tensor([2.0, -3.0, 1.0]), torch.zeros(3))
    lens = torch.tensor([40.0, 40.0, 16.0, 12.0])
    found = drawn(vertices, faces, pose.double().numpy(), lens.double().numpy(), 24, 32)
    origin, direction = (one.double().numpy() for one in pixel_rays(lens, pose, 24, 32))
    ahead = pose[:, 2].double().numpy()
    best, face = np.full((24, 32), np.inf), np.full((24, 32), -1)
    for number, (a, b, c) in enumerate(vertices[faces]):
        matrix = np.stack(np.broadcast_arrays(b - a, c - a, -direction), -1)
        u, v, t = np.moveaxis(np.linalg.solve(matrix, (origin - a)[..., None])[..., 0], -1, 0)
        nearer = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0) & (t < best)
        best, face = np.where(nearer, t, best), np.where(nearer, number, face)
    assert (found.face == face).mean() > 0.995 and (face >= 0).mean() > 0.15
    same = (found.face == face) & (face >= 0)
    assert np.allclose(found.depth[same], (best * (direction @ ahead))[same], atol=1e-4)
    places = found.values(faces, vertices)[same]
    assert np.allclose(places, (origin + best[..., None] * direction)[same], atol=1e-4)
    assert not found.values(faces, vertices)[found.face < 0].any()
    moved = vertices + 10 * np.array([2.0, -3.0, 1.0])
    behind = drawn(moved, faces, pose.double().numpy(), lens.double().numpy(), 8, 8)
    assert (behind.face == -1).all() and not behind.depth.any()


def test_a_texture_is_read_where_it_was_written() -> None:
    uv, faces = np.array([[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]), np.array([[0, 1, 2], [0, 2, 3]])
    texels = laid_out(uv, faces, 20)
    assert (texels.face >= 0).sum() == 16 * 16 and set(texels.face.ravel()) == {-1, 0, 1}
    texture = texels.values(faces, uv)
    filled = gutter_filled(texture, texels.face >= 0)
    assert np.allclose(filled[0, 0], texture[2, 2]) and np.allclose(filled[19, 10], texture[17, 10])
    assert np.allclose(looked_up(filled, np.array([[0.5, 0.3], [0.62, 0.71]])), [[0.5, 0.3], [0.62, 0.71]])


def test_every_triangle_has_a_place_of_its_own() -> None:
    pytest.importorskip("xatlas", reason="atlases need xatlas: pip install 'migaki[mesh]'")
    turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    ring = np.stack([np.cos(turn), np.sin(turn), 0 * turn], 1)
    vertices = np.concatenate([ring, ring + np.array([0, 0, 2.0]), [[0, 0, -0.5], [0, 0, 2.5]]]) + 100.0
    k, n = np.arange(12), np.roll(np.arange(12), -1)
    faces = np.concatenate([np.stack([k, n, n + 12], 1), np.stack([k, n + 12, k + 12], 1),
                            np.stack([n, k, np.full(12, 24)], 1), np.stack([k + 12, n + 12, np.full(12, 25)], 1)])
    atlas = unwrapped(vertices, faces, 128)
    assert np.array_equal(atlas.places[atlas.faces], faces)  # the same triangles, in their order
    assert set(atlas.texels.face.ravel()) >= set(range(len(faces)))
    # No two triangles share texels: each covers as many as its area says.
    a, b, c = (atlas.uv[atlas.faces[:, corner]] * 128 for corner in range(3))
    area = np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2
    counts = np.bincount(atlas.texels.face[atlas.texels.face >= 0], minlength=len(faces))
    assert np.abs(counts - area).max() < 0.25 * area.max() and (atlas.texels.face >= 0).mean() > 0.3
