"""From a density grid and posed pictures to a coloured mesh: shape, albedo, files, and what is refused."""

from __future__ import annotations

import io
import json
import math
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from refusals import message
from solid_fields import solid_field

from migaki.changes.mesh import Mesh
from migaki.changes.parts import posed_colours
from migaki.changes.parts.density_file import Density, read_density
from migaki.ops.albedo import harmonics
from migaki.ops.camera import pixel_rays, ring
from migaki.ops.linear_light import to_srgb
from migaki.ops.mesh import chamfer, large_parts, surface_points
from migaki.stages.apply import apply_change
from migaki.stages.apply_job import ApplyJob
from migaki.stages.reduce import _set

SIDE, VIEWS, CELLS = 64, 10, 40
BOUNDS = np.array([[-1.2, -1.2, -1.2], [1.2, 1.2, 1.2]])
BALLS = ((np.array([-0.25, 0.0, 0.0]), 0.7), (np.array([0.5, 0.1, 0.3]), 0.5))
LIGHT = np.array([[0.65, 0.62, 0.6], [0.2, 0.15, 0.1], [-0.1, 0.0, 0.1], [0.2, 0.22, 0.25], *[[0.03, 0.0, 0.02]] * 5])


def own_colour(points: np.ndarray) -> np.ndarray:
    """Patches with soft edges, which the pictures resolve."""
    waves = [np.tanh(4 * np.sin(points @ (4.0 * np.roll([1.0, 0.7, -0.6], k)) + k)) for k in range(3)]
    return 0.5 + 0.3 * np.stack(waves, -1)


