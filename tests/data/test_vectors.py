"""Vectors and lenses follow their pixels: stored exactly, resampled at the nearest pixel, flow scaled and turned."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder
from migaki.data.further import carried_files
from migaki.data.sets.carry import Move, carried, scaled
from migaki.data.writers.writer import FolderWriter
from migaki.ops.camera import cropped, project, resized

TURN = Move(np.array([[0.0, -1.0, 7.0], [1.0, 0.0, 0.0]]), (8, 12), (12, 8))  # a quarter to the right


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ImageFolder:
    out = tmp_path_factory.mktemp("vectors") / "set"
    draw = np.random.default_rng(0)
    with FolderWriter(out, {}, 1) as writer:
        writer.write(0, "a", np.zeros((3, 8, 12), np.uint8), {
            "flow": draw.normal(0, 30, (2, 8, 12)).astype(np.float32),
            "normals": draw.normal(size=(3, 8, 12)).astype(np.float32), "intrinsics": [20.0, 21.0, 6.0, 4.0],
            "camera_to_world": np.eye(3, 4).tolist()})
    return ImageFolder(out)


def test_they_are_stored_exactly(folder: ImageFolder) -> None:
    draw = np.random.default_rng(0)
    batch = folder.read([0], ("flow", "normals"))
    assert np.array_equal(batch["flow"][0], draw.normal(0, 30, (2, 8, 12)).astype(np.float32))
    assert np.array_equal(batch["normals"][0], draw.normal(size=(3, 8, 12)).astype(np.float32))


def test_flow_turns_and_scales_and_normals_stay(folder: ImageFolder) -> None:
    flow, normals = (folder.vectors(key, 0) for key in ("flow", "normals"))
    found = carried_files(folder, 0, TURN)
    assert np.array_equal(found["normals"], np.rot90(normals, -1, (1, 2)))
    turned = np.rot90(flow, -1, (1, 2))
    np.testing.assert_allclose(found["flow"], np.stack([-turned[1], turned[0]]), rtol=1e-6)
    twice = carried_files(folder, 0, scaled((8, 12), (16, 24)))
    np.testing.assert_allclose(twice["flow"][:, ::2, ::2], 2 * flow, rtol=1e-6)
    half = ImageFolder(folder.path, size=(4, 6))
    np.testing.assert_allclose(half.read([0], ("flow",))["flow"][0], Move.vectors(
        scaled((8, 12), (4, 6)), flow, in_pixels=True), rtol=1e-6)


def test_a_lens_counts_from_the_corner(folder: ImageFolder) -> None:
    lens = torch.tensor([20.0, 21.0, 6.0, 4.0])
    half = carried(folder.rows[0], scaled((8, 12), (4, 6)), "")
    assert half["intrinsics"] == pytest.approx(resized(lens, 0.5).tolist())
    cut = Move(np.array([[1.0, 0.0, -3.0], [0.0, 1.0, -1.0]]), (8, 12), (6, 8))
    row = carried(folder.rows[0], cut, "")
    assert row["intrinsics"] == pytest.approx(cropped(lens, 3, 1).tolist())
    assert row["camera_to_world"] == np.eye(3, 4).tolist()
    point = torch.tensor([[0.1, 0.2, 2.0]])
    before, _ = project(point, lens, torch.eye(3, 4))
    after, _ = project(point, torch.tensor(row["intrinsics"]), torch.eye(3, 4))
    torch.testing.assert_close(after, before - torch.tensor([3.0, 1.0]))
    with pytest.raises(UserError, match="'camera_to_world' is a direction"):
        carried({"camera_to_world": np.eye(3, 4).tolist()}, TURN, "")
