"""The page of `apply mesh`: the mesh from four sides, its own colours and its shape, and the files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from migaki.changes.mesh import ARRAYS, SEEN, Mesh
from migaki.core.files import read_json, show
from migaki.ops.linear_light import to_srgb
from migaki.ops.mesh import face_normals
from migaki.report.page import Page
from migaki.report.sheets import sheet

Array = np.ndarray[Any, Any]

_SIDE = 220  # px of a picture
_POINTS = 12 * _SIDE**2  # splats: several for each pixel, so that no hole shows
_LAMP = np.array([0.3, 0.5, 0.81])  # where light comes from in pictures of the shape, in the viewer's axes


def write_page(out: Path, given: Path, change: Mesh) -> None:
    """Write `mesh.html` into `out` from the files of the result; `given` is the set of pictures."""
    record = read_json(out / f"{change.record_name}.json")
    with np.load(out / ARRAYS, allow_pickle=False) as stored:
        vertices, faces, albedo = (stored[name] for name in ("vertices", "faces", "albedo"))
    up = 2 if change.config.z_up else 1
    pictures = [seen_from(vertices, faces, albedo, turn, up) for turn in (30, 120, 210, 300)]
    page = Page(f"A mesh from {show(given.name)}", f"{record['vertices']:,} vertices, {record['faces']:,} triangles.")
    page.numbers([("triangles", f"{record['faces']:,}", "closed" if record["closed"] else "with open edges"),
                  ("seen", f"{100 * record['seen']:.0f} %", "vertices that a picture shows"),
                  ("level", f"{record['level']:.4g}", "density of the surface") if change.config.model is None else
                  ("grid", f"{change.config.points}", "points along the longest side"),
                  ("sun", "found" if record["sun"] else "none", "with shadows" if record["sun"] else "light is soft")])
    page.mesh((out / "mesh.glb").read_bytes(), "Drag to turn it; two fingers or the wheel come nearer, arrow keys and "
              "+ do it too. Own colours are the albedo; the light is the page's.")
    page.figure(sheet([("albedo", torch.stack([one[0] for one in pictures])),
                       ("shape", torch.stack([one[1] for one in pictures]))], min_side=_SIDE),
                "From four sides. Albedo: the surface's own colour, light divided out. Shape: grey, lit from one side.")
    page.links([(name, name) for name in ("mesh.glb", "mesh.obj", "mesh.mtl", "mesh.png", SEEN)
                if (out / name).exists()])
    if "command" in record:
        page.section("Repeat it", is_folded=True)
        page.code(record["command"])
    page.write(out / "mesh.html")


def seen_from(vertices: Array, faces: Array, colours: Array, degrees: float, up: int) -> tuple[Any, Any]:
    """Returns two parallel projections, each (3, S, S) in [0, 1]: linear colours as sRGB, and the shape in grey."""
    draw, normals = np.random.default_rng(0), face_normals(vertices, faces)
    areas = np.linalg.norm(normals, axis=1)
    chosen = draw.choice(len(faces), _POINTS, p=areas / areas.sum())
    u, v = np.sqrt(draw.random((_POINTS, 1))), draw.random((_POINTS, 1))
    shares = np.stack([1 - u, u * (1 - v), u * v], 1)
    points = (vertices[faces[chosen]] * shares).sum(1)
    paint = (colours[faces[chosen]] * shares).sum(1)
    axes = _viewer(math.radians(degrees), up)
    local = (points - (vertices.min(0) + vertices.max(0)) / 2) @ axes.T
    extent = float(np.linalg.norm(np.ptp(vertices, axis=0))) or 1.0
    places = np.floor((local[:, :2] / extent + 0.5) * (_SIDE - 1)).astype(int).clip(0, _SIDE - 1)
    order = np.argsort(local[:, 2])  # the nearest is painted last
    facing = (normals[chosen] / np.maximum(areas[chosen], 1e-12)[:, None]) @ axes.T
    grey = 0.15 + 0.75 * np.maximum(facing @ _LAMP, 0)
    found = []
    for values in (to_srgb(torch.from_numpy(paint)).numpy(), np.repeat(grey[:, None], 3, 1)):
        picture = np.ones((_SIDE, _SIDE, 3))
        picture[_SIDE - 1 - places[order, 1], places[order, 0]] = values[order]
        found.append(torch.from_numpy(picture.clip(0, 1).transpose(2, 0, 1)).float())
    return found[0], found[1]


def _viewer(turn: float, up: int) -> Array:
    """Axes (3, 3) right, upwards, towards the viewer, who looks down by 20 degrees."""
    down = math.radians(20)
    level = np.array([math.cos(turn), math.sin(turn), 0.0])
    right = np.array([-math.sin(turn), math.cos(turn), 0.0])
    towards = math.cos(down) * level + math.sin(down) * np.array([0, 0, 1.0])
    rows = np.stack([right, np.cross(towards, right), towards])
    return rows if up == 2 else rows[:, [1, 2, 0]]
