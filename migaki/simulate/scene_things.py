"""What stands in scenes of `simulate scene`: rigid things, their materials, meshes with a tree of boxes, and OBJ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from migaki.simulate.scene_patterns import BOX, MESH, SPHERE

Array = npt.NDArray[Any]
Vector = tuple[float, float, float]

_SPHERE_RINGS = 24  # of a sphere's triangles in OBJ


@dataclass(frozen=True, slots=True)
class Material:
    """How a surface looks; colours are linear."""

    kind: int  # of `scene_patterns`: PLAIN, CHECKER, ...
    first: Vector = (0.5, 0.5, 0.5)
    second: Vector = (0.5, 0.5, 0.5)
    scale: float = 1.0  # repeats of the pattern per scene unit
    roughness: float = 0.6
    reflectance: float = 0.04  # of light from straight ahead
    texture: int = 0
    seed: int = 0

    def packed(self) -> list[float]:
        """The row (12,) of `ray_tracer`'s table."""
        return [self.kind, *self.first, *self.second, self.scale, self.roughness, self.reflectance, self.texture,
                self.seed]


@dataclass(frozen=True, slots=True)
class Mesh:
    """Triangles in their own axes."""

    vertices: Array  # (V, 3)
    normals: Array  # (V, 3), of length 1
    faces: Array  # (T, 3) int


@dataclass(frozen=True, slots=True)
class Motion:
    """A rigid motion over time: a straight way, and a turn about an axis, both even."""

    way: Vector = (0.0, 0.0, 0.0)  # scene units while time goes from 0 to 1
    axis: Vector = (0.0, 0.0, 1.0)
    turn: float = 0.0  # radians while time goes from 0 to 1


STILL: Final = Motion()


@dataclass(frozen=True, slots=True)
class Thing:
    """A rigid thing: a shape, where it stands at time 0, how it moves."""

    kind: int  # SPHERE, BOX or MESH
    material: Material
    half: Vector  # half sides; a sphere's radius comes first
    centre: Vector
    rotation: Array = field(default_factory=lambda: np.eye(3))
    motion: Motion = STILL
    mesh: Mesh | None = None

    @property
    def radius(self) -> float:
        """Of the ball round its centre that holds it."""
        if self.kind == SPHERE:
            return self.half[0]
        if self.mesh is not None:
            return float(np.linalg.norm(self.mesh.vertices, axis=1).max()) + 1e-9
        return math.sqrt(sum(side * side for side in self.half))

    def pose(self, time: float) -> Array:
        """Rotation (row by row) and centre (12,) at a time."""
        turned = about(self.motion.axis, self.motion.turn * time) @ self.rotation
        return np.concatenate([turned.ravel(), np.array(self.centre) + time * np.array(self.motion.way)])


def about(axis: Sequence[float], angle: float) -> Array:
    """The rotation (3, 3) by an angle in radians about an axis (Rodrigues' formula)."""
    x, y, z = np.array(axis, np.float64) / np.linalg.norm(axis)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    # einsum sums in a fixed order, unlike an unknown BLAS.
    square: Array = np.einsum("ij,jk->ik", cross, cross)
    found: Array = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * square
    return found


@dataclass(frozen=True, slots=True)
class Packed:
    """Things and materials as `ray_tracer` takes them; poses belong to a time."""

    things: Array
    roots: Array
    nodes: Array
    triangles: Array
    materials: Array


def pack(things: Sequence[Thing]) -> Packed:
    """Returns the tables of things that share one material each; equal meshes share their triangles."""
    rows, roots, materials = [], [], []
    nodes: list[Array] = [np.zeros((1, 8))]
    triangles: list[Array] = [np.zeros((1, 6, 3))]
    places: dict[int, int] = {}
    count = corners = 1
    for number, thing in enumerate(things):
        rows.append([thing.kind, number, *thing.half, thing.radius])
        materials.append(thing.material.packed())
        root = 0
        if thing.mesh is not None:
            if id(thing.mesh) not in places:
                tree, order = _tree(thing.mesh, count, corners)
                places[id(thing.mesh)] = count
                nodes.append(tree)
                faces = thing.mesh.faces[order]
                triangles.append(np.concatenate([thing.mesh.vertices[faces], thing.mesh.normals[faces]], 1))
                count, corners = count + len(tree), corners + len(faces)
            root = places[id(thing.mesh)]
        roots.append(root)
    return Packed(np.array(rows, np.float64), np.array(roots, np.int64), np.concatenate(nodes),
                  np.concatenate(triangles), np.array(materials, np.float64))


