"""`demo scene` in a small form: film, views, mesh and truth on one page; the mesh's figures against known meshes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from migaki.core.errors import UserError
from migaki.lab.study import run_study
from migaki.ops.albedo import harmonics
from migaki.ops.mesh import vertex_normals
from migaki.studies.demo_scene import SceneDemo
from migaki.studies.parts import mesh_truth
from migaki.studies.parts.mesh_truth import compare_with_truth, read_surfaces


@pytest.fixture(scope="module", autouse=True)
def _fewer_points() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mesh_truth, "_POINTS", 6000)
        yield


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("av", reason="films need PyAV")
    pytest.importorskip("skimage", reason="surfaces need scikit-image")
    out = tmp_path_factory.mktemp("demo")
    config = SceneDemo.Config(steps=150, views=8, size=24, frames=2, sides=(14,), rows=5000, points=32)
    run_study("demo_scene", SceneDemo(config), out, quiet=True)
    return out


def test_the_page_has_film_views_and_mesh(demo: Path) -> None:
    text = (demo / "report.html").read_text(encoding="utf-8")
    assert "data:video/mp4" in text and 'data-glb="Z2xURg' in text and "migaki apply orbit" in text
    assert "migaki apply mesh" in text and "views never seen" in text and (demo / "figures" / "views.png").exists()
    truth = json.loads((demo / "truth" / "truth.json").read_text())
    assert 0 < truth["chamfer"] < truth["chamfer_box"] + 20 and truth["albedo"] > 0
    before = (demo / "field" / "model.safetensors").stat().st_mtime_ns
    config = SceneDemo.Config(steps=150, views=8, size=24, frames=2, sides=(14,), rows=5000, points=32)
    run_study("demo_scene", SceneDemo(config), demo, quiet=True)
    assert (demo / "field" / "model.safetensors").stat().st_mtime_ns == before


def test_a_mesh_against_the_truth(demo: Path, tmp_path: Path) -> None:
    """The true surfaces are at no distance; colours that are right but for a scale are right; a lamp in them is not."""
    vertices, faces = read_surfaces(demo / "views" / "scene_0000.obj")
    normals = vertex_normals(vertices, faces)

    def compared(**changes: Any) -> dict[str, float]:
        grey = np.full_like(vertices, 0.3)
        arrays: dict[str, Any] = {"vertices": vertices, "faces": faces, "normals": normals, "albedo": grey,
                                  "colours": grey, "weights": np.ones(len(vertices)), **changes}
        np.savez(tmp_path / "mesh.npz", **arrays)
        return compare_with_truth(tmp_path / "mesh.npz", demo / "views", demo / "views" / "scene_0000.obj")

    exact = compared()
    assert exact["chamfer"] < 1.5 < exact["chamfer_box"] and exact["albedo"] == exact["albedo_undivided"]
    moved = compared(vertices=vertices + np.array([0.0, 0, 0.2]))
    assert moved["chamfer"] > exact["chamfer"] + 1
    scaled = compared(albedo=np.full_like(vertices, 0.6))
    assert scaled["albedo"] == pytest.approx(exact["albedo"]) and scaled["relit"] == pytest.approx(exact["relit"])
    lit = compared(colours=0.3 * np.clip(harmonics(normals) @ np.r_[0.6, 0, 0, 0.5, [0.0] * 5], 0.02, 2)[:, None]
                   * np.ones(3))
    assert lit["albedo_undivided"] != pytest.approx(lit["albedo"], abs=0.01)


def test_nonsense_is_refused() -> None:
    wrong: list[dict[str, Any]] = [{"steps": 0}, {"views": 4}, {"size": 8}, {"frames": 0}]
    for words in wrong:
        with pytest.raises(UserError, match="migaki demo scene"):
            SceneDemo.Config(**words)
