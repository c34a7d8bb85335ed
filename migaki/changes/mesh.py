"""A mesh from a trained field or a density grid, and posed pictures: surface, own colours, light; as glTF and OBJ."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from migaki.changes.parts.baking import canvas_of, png_of
from migaki.changes.parts.density_file import Density, read_density
from migaki.changes.parts.field_density import density_of_field
from migaki.changes.parts.posed_colours import check_poses, gathered
from migaki.core.change import Change
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.reduction import Frames, Reduced, Reduction
from migaki.ops import mesh as surfaces
from migaki.ops.albedo import divided
from migaki.ops.gltf import Mesh as Triangles
from migaki.ops.gltf import glb, obj
from migaki.ops.sun_light import Lamp, find_lamp

Array = np.ndarray[Any, Any]
Progress = Callable[[int, int], None]

ARRAYS = "mesh.npz"
"""The mesh as arrays, in the axes of the scene: what the page shows."""


SEEN = "mesh_seen.png"
"""The texture with the colours as they were seen, where there is one; mesh.png is the albedo."""


class Mesh(Reduction, Change):
    """Makes a mesh of the surface in a trained field, coloured from posed pictures: mesh.glb and mesh.obj.

    `migaki apply mesh --model FIELD --input VIEWS --out DIR`, or --density FILE for a grid of another program. Marching
    cubes, Taubin's smoothing, decimation by clustering with quadrics. Colours of a vertex come from the views that see
    it, away from outlines and highlights. They are divided into albedo and light: a sun with its shadows and nine
    spherical harmonics, or the harmonics alone where no sun explains the colours. The glb is turned to glTF's axes (y
    up) from a scene whose z is up.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The grid, and how the surface is made."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "model density level faces taubin divide sun texture",
                                            "rest": "points views parts rounds alike steady z_up"}

        model: Path | None = None  # the folder of a trained field (voxel_field, nerf)
        density: Path | None = None  # .npz with `density` (X, Y, Z) and `bounds`, corners of its first and last sample
        level: float = 0.0  # of --density: that of the surface; 0 = what makes a cell half opaque, or halfway
        faces: int = 100_000  # triangles at most
        taubin: int = 10  # rounds of smoothing
        divide: bool = True  # divide colours into albedo and light; off: keep them as they were seen
        texture: int = 0  # px, sides of a texture (needs migaki[mesh]); 0 = colours stand at vertices
        sun: bool = True  # look for a sun and its shadows; off: light is soft
        steady: int = 10  # rounds in which normals are averaged with those that look alike; 0 = as the triangles lie
        points: int = 160  # of --model: points of the grid along the longest side of the field's box
        views: int = 32  # of --model: training cameras whose depth is fused, at most
        parts: float = 0.02  # share of the largest part's triangles under which a part is left out
        rounds: int = 12  # of the alternation between albedo and light
        alike: float = 0.1  # relative difference of albedo at which two neighbours count half as one colour
        z_up: bool = True  # the scene's z is up; off: its y is

        def __post_init__(self) -> None:
            if (self.model is None) == (self.density is None):
                raise UserError("apply mesh: give a trained field (--model RUN) or a density grid (--density FILE.npz)")
            if not 8 <= self.points <= 640 or self.views < 1 or (self.model is not None and self.level):
                raise UserError("apply mesh: --points is 8 to 640, --views at least 1; --level belongs to --density")
            if not math.isfinite(self.level) or self.faces < 100 or not 0 <= self.taubin <= 1000:
                raise UserError("apply mesh: --level is a number, --faces at least 100, --taubin lies between 0 and "
                                "1000")
            if self.texture and not 64 <= self.texture <= 4096:
                raise UserError("apply mesh: --texture is 64 to 4096 px, or 0 for colours at vertices")
            if not 0 <= self.parts <= 1 or self.alike <= 0 or not 0 <= self.rounds <= 1000 or not (
                    0 <= self.steady <= 1000):
                raise UserError("apply mesh: --parts lies between 0 and 1, --alike is above 0, --rounds and "
                                "--steady lie between 0 and 1000")

    config: Config
    record_name = "mesh"
    first_file = "mesh.glb"
    of_a_film = False
    page = "migaki.report.mesh_page:write_page"

    def reads(self) -> dict[str, Path]:
        """The field or the density grid."""
        given = {"model": self.config.model, "density": self.config.density}
        return {name: path for name, path in given.items() if path is not None}

    def reduce(self, frames: Frames, scratch: Path, progress: Progress) -> Reduced:
        """Returns the mesh with its colours."""
        config = self.config
        check_poses(frames)
        density, level, where, progress = self._opened(frames, progress)
        vertices, faces = _surface(density, level, config, where)
        normals = surfaces.steady_normals(vertices, faces, config.steady)
        canvas = canvas_of(vertices, faces, normals, config.texture) if config.texture else None
        points, facing = (vertices, normals) if canvas is None else (np.concatenate([vertices, canvas.points]),
                                                                     np.concatenate([normals, canvas.normals]))
        found = gathered(frames, density, level, points, facing, (vertices, faces), progress)
        seen = found.part(0, len(vertices))
        if not (seen.weights > 0).any():
            raise UserError(f"{show(frames.path)}: no picture sees the surface of {where}: check that "
                            "both are of one scene")
        # In tiny pictures everything lies beside an outline.
        if (seen.sure > 0).sum() < 0.5 * (seen.weights > 0).sum():
            seen, found = replace(seen, sure=seen.weights), replace(found, sure=found.weights)
        albedo, light = self._divided(seen.colours, (vertices, faces), normals, seen.sure)
        both = _unseen_filled(np.hstack([albedo, seen.colours]), seen.sure, vertices)
        albedo, colours = both[:, :3], both[:, 3:]
        arrays: dict[str, Any] = {"vertices": vertices, "faces": faces, "normals": normals, "albedo": albedo,
                                  "colours": colours, "weights": seen.weights, "light": light.ambient,
                                  "sun": np.stack([light.direction, light.sun])}
        made, files = Triangles(vertices=vertices, faces=faces, normals=normals, colours=albedo), {}
        if canvas is not None:
            own, shown = canvas.baked(found.part(len(vertices), len(points)), light, (vertices, faces), both)
            atlas = canvas.atlas
            made = Triangles(vertices=vertices[atlas.places], faces=atlas.faces, normals=normals[atlas.places],
                             uv=atlas.uv, texture=png_of(own))
            files[SEEN] = png_of(shown)
            arrays |= {"uv": atlas.uv, "uv_faces": atlas.faces, "uv_places": atlas.places}
        axes = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]) if config.z_up else np.eye(3)
        made = made.turned(axes)
        record = {"vertices": len(vertices), "faces": len(faces), "level": level,
                  "closed": bool(surfaces.is_closed(faces)), "seen": float((seen.weights > 0).mean()),
                  "light": light.ambient.round(6).tolist(), "sun": None if not light.sun.any() else {
                      "direction": light.direction.round(6).tolist(), "colour": light.sun.round(6).tolist()}}
        stored = io.BytesIO()
        np.savez(stored, **arrays)
        return Reduced(record=record, files={"mesh.glb": glb(made), **obj(made), **files, ARRAYS: stored.getvalue()})

    def _divided(self, colours: Array, surface: surfaces.Surface, normals: Array, weights: Array) -> tuple[Array, Lamp]:
        """The albedo (V, 3) of colours and the light on them: with a sun, if one explains them."""
        config, up = self.config, np.array([0.0, 0.0, 1.0] if self.config.z_up else [0.0, 1.0, 0.0])
        none = Lamp(np.zeros((9, 3)), np.zeros(3), up)
        if not config.divide:
            return colours.clip(0, 1), none
        if config.sun and (found := find_lamp(colours, *surface, normals, weights, up=up)) is not None:
            lamp, lit = found
            return (colours / lamp.on(normals, lit)).clip(0, 1), lamp
        albedo, light = divided(colours, normals, surfaces.edges_of(surface[1]), weights, rounds=config.rounds,
                                alike=config.alike)
        return albedo, replace(none, ambient=light)

    def _opened(self, frames: Frames, progress: Progress) -> tuple[Density, float, str, Progress]:
        """The grid, the level of its surface, the name of what it is of, and the progress of what is left to do."""
        config = self.config
        if config.model is None:
            assert config.density is not None
            density = read_density(config.density)
            return density, config.level or _half_opaque(density), show(config.density), progress
        before = 0

        def first(done: int, total: int) -> None:
            nonlocal before
            before = total
            progress(done, total + frames.count)

        density = density_of_field(config.model, config.points, config.views, first)
        return density, 0.0, show(config.model), lambda done, total: progress(before + done, before + total)


