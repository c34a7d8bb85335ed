"""Rendered scenes: depth, flow, projection, normals, light and material agree with each other and with formulas."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder
from migaki.ops.camera import look_at, pixel_rays, project, unproject
from migaki.ops.linear_light import to_linear
from migaki.simulate import ray_tracer, scene_patterns
from migaki.simulate.scene import SceneSimulator
from migaki.simulate.scene_things import Material, Mesh, Motion, Thing, blob, knot, pack, surface, to_obj
from migaki.stages.simulate import SimulateJob, simulate

Array = npt.NDArray[Any]

SIZE = 24
FRAMES = {"ring": (3, 4), "street": (0, 3), "stereo": (0, 1), "pair": (0, 1), "moving": (5, 6)}
every_kind = pytest.mark.parametrize("kind", FRAMES)


def config(kind: str, **more: object) -> SceneSimulator.Config:
    return SceneSimulator.Config(kind=kind, height=SIZE, width=SIZE + 6, supersample=1, **more)  # type: ignore[arg-type]


@functools.cache
def rendered(kind: str) -> Batch:
    """A picture, and the next one of its film."""
    return SceneSimulator(config(kind, linear=True)).render(7, FRAMES[kind])


def points(batch: Batch, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The surface (P, 3) at each pixel centre that shows one, by depth and pose, and these pixels (H, W)."""
    rows, columns = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE + 6) + 0.5, indexing="ij")
    there = batch["depth"][number] > 0
    uv = torch.stack([columns[there], rows[there]], -1)
    return unproject(uv, batch["depth"][number][there], batch["intrinsics"][number],
                     batch["camera_to_world"][number]), there


@pytest.mark.parametrize("kind", ["ring", "street", "stereo"])
def test_flow_is_depth_seen_by_the_next_camera(kind: str) -> None:
    """Nothing moves in these, so where a pixel's surface is next follows from depth and poses alone."""
    batch = rendered(kind)
    surface_points, there = points(batch, 0)
    uv, depth = project(surface_points, batch["intrinsics"][1], batch["camera_to_world"][1])
    rows, columns = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE + 6) + 0.5, indexing="ij")
    found = batch["flow"][0][:, there] + torch.stack([columns[there], rows[there]])
    before = depth > 0.05
    assert before.float().mean() > 0.5 and there.float().mean() > 0.15
    torch.testing.assert_close(found[:, before], uv[before].T, atol=2e-3, rtol=1e-4)


@every_kind
def test_flow_leads_to_the_same_thing_at_its_depth(kind: str) -> None:
    """Where the next picture sees a pixel's surface, it shows the same thing there, in moving scenes too."""
    batch = rendered(kind)
    seen = batch["flow_seen"][0] == 1
    rows, columns = torch.nonzero(seen, as_tuple=True)
    u = (columns + 0.5 + batch["flow"][0, 0][seen]).floor().long()
    v = (rows + 0.5 + batch["flow"][0, 1][seen]).floor().long()
    same = batch["mask"][1][v, u] == batch["mask"][0][seen]
    assert len(same) > 40 and same.float().mean() > 0.85  # pixels at rims round to a neighbour


def test_stereo_is_rectified() -> None:
    batch = rendered("stereo")
    left, right = batch["camera_to_world"]
    assert torch.equal(left[:, :3], right[:, :3])
    torch.testing.assert_close(right[:, 3] - left[:, 3], 0.16 * left[:, 0], atol=1e-6, rtol=0)
    there = batch["depth"][0] > 0
    disparity = -batch["flow"][0, 0][there]
    wanted = batch["intrinsics"][0, 0] * 0.16 / batch["depth"][0][there]
    torch.testing.assert_close(disparity, wanted, atol=1e-3, rtol=0)
    assert batch["flow"][0, 1][there].abs().max() < 1e-3


@pytest.mark.parametrize("kind", ["pair", "moving"])
def test_things_move_where_the_camera_alone_would_not_take_them(kind: str) -> None:
    batch = rendered(kind)
    surface_points, there = points(batch, 0)
    uv, _ = project(surface_points, batch["intrinsics"][1], batch["camera_to_world"][1])
    rows, columns = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE + 6) + 0.5, indexing="ij")
    static = uv.T - torch.stack([columns[there], rows[there]])
    away = (batch["flow"][0][:, there] - static).norm(dim=0)
    own = batch["mask"][0][there] <= 2  # floor and wall stand still
    assert away[own].max() < 2e-3 and away[~own].max() > 0.1


