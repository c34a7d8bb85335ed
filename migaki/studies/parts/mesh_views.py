"""Views of a mesh against pictures: with the colours of its vertices, with its texture, and with nothing at all."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from migaki.data.files.image_file import read_image
from migaki.data.folder import ImageFolder
from migaki.ops.linear_light import to_linear, to_srgb
from migaki.ops.mesh_raster import drawn
from migaki.ops.texture_atlas import looked_up

Array = np.ndarray[Any, Any]

_FINE = 3  # rays across and down a pixel


def compare_views(mesh: Path, views: Path, background: float = 1.0) -> dict[str, float]:
    """Returns the mean PSNR in dB over the pictures of the posed set `views` that its rows call `test`.

    `vertices` and `texture` are of the mesh in the folder `mesh`, with the colours as they were seen (light included)
    before a `background` of sRGB; `texture` only where there is one. `blank` is the background alone, what costs
    nothing.
    """
    folder = ImageFolder(views)
    with np.load(mesh / "mesh.npz", allow_pickle=False) as stored:
        made = {name: stored[name] for name in stored.files}
    texture = None
    if "uv" in made:
        picture = torch.from_numpy(read_image(mesh / "mesh_seen.png")[:3].astype(np.float32) / 255)
        texture = to_linear(picture).permute(1, 2, 0).double().numpy()
    found: dict[str, list[float]] = {}
    for place in [number for number, row in enumerate(folder.rows) if row.get("split") == "test"]:
        batch = folder.read([place], ("image", "camera_to_world", "intrinsics"))
        truth = batch["image"][0].double().numpy()
        pose, lens = (batch[key][0].double().numpy() for key in ("camera_to_world", "intrinsics"))
        for name, shown in _shown(made, texture, pose, lens, truth.shape[1:], background).items():
            found.setdefault(name, []).append(-10 * math.log10(max(float(((shown - truth) ** 2).mean()), 1e-12)))
    return {name: float(np.mean(values)) for name, values in found.items()}


def _shown(made: dict[str, Array], texture: Array | None, pose: Array, lens: Array, size: Any, background: float
           ) -> dict[str, Array]:
    """Pictures (3, H, W) in sRGB by name."""
    height, width = size
    vertices, faces = made["vertices"], made["faces"]
    seen = drawn(vertices, faces, pose, lens * _FINE, height * _FINE, width * _FINE)
    paper = float(to_linear(torch.tensor(background)))
    empty = np.full((*seen.face.shape, 3), paper)
    pictures = {"blank": empty, "vertices": np.where((seen.face >= 0)[..., None], seen.values(faces, made["colours"]),
                                                     paper)}
    if texture is not None:
        # The atlas has the same triangles in the same order; its corners have places in the texture.
        places = seen.values(made["uv_faces"], made["uv"])
        painted = empty.copy()
        painted[seen.face >= 0] = looked_up(texture, places[seen.face >= 0])
        pictures["texture"] = painted
    return {name: _picture(light, height, width) for name, light in pictures.items()}


def _picture(light: Array, height: int, width: int) -> Array:
    """The mean of the rays of each pixel, as sRGB (3, H, W)."""
    mean = light.reshape(height, _FINE, width, _FINE, 3).mean((1, 3)).transpose(2, 0, 1)
    return np.asarray(to_srgb(torch.from_numpy(np.ascontiguousarray(mean)).float()).double().numpy())