def _tree(mesh: Mesh, start: int, corner: int) -> tuple[Array, Array]:
    """Boxes in depth-first order, cut in halves along their longest side, one triangle a leaf; the triangles' order."""
    points = mesh.vertices[mesh.faces]
    low, high, middle = points.min(1), points.max(1), points.mean(1)
    nodes: list[list[float]] = []
    order: list[int] = []

    def build(own: Array) -> None:
        place = len(nodes)
        box = np.concatenate([low[own].min(0), high[own].max(0)])
        nodes.append([*box, 0, 0])
        if len(own) == 1:
            nodes[place][7] = corner + len(order) + 1
            order.append(int(own[0]))
        else:
            axis = int(np.argmax(np.ptp(middle[own], axis=0)))
            ranked = own[np.argsort(middle[own, axis], kind="stable")]
            build(ranked[: len(own) // 2])
            build(ranked[len(own) // 2 :])
        nodes[place][6] = start + len(nodes)

    build(np.arange(len(points)))
    return np.array(nodes, np.float64), np.array(order)


def tube(curve: Array, radius: float, sides: int) -> Mesh:
    """A closed tube round a closed curve (N, 3); its cross-section does not twist where it closes."""
    ahead = np.roll(curve, -1, 0) - np.roll(curve, 1, 0)
    ahead = ahead / np.linalg.norm(ahead, axis=1, keepdims=True)
    outward = curve / np.linalg.norm(curve, axis=1, keepdims=True)
    side = np.cross(ahead, outward)
    side = side / np.linalg.norm(side, axis=1, keepdims=True)
    other = np.cross(side, ahead)
    angle = np.arange(sides) * 2 * np.pi / sides
    normals = (np.cos(angle)[:, None] * side[:, None] + np.sin(angle)[:, None] * other[:, None]).reshape(-1, 3)
    vertices = np.repeat(curve, sides, 0) + radius * normals
    return Mesh(vertices, normals, _grid(len(curve), sides, closed=True))


def knot(size: float, thickness: float, turns: tuple[int, int] = (2, 3), steps: int = 160, sides: int = 20) -> Mesh:
    """A torus knot that fits into a ball of radius `size`; (1, 0) is a ring."""
    t = np.arange(steps) * 2 * np.pi / steps
    wide = 0.62 * size + (0.3 * size if turns[1] else 0.0) * np.cos(turns[1] * t)
    curve = np.stack([wide * np.cos(turns[0] * t), wide * np.sin(turns[0] * t),
                      (0.3 * size if turns[1] else 0.0) * np.sin(turns[1] * t)], 1)
    return tube(curve, thickness * size, sides)


def blob(draw: np.random.Generator, size: float, bumps: float = 0.22, rings: int = 28) -> Mesh:
    """A ball of radius about `size` with smooth bumps."""
    waves, phases = draw.uniform(-3.2, 3.2, (5, 3)), draw.uniform(0, 2 * np.pi, 5)
    unit = _sphere(rings)
    reach = 1 + bumps * np.sin(np.einsum("vi,wi->vw", unit.vertices, waves) + phases).mean(1) * 2
    vertices = unit.vertices * (size * reach / reach.max())[:, None]
    normals = np.zeros_like(vertices)
    corners = vertices[unit.faces]
    area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    for place in range(3):
        np.add.at(normals, unit.faces[:, place], area)
    return Mesh(vertices, normals / np.linalg.norm(normals, axis=1, keepdims=True), unit.faces)


def _sphere(rings: int) -> Mesh:
    """A ball of radius 1, in rings with two poles."""
    polar, around = np.arange(1, rings) * np.pi / rings, np.arange(2 * rings) * np.pi / rings
    sine, cosine = np.sin(polar)[:, None], np.cos(polar)[:, None]
    body = np.stack([sine * np.cos(around), sine * np.sin(around), cosine + 0 * around], -1).reshape(-1, 3)
    vertices = np.concatenate([body, [[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]])
    sides, last = 2 * rings, len(body)
    inner = _grid(rings - 1, sides, closed=False)
    step = np.arange(sides)
    top = np.stack([np.full(sides, last), step, (step + 1) % sides], 1)
    base = last - sides
    bottom = np.stack([np.full(sides, last + 1), base + (step + 1) % sides, base + step], 1)
    return Mesh(vertices, vertices.copy(), np.concatenate([top, inner, bottom]))


def _grid(rows: int, columns: int, *, closed: bool) -> Array:
    """Two triangles for each cell of a grid of vertices whose columns go round, and its rows too if `closed`."""
    row, column = np.meshgrid(np.arange(rows if closed else rows - 1), np.arange(columns), indexing="ij")
    below, right = (row + 1) % rows, (column + 1) % columns
    a, b, c, d = (i * columns + j for i, j in ((row, column), (below, column), (below, right), (row, right)))
    return np.stack([a, b, c, a, c, d], -1).reshape(-1, 3)


def _box(half: Vector) -> Mesh:
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64) * half
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = np.array([part for a, b, c, d in quads for part in ((a, b, c), (a, c, d))])
    return Mesh(corners, corners, faces)


def surface(thing: Thing) -> tuple[Array, Array]:
    """Vertices (V, 3) in the world at time 0, and triangles (T, 3) that face outwards; a sphere is a polyhedron."""
    mesh = thing.mesh if thing.kind == MESH else _box(thing.half) if thing.kind == BOX else _sphere(_SPHERE_RINGS)
    assert mesh is not None
    own = mesh.vertices * (thing.half[0] if thing.kind == SPHERE else 1.0)
    return own @ thing.rotation.T + np.array(thing.centre), mesh.faces


def to_obj(things: Sequence[Thing], about_it: str) -> bytes:
    """Things at time 0 as Wavefront OBJ, one object each; spheres are polyhedra of 2,208 triangles."""
    lines, before = [f"# {about_it}"], 1
    for number, thing in enumerate(things, 1):
        vertices, faces = surface(thing)
        lines.append(f"o thing_{number:03d}")
        lines += [f"v {x:.7g} {y:.7g} {z:.7g}" for x, y, z in vertices.tolist()]
        lines += [f"f {a} {b} {c}" for a, b, c in (faces + before).tolist()]
        before += len(vertices)
    return ("\n".join(lines) + "\n").encode()
