"""Colours and albedo on the texels of a mesh, beside those of its vertices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from migaki.changes.parts.posed_colours import Seen
from migaki.core.errors import UserError
from migaki.data.files.png import encode_png
from migaki.ops.linear_light import to_srgb
from migaki.ops.mesh import Surface
from migaki.ops.sun_light import Lamp, light_at
from migaki.ops.texture_atlas import Atlas, gutter_filled, unwrapped

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Canvas:
    """The texels of a mesh that show it: their points and normals (T, 3), and where they lie in `known` (S, S)."""

    atlas: Atlas
    known: Array
    points: Array
    normals: Array

    def baked(self, seen: Seen, lamp: Lamp, surface: Surface, vertices: Array) -> tuple[Array, Array]:
        """Returns the albedo and the colours as textures (S, S, 3) in linear light, filled beyond their charts.

        `vertices` (V, 6) are albedo and colours of the vertices: texels of which no view is sure get them.
        """
        own = seen.colours.clip(0, 1)
        albedo = own
        if lamp.ambient.any():
            albedo = (seen.colours / light_at(lamp, *surface, self.points, self.normals)).clip(0, 1)
        atlas = self.atlas
        instead = atlas.texels.values(atlas.faces, vertices[atlas.places])[self.known]
        values = np.where((seen.sure > 0)[:, None], np.hstack([albedo, own]), instead)
        texture = np.zeros((*self.known.shape, 6))
        texture[self.known] = values
        filled = gutter_filled(texture, self.known)
        return filled[..., :3], filled[..., 3:]


def canvas_of(vertices: Array, faces: Array, normals: Array, side: int) -> Canvas:
    """Returns the texels of a texture of `side` px; UserError without xatlas, and for a mesh that has no atlas."""
    try:
        atlas = unwrapped(vertices, faces, side)
    except ImportError as error:
        raise UserError("apply mesh: --texture needs an extra: pip install 'migaki[mesh]', or leave --texture out"
                        ) from error
    except ValueError as error:
        raise UserError(f"apply mesh: --texture: {error}: give fewer --faces or a larger --texture") from error
    known = atlas.texels.face >= 0
    values = atlas.texels.values(atlas.faces, np.hstack([vertices, normals])[atlas.places])[known]
    length = np.maximum(np.linalg.norm(values[:, 3:], axis=1, keepdims=True), 1e-12)
    return Canvas(atlas, known, values[:, :3], values[:, 3:] / length)


def png_of(texture: Array) -> bytes:
    """Returns a texture (S, S, 3) of linear light as a PNG in sRGB."""
    shown = to_srgb(torch.from_numpy(np.ascontiguousarray(texture.transpose(2, 0, 1))).float()).numpy()
    return encode_png(np.rint(255 * shown).astype(np.uint8))
