"""Textures of `apply mesh`: a chequered plane baked from pictures, and read again by an independent reader."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from refusals import message

from migaki.changes.mesh import Mesh
from migaki.ops.camera import pixel_rays, ring
from migaki.ops.linear_light import to_linear, to_srgb
from migaki.stages.apply import apply_change
from migaki.stages.apply_job import ApplyJob
from migaki.studies.parts.mesh_views import compare_views

SIDE, VIEWS = 128, 6


def chequers(points: np.ndarray) -> np.ndarray:
    """Red and blue fields with edges that the pictures resolve."""
    share = 0.5 + 0.5 * np.tanh(4 * np.sin(4 * points[:, 0]) * np.sin(4 * points[:, 1]))[:, None]
    return share * [0.7, 0.2, 0.1] + (1 - share) * [0.1, 0.3, 0.6]


@pytest.fixture(scope="module")
def slab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of a chequered plane at z = 0 from above, and the density of a slab below it."""
    root = tmp_path_factory.mktemp("slab")
    (root / "set").mkdir()
    lens, lines = torch.tensor([130.0, 130.0, SIDE / 2, SIDE / 2]), []
    for number, pose in enumerate(ring(VIEWS, 3.0, 65)):
        origin, direction = (one.double().numpy() for one in pixel_rays(lens, pose, SIDE, SIDE))
        points = origin - direction * (origin[..., 2:] / direction[..., 2:])
        shown = chequers(points.reshape(-1, 3)).reshape(points.shape)
        inside = (np.abs(points[..., :2]) <= 1).all(-1, keepdims=True)
        picture = to_srgb(torch.from_numpy(np.where(inside, shown, 0.0))).numpy()
        Image.fromarray(np.rint(255 * picture).astype(np.uint8)).save(root / "set" / f"{number}.png")
        lines.append({"file_name": f"{number}.png", "camera_to_world": pose.tolist(), "intrinsics": lens.tolist(),
                      "split": "test"})
    (root / "set" / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    axis = np.linspace(-1.2, 1.2, 25)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    depth = np.minimum.reduce([1 - np.abs(x), 1 - np.abs(y), -z, z + 0.4])
    np.savez(root / "density.npz", density=(20 + 100 * depth).astype(np.float32), bounds=[[-1.2] * 3, [1.2] * 3])
    return root


def config(slab: Path, **more: Any) -> Mesh.Config:
    return Mesh.Config(**{"density": slab / "density.npz", "level": 20.0, "taubin": 0, "divide": False, "texture": 160,
                          "faces": 300, "z_up": False, **more})


@pytest.fixture(scope="module")
def out(slab: Path) -> Path:
    """The folder of the mesh with its texture."""
    pytest.importorskip("xatlas", reason="textures need xatlas: pip install 'migaki[mesh]'")
    return apply_change("mesh", Mesh(config(slab)), ApplyJob(input=slab / "set", out=slab / "out"), quiet=True)


def test_a_chequered_plane_comes_back(out: Path) -> None:
    assert {"mesh.png", "mesh_seen.png", "mesh.obj", "mesh.glb"} <= {path.name for path in out.iterdir()}
    assert b"map_Kd mesh.png" in (out / "mesh.mtl").read_bytes()
    with np.load(out / "mesh.npz", allow_pickle=False) as stored:
        made = {name: stored[name] for name in ("vertices", "normals", "uv", "uv_faces", "uv_places", "weights")}
    trimesh = pytest.importorskip("trimesh", reason="trimesh is not installed: pip install trimesh")
    for name in ("mesh.glb", "mesh.obj"):
        read = trimesh.load(str(out / name), process=False, force="mesh")
        material = read.visual.material
        picture = np.asarray((material.baseColorTexture if name == "mesh.glb" else material.image).convert("RGB"))
        assert picture.shape == (160, 160, 3)
        assert np.array_equal(picture, np.asarray(Image.open(out / "mesh.png").convert("RGB")))
        # trimesh counts v upwards, whatever the file does.
        uv = np.stack([read.visual.uv[:, 0], 1 - read.visual.uv[:, 1]], 1)
        if name == "mesh.glb":
            assert np.allclose(uv, made["uv"], atol=1e-6) and np.array_equal(read.faces, made["uv_faces"])
            assert np.allclose(read.vertices, made["vertices"][made["uv_places"]], atol=1e-6)
        light = to_linear(torch.from_numpy(picture.astype(np.float32) / 255)).numpy()
        top = (np.abs(read.vertices[read.faces][..., 2]) < 1e-4).all(1) & (
            np.abs(read.vertices[read.faces][..., :2]) < 0.9).all((1, 2))
        shares = np.random.default_rng(0).dirichlet([1, 1, 1], (top.sum(), 100))
        points = (read.vertices[read.faces[top]][:, None] * shares[..., None]).sum(2).reshape(-1, 3)
        places = (uv[read.faces[top]][:, None] * shares[..., None]).sum(2).reshape(-1, 2)
        column, row = np.floor(160 * places).astype(int).T
        # A texel is compared at its own centre: what lies between texels is another matter.
        away = 160 * places - np.floor(160 * places) - 0.5
        near = (np.abs(away) < 0.15).all(1)
        error = light[row, column][near] - chequers(points[near])
        assert near.sum() > 50
        assert -10 * math.log10(float((error**2).mean())) > 35


def test_a_texture_shows_more_than_the_vertices(slab: Path, out: Path) -> None:
    found = compare_views(out, slab / "set", background=0.0)
    assert found["texture"] > found["vertices"] + 1 and found["vertices"] > found["blank"] + 3
    assert found["texture"] > 18  # the outline of the slab, rounded by its grid, is what is left


def test_texels_beyond_the_charts_are_filled(out: Path) -> None:
    picture = np.asarray(Image.open(out / "mesh.png").convert("RGB"))
    assert (picture.max(2) > 60).all()  # black is nowhere, although the pictures are black round the plane


def test_what_cannot_be_is_refused(slab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--texture is 64 to 4096" in message(lambda: config(slab, texture=16))
    monkeypatch.setitem(sys.modules, "xatlas", None)
    job = ApplyJob(input=slab / "set", out=tmp_path / "out")
    assert "pip install 'migaki[mesh]'" in message(lambda: apply_change("mesh", Mesh(config(slab)), job, quiet=True))
    assert not (tmp_path / "out" / "mesh.json").exists()
    assert not list((tmp_path / "out").glob("*.glb"))