def nearest_ball(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Signed distance from the surface, positive inside, and the normal of the ball that decides it."""
    depths = np.stack([radius - np.linalg.norm(points - centre, axis=-1) for centre, radius in BALLS])
    away = np.stack([points - centre for centre, _ in BALLS])
    chosen = depths.argmax(0)
    normal = np.take_along_axis(away, chosen[None, ..., None], 0)[0]
    return depths.max(0), normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)


def rendered(pose: torch.Tensor, lens: torch.Tensor) -> np.ndarray:
    """(S, S, 3) linear light on black."""
    origin, direction = (one.double().numpy() for one in pixel_rays(lens, pose, SIDE, SIDE))
    best = np.full((SIDE, SIDE), np.inf)
    for centre, radius in BALLS:
        along = ((centre - origin) * direction).sum(-1)
        missed = ((centre - origin) ** 2).sum(-1) - along**2
        hit = along - np.sqrt(np.maximum(radius**2 - missed, 0))
        best = np.where((missed < radius**2) & (hit < best), hit, best)
    points = origin + np.where(np.isfinite(best), best, 0.0)[..., None] * direction
    _, normals = nearest_ball(points)
    shading = (harmonics(normals.reshape(-1, 3)) @ LIGHT).reshape(SIDE, SIDE, 3)
    return np.where(np.isfinite(best)[..., None], own_colour(points) * np.maximum(shading, 0), 0.0)


@cache
def _grid() -> np.ndarray:
    axis = np.linspace(-1.2, 1.2, CELLS)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)
    return (20 + 200 * nearest_ball(points)[0]).astype(np.float32)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set with poses, and density.npz in the folder above it."""
    root = tmp_path_factory.mktemp("scene")
    (root / "set").mkdir()
    lens, lines = torch.tensor([70.0, 70.0, SIDE / 2, SIDE / 2]), []
    poses = torch.cat([ring(VIEWS // 2, 3.5, elevation, start_deg=start) for elevation, start in ((35, 0), (-30, 36))])
    for number, pose in enumerate(poses):
        picture = to_srgb(torch.from_numpy(rendered(pose, lens))).numpy()
        Image.fromarray(np.rint(255 * picture).astype(np.uint8)).save(root / "set" / f"{number}.png")
        lines.append({"file_name": f"{number}.png", "camera_to_world": pose.tolist(), "intrinsics": lens.tolist()})
    (root / "set" / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    np.savez(root / "density.npz", density=_grid(), bounds=BOUNDS)
    return root


def psnr(found: np.ndarray, truth: np.ndarray) -> float:
    scale = (found * truth).sum(0) / (found**2).sum(0)
    return -10 * math.log10(float(((found * scale - truth) ** 2).mean()))


def test_shape_and_albedo_of_two_balls(scene: Path) -> None:
    config = Mesh.Config(density=scene / "density.npz", level=20.0, taubin=4)
    out = apply_change("mesh", Mesh(config), ApplyJob(input=scene / "set", out=scene / "out"), command="migaki apply",
                       quiet=True)
    assert sorted(path.name for path in out.iterdir()) == ["mesh.glb", "mesh.html", "mesh.json", "mesh.mtl", "mesh.npz",
                                                           "mesh.obj"]
    with np.load(out / "mesh.npz", allow_pickle=False) as stored:
        made = dict(stored)
    points = surface_points(made["vertices"], made["faces"], 40_000, 0)
    draw = np.random.default_rng(0).standard_normal((25_000, 3))
    unit = draw / np.linalg.norm(draw, axis=1, keepdims=True)
    truth = np.concatenate([centre + radius * unit for centre, radius in BALLS])
    truth = truth[nearest_ball(truth)[0] < 1e-6]
    size = float(np.linalg.norm(np.ptp(truth, axis=0)))
    assert chamfer(points, truth) / size < 0.01
    seen = made["weights"] > 0
    assert seen.mean() > 0.9
    own = own_colour(made["vertices"][seen])
    assert psnr(made["albedo"][seen], own) > 25 and psnr(made["albedo"][seen], own) > psnr(made["colours"][seen], own)
    basis = harmonics(made["normals"][seen])
    lamp = np.roll(LIGHT, 1, axis=1) * np.r_[1, -np.ones(3), np.ones(5)][:, None]
    assert psnr(made["albedo"][seen] * (basis @ lamp), own * (basis @ lamp)) > 24
    record = json.loads((out / "mesh.json").read_text())
    assert record["sun"] is None  # there is none, so light and albedo are those of the harmonics alone
    assert record["closed"] and record["level"] == 20 and "density_contents" in record
    assert (out / "mesh.html").read_text().count("data:image/png") == 1


def test_views_of_several_films_are_one_heap(scene: Path, tmp_path: Path) -> None:
    shutil.copytree(scene / "set", tmp_path / "set")
    rows = [json.loads(line) for line in (tmp_path / "set" / "metadata.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        row |= {"clip": str(number % 3), "frame": number // 3}
    (tmp_path / "set" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    change = Mesh(Mesh.Config(density=scene / "density.npz", level=20.0, divide=False))
    apply_change("mesh", change, ApplyJob(input=tmp_path / "set", out=tmp_path / "out"), quiet=True)
    assert (tmp_path / "out" / "mesh.glb").is_file()


def test_a_point_behind_another_thing_is_not_seen() -> None:
    density = Density(_grid(), BOUNDS)
    points = np.array([[-0.25, 0.0, 0.7], [-0.25, 0.0, -0.7], [0.42, 0.08, -0.15]])
    normals = np.stack([(point - BALLS[0][0]) / np.linalg.norm(point - BALLS[0][0]) for point in points])
    seen, cosine = density.sees(points, normals, np.array([-0.25, 0.0, 4.0]), 20.0)
    assert seen.tolist()[:2] == [True, False] and cosine[0] == pytest.approx(1)
    across, _ = density.sees(points[:1], np.array([[1.0, 0, 0]]), np.array([4.0, 0.4, 0.7]), 20.0)
    assert not across[0]  # the other ball stands between


def test_bad_input_is_refused_in_one_line(scene: Path, tmp_path: Path) -> None:
    def refused(density: Any = None, given: Path = scene / "set", **options: Any) -> str:
        path = tmp_path / "d.npz"
        if isinstance(density, bytes):
            path.write_bytes(density)
        else:
            np.savez(path, **({"density": _grid(), "bounds": BOUNDS} if density is None else density))
        job = ApplyJob(input=given, out=tmp_path / "out")
        return message(lambda: apply_change("mesh", Mesh(Mesh.Config(density=path, **options)), job, quiet=True))

    assert "holds no surface" in refused(level=1e9) and "holds no surface" in refused(
        {"density": np.zeros((8, 8, 8)), "bounds": BOUNDS})
    assert "no NumPy archive" in refused(b"rubbish") and "holds no `bounds`" in refused({"density": _grid()})
    assert "are no box" in refused({"density": _grid(), "bounds": BOUNDS[::-1]})
    assert "give numbers (X, Y, Z)" in refused({"density": np.zeros((8, 8)), "bounds": BOUNDS})
    assert "not finite" in refused({"density": np.full((8, 8, 8), np.nan), "bounds": BOUNDS})
    assert "no NumPy archive" in refused({"density": np.array([[["a"]]], object), "bounds": BOUNDS})
    assert "no picture sees" in refused({"density": _grid(), "bounds": BOUNDS + np.array([0.0, 0, 500])})
    (tmp_path / "plain").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "plain" / "a.png")
    with pytest.MonkeyPatch.context() as patch:  # before a field is asked for its surface, which takes a minute
        patch.setattr("migaki.changes.mesh.surfaces.surface_of", None)
        assert "no `camera_to_world`" in refused(given=tmp_path / "plain")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    assert "holds other files" in refused()
    shutil.rmtree(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert "no such file" in message(lambda: read_density(tmp_path / "no.npz"))
    for options in ({"faces": 3}, {"parts": 2.0}, {"level": float("nan")}, {"rounds": -1}):
        assert "apply mesh:" in message(lambda options=options: Mesh.Config(density=scene, **options))


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "d.npz", density=np.zeros((64, 64, 64), np.float32), bounds=BOUNDS)
    monkeypatch.setattr("migaki.changes.parts.density_file.MOST_BYTES", 1000)
    assert "unpacks to more" in message(lambda: read_density(tmp_path / "d.npz"))


def test_a_field_becomes_a_mesh(scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the depth that it shows to the cameras that it was learned from."""
    rows = [json.loads(line) for line in (scene / "set" / "metadata.jsonl").read_text().splitlines()]
    poses = torch.tensor([row["camera_to_world"] for row in rows])
    field = solid_field(lambda places: nearest_ball(places)[0], poses, torch.tensor(rows[0]["intrinsics"]),
                        size=(SIDE, SIDE), side=32)
    monkeypatch.setattr("migaki.changes.parts.field_density.open_field", lambda _: field)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    told: list[tuple[int, int]] = []
    change = Mesh(Mesh.Config(model=tmp_path / "run", points=40))
    frames = _set(scene / "set", is_one_film=False)
    made = change.reduce(frames, tmp_path, lambda done, total: told.append((done, total)))
    with np.load(io.BytesIO(made.files["mesh.npz"]), allow_pickle=False) as stored:
        vertices, faces, weights = (stored[name] for name in ("vertices", "faces", "weights"))
    assert np.abs(nearest_ball(vertices)[0]).mean() < 0.03 and (weights > 0).mean() > 0.8
    assert made.record["closed"] and made.record["level"] == 0 and told[-1] == (20, 20) and told[9] == (10, 20)
    parts = large_parts(vertices, faces, 0.0)
    assert len(large_parts(*parts, 0.5)[0]) == len(vertices)  # one skin: the inside is filled
    assert list(change.reads()) == ["model"]
    wrong: list[dict[str, Any]] = [{}, {"model": tmp_path, "density": tmp_path}, {"model": tmp_path, "level": 2.0},
                                   {"model": tmp_path, "points": 4}, {"model": tmp_path, "views": 0}]
    for words in wrong:
        assert "apply mesh:" in message(lambda words=words: Mesh.Config(**words))
    empty = solid_field(lambda places: -np.ones(places.shape[:-1]), poses, field.kept.lens, size=(8, 8), side=8)
    monkeypatch.setattr("migaki.changes.parts.field_density.open_field", lambda _: empty)
    assert "shows no surface" in message(lambda: change.reduce(frames, tmp_path, lambda *_: None))


def test_highlights_and_outlines_are_no_colours() -> None:
    best = posed_colours._Best(2)
    for number in range(12):
        shown = np.array([[0.9, 0.9, 0.9] if number in (2, 5) else [0.3, 0.2, 0.1], [0.4, 0.4, 0.4]])
        best.add(np.arange(2), shown, np.array([0.5, 0.5 if number else 1e-3]))
    assert np.allclose(best.colours(), [[0.3, 0.2, 0.1], [0.4, 0.4, 0.4]], atol=0.01)
    best.add(np.array([1]), np.array([[0.0, 0.0, 0.0]]), np.array([0.1]))  # eight better ones are known
    assert np.allclose(best.colours()[1], 0.4, atol=1e-6)
    # A slanted square before another, seen from z = -3: only its outline is one, not the slant.
    corners = np.array([[-0.5, -0.5, 0], [0.5, -0.5, 0.4], [0.5, 0.5, 0.4], [-0.5, 0.5, 0]])
    vertices = np.concatenate([corners, 6 * corners * [1, 1, 0] + [0, 0, 2]])
    pose, lens = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, -3]]), np.array([60.0, 60, 20, 20])
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    apart = posed_colours._from_outlines((vertices, faces), pose, lens, 40, 40)
    assert apart[20, 20] > 6 and (apart[20] < 1).sum() == 4 and apart[20, 2] > 3
    assert np.isfinite(posed_colours._from_outlines((vertices[4:], faces[:2]), pose, lens, 40, 40)).all()