@every_kind
def test_the_picture_is_the_lambertian_sum_where_nothing_shines(kind: str) -> None:
    """radiance = albedo * (sun * n.l * seen + ambient(n)) + highlight: between the shadowed and the lit value."""
    batch = rendered(kind)
    there = batch["depth"][0] > 0
    normals, albedo = batch["normals"][0][:, there].double(), to_linear(batch["albedo"][0])[:, there].double()
    ambient, sun = batch["ambient"][0].double(), batch["sun_colour"][0].double()
    x, y, z = normals
    basis = torch.stack([0.28209479 * torch.ones_like(x), 0.48860251 * y, 0.48860251 * z, 0.48860251 * x,
                         1.09254843 * x * y, 1.09254843 * y * z, 0.31539157 * (3 * z * z - 1), 1.09254843 * x * z,
                         0.54627422 * (x * x - y * y)])
    low = albedo * (ambient.T @ basis)
    facing = (normals * batch["sun_direction"][0].double()[:, None]).sum(0).clamp_min(0)
    high = low + albedo * sun[:, None] * facing
    found = batch["radiance"][0][:, there].double()
    assert (found >= low - 1e-4).all(), "light is never below that of the sky"
    is_lit = (found - high).min(0).values > -1e-4
    is_dark = (found - low).abs().max(0).values < 1e-4
    assert (is_lit | is_dark).float().mean() > 0.99 and is_lit.any()
    matt = (found - high).abs().max(0).values < 0.02
    assert matt.float().mean() > 0.1
    torch.testing.assert_close(to_linear(batch["image"][0]), batch["radiance"][0].clamp(0, 1), atol=2e-6, rtol=1e-4)
    torch.testing.assert_close(batch["normals"][0][:, there].norm(dim=0), torch.ones(int(there.sum())))


def test_a_ball_has_the_depth_of_its_formula() -> None:
    ball = Thing(scene_patterns.SPHERE, Material(scene_patterns.PLAIN), (0.7, 0.7, 0.7), (0.1, 0.2, -0.1))
    pose = look_at(torch.tensor([1.5, -2.0, 1.0]), torch.tensor([0.1, 0.2, -0.1]))
    lens = torch.tensor([30.0, 30.0, 12.0, 12.0])
    depth, normals, _ = _traced([ball], pose, lens)
    origins, directions = (value.double() for value in pixel_rays(lens, pose, 24, 24))
    offset = origins - torch.tensor([0.1, 0.2, -0.1])
    along = (offset * directions).sum(-1)
    root = along**2 - (offset**2).sum(-1) + 0.49
    distance = -along - root.clamp_min(0).sqrt()
    wanted = torch.where(root > 0, distance * (directions @ pose[:, 2].double()), torch.zeros(()))
    np.testing.assert_allclose(depth, wanted, atol=5e-5)  # the rays of the formula are float32
    there = depth > 0
    place = offset + distance[..., None] * directions
    np.testing.assert_allclose(normals[:, there].T, place[torch.from_numpy(there)] / 0.7, atol=1e-4)


