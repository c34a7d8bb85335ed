"""Writes posed pictures as others read them: `transforms.json` (NeRF, instant-ngp, nerfstudio), COLMAP's text model."""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.files.member import stream
from migaki.data.folder import ImageFolder
from migaki.data.sets.labels import plain
from migaki.data.writers.annotated import stored, write_folder
from migaki.ops.camera_poses import matrix_to_quaternion, nearest_rotation, to_axes

Array = np.ndarray[Any, Any]

_PICTURES = (".png", ".jpg", ".jpeg")


def write_transforms(folder: ImageFolder, out: Path) -> dict[str, int]:
    """Write the pictures to `out/images`, and their cameras, with OpenGL's axes, to `transforms.json` beside it.

    If the rows have a `split`, there is a file for each: `transforms_train.json` and so on. Returns the number of
    pictures. Raises UserError for a set without cameras, or if something stands at `out`.
    """
    poses, lenses, sizes = _cameras(folder)
    turned = to_axes(poses, "opengl")

    def fill(inner: Path) -> dict[str, int]:
        frames: dict[str, list[dict[str, Any]]] = {}
        for index, name in enumerate(_copied(folder, inner)):
            fx, fy, cx, cy = lenses[index]
            matrix = [*_plain(turned[index]), [0.0, 0.0, 0.0, 1.0]]
            frames.setdefault(_split(folder, index), []).append({
                "file_path": f"images/{name}", "w": int(sizes[index][1]), "h": int(sizes[index][0]),
                **dict(zip(("fl_x", "fl_y", "cx", "cy"), _plain(np.array([fx, fy, cx, cy])), strict=True)),
                "transform_matrix": matrix})
        scene = folder.made.get("scene")
        box = {"aabb": scene["bounds"]} if isinstance(scene, dict) and scene.get("bounds") else {}
        for split, own in frames.items():
            text = json.dumps({"camera_model": "PINHOLE", **box, "frames": own}, indent=1)
            stored(inner / (f"transforms_{split}.json" if split else "transforms.json"), f"{text}\n".encode())
        return {"pictures": len(folder)}

    return write_folder(out, fill)


def write_colmap(folder: ImageFolder, out: Path) -> dict[str, int]:
    """Write the pictures to `out/images`, and a model without points to `cameras.txt`, `images.txt`, `points3D.txt`.

    Returns the number of pictures and of cameras. Raises UserError as `write_transforms` does.
    """
    poses, lenses, sizes = _cameras(folder)

    def fill(inner: Path) -> dict[str, int]:
        kinds: dict[tuple[float, ...], int] = {}
        images = []
        for index, name in enumerate(_copied(folder, inner)):
            height, width = sizes[index]
            number = kinds.setdefault((width, height, *lenses[index].tolist()), len(kinds) + 1)
            turned = nearest_rotation(poses[index][:, :3]).T
            values = [*matrix_to_quaternion(turned), *(-turned @ poses[index][:, 3])]
            images.append(f"{index + 1} {' '.join(f'{value:.12g}' for value in values)} {number} {name}\n\n")
        cameras = [f"{number} PINHOLE {int(width)} {int(height)} {' '.join(f'{value:.9g}' for value in lens)}\n"
                   for (width, height, *lens), number in kinds.items()]
        stored(inner / "cameras.txt", "".join(["# CAMERA_ID MODEL WIDTH HEIGHT PARAMS\n", *cameras]).encode())
        heading = "# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME\n"
        stored(inner / "images.txt", os.fsencode("".join([heading, *images])))
        stored(inner / "points3D.txt", b"# POINT3D_ID X Y Z R G B ERROR TRACK\n")
        return {"pictures": len(folder), "cameras": len(kinds)}

    return write_folder(out, fill)


def _cameras(folder: ImageFolder) -> tuple[Array, Array, list[tuple[int, int]]]:
    """Poses (N, 3, 4) and intrinsics (N, 4) float64, and the sizes (H, W) of the pictures."""
    for key in ("camera_to_world", "intrinsics"):
        if key not in folder.labels:
            raise UserError(f"{show(folder.path)}: has no column '{key}', so no cameras to write: import them, such as "
                            "with `migaki import transforms`")
    folder.require("camera_to_world", "intrinsics")
    sizes = [(header.height, header.width) for header in folder.headers]
    return (folder.labels["camera_to_world"].astype(np.float64), folder.labels["intrinsics"].astype(np.float64), sizes)


def _copied(folder: ImageFolder, inner: Path) -> list[str]:
    """Copy the pictures to `images`; returns their names there, in the set's order."""
    names = []
    for index, name in enumerate(folder.names):
        file = folder.file(index)
        if file.suffix.lower() not in _PICTURES:
            raise UserError(f"{show(folder.path)}: '{show(name)}' is no PNG or JPEG, which others read: bring it "
                            " to PNG with `migaki import photos`")
        flat = PurePosixPath(name).as_posix().replace("/", "_").replace(" ", "_")
        with stream(file) as content:
            stored(inner / "images" / flat, content.read())
        names.append(flat)
    if len(set(names)) < len(names):
        raise UserError(f"{show(folder.path)}: two pictures differ in a folder or a space alone: rename one")
    return names


def _split(folder: ImageFolder, index: int) -> str:
    found = folder.rows[index].get("split")
    return found if found in ("train", "val", "test") else ""


def _plain(values: Array) -> Any:
    """The shortest decimals that read back to the same float32."""
    return plain(np.asarray(values, np.float32))