def _half_opaque(density: Density) -> float:
    """The density at which a cell lets half of the light through; halfway if the grid has none, as of occupancies."""
    half = math.log(2) / float(density.cell.mean())
    low, high = float(density.values.min()), float(density.values.max())
    return half if low < half < high else (low + high) / 2


def _surface(density: Density, level: float, config: Mesh.Config, where: str) -> tuple[Array, Array]:
    advice = "give another --level"
    if config.model is not None:
        advice = "look at `migaki apply orbit --model`, and train it for longer"
    try:
        vertices, faces = surfaces.surface_of(density.values, density.bounds, level)
    except ImportError as error:
        raise UserError("apply mesh needs scikit-image: pip install 'migaki[photos]'") from error
    except ValueError as error:
        raise UserError(f"{where}: {'holds' if config.model is None else 'shows'} no surface ({error}): {advice}"
                        ) from error
    vertices, faces = surfaces.large_parts(vertices, faces, config.parts)
    vertices = surfaces.smoothed(vertices, faces, config.taubin)
    vertices, faces = surfaces.decimated(vertices, faces, config.faces)
    if len(faces) < 4:
        raise UserError(f"{where}: its surface has {len(faces)} triangles: {advice}")
    return vertices, faces


def _unseen_filled(albedo: Array, weights: Array, vertices: Array) -> Array:
    """Vertices that no view sees get the albedo of the nearest that one sees."""
    from scipy.spatial import cKDTree

    seen = weights > 0
    filled = albedo.copy()
    if not seen.all():
        filled[~seen] = albedo[seen][cKDTree(vertices[seen]).query(vertices[~seen])[1]]
    return filled
