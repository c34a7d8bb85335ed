"""A sun on a mesh: shadows against a naive twin, its direction and colour found again, and none where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from migaki.ops import sun_light
from migaki.ops.albedo import MEAN_ALBEDO, harmonics
from migaki.ops.mesh import vertex_normals
from migaki.ops.sun_light import Lamp, find_lamp, light_at
from migaki.ops.sun_shadow import disc, sunlit

AMBIENT = np.array([[0.32, 0.33, 0.36], [0.0] * 3, [0.0] * 3, [0.1] * 3, *[[0.0] * 3] * 5])
SUN = np.array([0.9, 0.85, 0.75])


def unit(*values: float) -> np.ndarray:
    return np.array(values) / np.linalg.norm(values)


def hilly(side: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """A floor of 2 by 2 with six posts; vertices (V, 3) and faces."""
    axis = np.linspace(-1, 1, side)
    x, y = np.meshgrid(axis, axis, indexing="ij")
    places = [(-0.6, -0.5), (0.1, -0.6), (0.6, 0.1), (-0.1, 0.2), (-0.6, 0.5), (0.4, 0.7)]
    z = 0.4 * np.max([1 / (1 + np.exp(60 * (np.hypot(x - a, y - b) - 0.14))) for a, b in places], 0)
    number = np.arange(side * side).reshape(side, side)
    a, b, c, d = number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]
    faces = np.stack([a, b, c, a, c, d], -1).reshape(-1, 3)
    return np.stack([x, y, z], -1).reshape(-1, 3), faces


def painted(vertices: np.ndarray) -> np.ndarray:
    cell = np.floor(5 * vertices[:, :2] + 0.2).astype(int)
    return np.random.default_rng(1).uniform(0.1, 0.8, (12, 12, 3))[cell[:, 0] % 12, cell[:, 1] % 12]


def blocked_naively(vertices: np.ndarray, faces: np.ndarray, point: np.ndarray, direction: np.ndarray) -> bool:
    """A ray against every triangle, by solving for the place in it."""
    for a, b, c in vertices[faces]:
        matrix = np.stack([b - a, c - a, -direction], 1)
        if abs(np.linalg.det(matrix)) > 1e-12:
            u, v, t = np.linalg.solve(matrix, point - a)
            if u >= 0 and v >= 0 and u + v <= 1 and t > 0:
                return True
    return False


def test_shadows_are_those_of_a_naive_twin() -> None:
    draw = np.random.default_rng(0)
    vertices, faces = draw.uniform(-1, 1, (60, 3)), draw.permutation(60).reshape(20, 3)
    points = draw.uniform(-1.5, 1.5, (80, 3))
    for direction in (unit(0.3, -0.5, 0.8), unit(0, 0, 1), unit(-1, 0, 0)):
        wanted = [0.0 if blocked_naively(vertices, faces, point, direction) else 1.0 for point in points]
        assert sunlit(vertices, faces, points, direction[None]).tolist() == wanted
    assert 0.2 < np.mean(wanted) < 0.95
    soft = sunlit(vertices, faces, points, disc(unit(0.3, -0.5, 0.8), 0.1))
    assert set((5 * soft).round(6)) > {0.0, 5.0} and len(disc(unit(0, 0, 1), 0)) == 1
    spread = disc(unit(1, 2, 3), 0.02) @ unit(1, 2, 3)
    assert spread[0] == pytest.approx(1) and np.allclose(np.arccos(spread[1:]), 0.014, atol=2e-4)


def found(colours: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> tuple[Lamp, np.ndarray] | None:
    monkeypatch.setattr(sun_light, "_POINTS", 1500)
    monkeypatch.setattr(sun_light, "_DIRECTIONS", 60)
    vertices, faces = hilly()
    return find_lamp(colours, vertices, faces, vertex_normals(vertices, faces), np.ones(len(vertices)))


def test_the_sun_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    vertices, faces = hilly()
    normals, own = vertex_normals(vertices, faces), painted(vertices)
    truth = Lamp(AMBIENT, SUN, unit(0.5, -0.4, 0.75))
    light = light_at(truth, vertices, faces, vertices, normals)
    shade = np.ptp(light.mean(1))
    assert shade > 0.5  # there are shadows
    answer = found(own * light, monkeypatch)
    assert answer is not None
    lamp, lit = answer
    assert np.degrees(np.arccos(lamp.direction @ truth.direction)) < 4
    assert np.allclose(lamp.sun / lamp.ambient[0], SUN / AMBIENT[0], rtol=0.3)
    albedo = own * light / lamp.on(normals, lit)
    assert albedo.mean() == pytest.approx(MEAN_ALBEDO, rel=1e-6)
    scaled = albedo * (albedo * own).sum(0) / (albedo**2).sum(0)
    assert np.median(np.abs(scaled - own)) < 0.03 < np.median(np.abs(0.75 * own * light / light.mean() - own))


def test_no_sun_is_found_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    vertices, faces = hilly()
    colours = painted(vertices) * (harmonics(vertex_normals(vertices, faces)) @ AMBIENT)
    assert found(colours, monkeypatch) is None
    assert found(np.full_like(colours, 0.4), monkeypatch) is None