def test_a_mesh_of_a_box_is_the_box() -> None:
    turned = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    box = Thing(scene_patterns.BOX, Material(scene_patterns.PLAIN), (0.3, 0.5, 0.7), (0.1, 0.0, 0.2), turned)
    vertices, faces = surface(box)
    corners = vertices[faces]
    volume = np.einsum("ij,ij->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
    assert volume == pytest.approx(8 * 0.3 * 0.5 * 0.7), "triangles face outwards"
    local = (vertices - [0.1, 0.0, 0.2]) @ turned
    mesh = Thing(scene_patterns.MESH, box.material, (1.0, 1.0, 1.0), box.centre, turned, mesh=Mesh(local, local, faces))
    pose = look_at(torch.tensor([1.5, -2.0, 1.3]), torch.tensor([0.1, 0.0, 0.2]))
    lens = torch.tensor([30.0, 30.0, 12.0, 12.0])
    first, second = _traced([box], pose, lens)[0], _traced([mesh], pose, lens)[0]
    assert (first > 0).sum() > 60
    np.testing.assert_allclose(first, second, atol=1e-6)


def _traced(things: list[Thing], pose: torch.Tensor, lens: torch.Tensor) -> tuple[Array, Array, Array]:
    """Depth, normals and mask of 24 x 24 px."""
    packed, poses, view = pack(things), np.stack([thing.pose(0.0) for thing in things]), pose.double().numpy()
    colour, albedo, depth, rough = np.zeros((24, 24, 3)), np.zeros((24, 24, 3)), np.zeros((24, 24)), np.zeros((24, 24))
    normals, flow = np.zeros((3, 24, 24)), np.zeros((2, 24, 24))
    seen, mask = np.zeros((24, 24), np.uint8), np.zeros((24, 24), np.uint8)
    sun = np.array([[0.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    ray_tracer.trace_rows(0, 24, 1, 0.0, lens.double().numpy(), view, view, packed.things, packed.roots, poses, poses,
                          packed.nodes, packed.triangles, packed.materials, np.zeros((1, 4, 4, 3)), sun,
                          np.zeros((9, 3)), np.zeros((2, 3)), colour, albedo, depth, normals, flow, seen, mask, rough)
    assert np.abs(flow).max() < 1e-5 and np.array_equal(seen > 0, mask > 0), "nothing moved, so all is seen again"
    return depth, normals, mask


def test_highlights_keep_energy_and_grow_with_smoothness() -> None:
    """The share of light sent back by the highlight alone, summed over the half sphere, stays below 1."""
    draw = np.random.default_rng(0)
    peaks = []
    for roughness in (0.2, 0.5, 0.9):
        nv, total = 0.8, 0.0
        view = np.array([math.sqrt(1 - nv * nv), 0.0, nv])
        for _ in range(2000):
            nl, around = draw.random(), draw.uniform(0, 2 * np.pi)
            light = np.array([math.sqrt(1 - nl * nl) * math.cos(around), math.sqrt(1 - nl * nl) * math.sin(around), nl])
            half = (view + light) / np.linalg.norm(view + light)
            total += ray_tracer.highlight(roughness, 1.0, nv, nl, half[2], float(view @ half)) / 1000
        assert 0.3 < total < 1.25  # 1 within the noise of 2,000 directions
        peaks.append(ray_tracer.highlight(roughness, 0.04, nv, nv, 1.0, nv))
    assert peaks[0] > 4 * peaks[1] > 4 * peaks[2] > 0


def test_motions_are_rigid_and_even() -> None:
    thing = Thing(scene_patterns.BOX, Material(scene_patterns.PLAIN), (1.0, 1.0, 1.0), (1.0, 2.0, 3.0),
                  motion=Motion((0.5, 0.0, -0.5), (0.0, 0.0, 2.0), math.pi / 2))
    np.testing.assert_allclose(thing.pose(0.5)[9:], [1.25, 2.0, 2.75])
    np.testing.assert_allclose(thing.pose(1.0)[:9].reshape(3, 3), [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-12)


@pytest.mark.parametrize("mesh", [knot(0.5, 0.25, steps=40, sides=8), knot(0.5, 0.2, (1, 0), 24, 8),
                                  blob(np.random.default_rng(1), 0.5, rings=9)])
def test_meshes_are_closed_and_look_outwards(mesh: Mesh) -> None:
    edges = np.sort(np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]]), 1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()
    corners = mesh.vertices[mesh.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((normal * mesh.normals[mesh.faces].mean(1)).sum(1) > 0).mean() > 0.99
    assert np.einsum("ij,ij->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) > 0
    assert np.linalg.norm(mesh.vertices, axis=1).max() < 0.7


def test_a_folder_holds_everything(tmp_path: Path) -> None:
    made = SceneSimulator(config("ring", views=4, linear=True))
    out = simulate("scene", made, SimulateJob(out=tmp_path / "a", count=4, seed=7), quiet=True)
    folder = ImageFolder(out)
    assert [row["split"] for row in folder.rows] == ["test", "train", "train", "train"]
    assert folder.made["scene"]["background"] == [1.0, 1.0, 1.0] and folder.made["units"] == {"depth": "scene units"}
    batch, wanted = folder.read([1], folder.keys), made.render(7, [1])
    for key in ("depth", "normals", "flow", "camera_to_world", "intrinsics", "radiance", "roughness", "ambient"):
        torch.testing.assert_close(batch[key].reshape(wanted[key].shape), wanted[key], atol=0, rtol=1e-6)
    assert torch.equal(batch["mask"], wanted["mask"])
    low, high = np.array(folder.made["scene"]["bounds"])
    lines = (out / "scene_0000.obj").read_text().splitlines()
    vertices = np.array([line.split()[1:] for line in lines if line.startswith("v ")], np.float64)
    assert (vertices >= low).all() and (vertices <= high).all() and lines[0] == "# scene 0, seed 7"


def test_obj_has_a_group_for_each_thing() -> None:
    ball = Thing(scene_patterns.SPHERE, Material(scene_patterns.PLAIN), (0.5, 0.5, 0.5), (1.0, 0.0, 0.0))
    lines = to_obj([ball, ball], "two").decode().splitlines()
    vertices = np.array([line.split()[1:] for line in lines if line.startswith("v ")], np.float64)
    np.testing.assert_allclose(np.linalg.norm(vertices - [1, 0, 0], axis=1), 0.5, atol=1e-6)
    faces = np.array([line.split()[1:] for line in lines if line.startswith("f ")], np.int64)
    assert lines.count("o thing_002") == 1 and faces.max() == len(vertices) and faces.min() == 1


def test_the_same_scene_from_beside() -> None:
    plain, aside = (SceneSimulator(config("pair", shift=shift)).render(7, [0]) for shift in (0.0, 0.25))
    pose = plain["camera_to_world"][0]
    torch.testing.assert_close(aside["camera_to_world"][0][:, 3], pose[:, 3] + 0.25 * pose[:, 0])
    assert torch.equal(aside["sun_direction"], plain["sun_direction"])


@pytest.mark.parametrize("more, message", [
    ({"height": 2}, "8 to 4096"), ({"supersample": 0}, "supersample is 1 to 8"), ({"field_deg": 2.0}, "5 to 120"),
    ({"shift": 3.0}, "at most 1 scene unit")])
def test_options_out_of_range(more: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SceneSimulator.Config(**more)  # type: ignore[arg-type]
