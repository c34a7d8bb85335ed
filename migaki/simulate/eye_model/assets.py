"""Reads the `Assets` folder of UnityEyes (E. Wood 2018, MIT) in its original layout.

Files are in metres. With (x, y, z) a vertex of the file, (x, -z, y) is the head frame of `parts.py`.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from migaki.core.errors import UserError
from migaki.simulate.eye_model.parts import Bytes, EyeParts, Float, Geometry, Int, Textures

# The lid's edge in the cage, from the inner to the outer corner: inner edge, middle of the rim, lash line.
UPPER_EDGE = (
    (12, 13, 14, 15, 16, 17, 18, 132, 131),
    (25, 24, 23, 22, 21, 20, 19, 93, 112),
    (26, 62, 61, 60, 37, 38, 39, 92, 139),
)
LOWER_EDGE = ((12, 0, 8, 7, 1, 2, 6, 130, 131), (28, 11, 10, 9, 3, 4, 5, 113, 112))
CARUNCLE = (12, 25, 27, 28, 30, 31, 32, 33, 26, 29)
INNER_CORNER, OUTER_CORNER, UPPER_MIDDLE, LOWER_MIDDLE = 34, 139, 16, 1
SHADING_WIDTH, SHADING_TAKEN_OUT = 0.05, 0.6  # of the texture's width (3 mm); exponent of the correction
NUM_SHAPE = 19  # the twentieth standard deviation in the file is zero
_CONTAINERS = (0x4D4D, 0x3D3D, 0x4100)


def load_parts(folder: Path, identities: tuple[int, ...], texture_size: int, num_channels: int) -> EyeParts:
    """Load the geometry and the textures of the skins `identities` (indices into `skin_names`), at texture_size px."""
    names = skin_names(folder)
    chosen = [names[i] for i in identities]
    skins = folder / "Resources" / "SkinTextures"
    eyes = sorted((folder / "Resources" / "IrisTextures").glob("eyeball_*.png"))
    if not eyes:
        raise UserError(f"{folder / 'Resources/IrisTextures'}: no eyeball_*.png there; is this UnityEyes' Assets?")
    textures = Textures(
        skin=np.stack([_skin(skins / f"{n}_color.png", texture_size, num_channels) for n in chosen]),
        skin_down=np.stack([_skin(skins / f"{n}_color_look_down.png", texture_size, num_channels) for n in chosen]),
        relief=np.stack([_relief(skins / f"{n}_disp.png", texture_size) for n in chosen]),
        iris=np.stack([_colour_bytes(_open(path).convert("RGB"), texture_size, num_channels) for path in eyes]),
    )
    return EyeParts(geometry=_geometry(folder), textures=textures)


def skin_names(folder: Path) -> list[str]:
    """Returns the sorted names of the skins; the position in this list is the `identity` label."""
    skins = folder / "Resources" / "SkinTextures"
    names = sorted(path.name[: -len("_color.png")] for path in skins.glob("*_color.png"))
    if not names:
        raise UserError(f"{skins}: no *_color.png there; give the Assets folder of UnityEyes or leave it out")
    return names


def _geometry(folder: Path) -> Geometry:
    shape = folder / "Resources" / "ShapePCA"
    mean = _table(shape / "mesh_mean.txt").reshape(-1, 3)
    spread = _table(shape / "transformed_std.txt")[:NUM_SHAPE]
    components = _table(shape / "pca_components.txt")[:, :NUM_SHAPE] * spread  # (3V, K)
    mesh = _read_3ds(folder / "eye_region.3ds")
    subdivision = folder / "Resources" / "SubdivData"
    index = _table(subdivision / "new_v_idxs_eye_region.txt", ",").astype(np.int32)
    weight = _table(subdivision / "new_v_weights_eye_region.txt", ",").astype(np.float32)
    triangles = _table(subdivision / "new_tris_eye_region.txt").reshape(-1, 3).astype(np.int32)
    cage = _to_head(mean)
    ring = _rings(mesh["faces"], UPPER_EDGE[0] + LOWER_EDGE[0], len(cage))
    nearest = _counterparts(index, weight, len(cage))
    rim = np.zeros(len(cage), np.float32)
    rim[ring <= 1] = 1.0
    rim[list(CARUNCLE)] = 1.0
    return Geometry(
        mean=cage,
        components=_to_head(components.T.reshape(NUM_SHAPE, -1, 3)),
        ring=ring,
        upper=_upper_side(cage),
        fine_index=index,
        fine_weight=weight,
        triangles=triangles,
        uv=np.einsum("nk,nkc->nc", weight, mesh["uv"][index]).astype(np.float32),
        openness=np.ones(len(index), np.float32),
        margin=np.einsum("nk,nk->n", weight, rim[index]).astype(np.float32),
        upper_edge=nearest[np.array(UPPER_EDGE)],
        lower_edge=nearest[np.array(LOWER_EDGE)],
        corners=nearest[np.array([INNER_CORNER, OUTER_CORNER])],
        cage_corners=np.array([INNER_CORNER, OUTER_CORNER], np.int32),
        cage_middle=np.array([UPPER_MIDDLE, LOWER_MIDDLE], np.int32),
    )


def _to_head(points: NDArray[np.float64]) -> Float:
    """Convert metres of the file (x, y, z) to millimetres of the head frame (x, -z, y)."""
    turned = np.stack([points[..., 0], -points[..., 2], points[..., 1]], -1)
    head: Float = np.ascontiguousarray(turned * 1000, np.float32)
    return head


def _upper_side(cage: Float) -> Float:
    """Returns 1 above the line through the two corners, 0 below."""
    inner, outer = cage[INNER_CORNER], cage[OUTER_CORNER]
    along = (cage[:, 0] - inner[0]) / (outer[0] - inner[0])
    above: Float = (cage[:, 1] < inner[1] + along * (outer[1] - inner[1])).astype(np.float32)
    return above


def _rings(faces: Int, edge: tuple[int, ...], num_vertices: int) -> Int:
    """Returns the number of edges from the lid's edge to each vertex of the cage. Shape: (V,)."""
    ring = np.full(num_vertices, -1, np.int32)
    ring[list(edge)] = 0
    step = 0
    while (ring < 0).any():
        touched = faces[(ring[faces] == step).any(1)].reshape(-1)
        touched = touched[ring[touched] < 0]
        if not len(touched):
            break
        step += 1
        ring[touched] = step
    reached: Int = np.where(ring < 0, step + 1, ring).astype(np.int32)
    return reached


def _counterparts(index: Int, weight: Float, num_vertices: int) -> Int:
    """Returns for each cage vertex the drawn vertex that it dominates. Shape: (V,)."""
    best = np.zeros(num_vertices, np.float32)
    nearest = np.zeros(num_vertices, np.int32)
    for fine in range(len(index)):
        for vertex, share in zip(index[fine], weight[fine], strict=True):
            if share > best[vertex]:
                best[vertex], nearest[vertex] = share, fine
    return nearest


def _table(path: Path, delimiter: str | None = None) -> NDArray[np.float64]:
    try:
        return np.loadtxt(path, delimiter=delimiter)
    except FileNotFoundError:
        raise UserError(f"{path}: missing; give the complete Assets folder of UnityEyes") from None
    except ValueError as error:
        raise UserError(f"{path}: not a table of numbers ({error}); fetch the file again") from None


def _read_3ds(path: Path) -> dict[str, NDArray[Any]]:
    """Read faces and uv of the first mesh of a 3D Studio file: chunks 4120 (four uint16, last a flag) and 4140."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: missing; give the complete Assets folder of UnityEyes") from None
    mesh: dict[str, NDArray[Any]] = {}

    def walk(start: int, end: int) -> None:
        while start + 6 <= end:
            kind, size = struct.unpack_from("<HI", data, start)
            if size < 6 or start + size > end:
                raise UserError(f"{path}: broken chunk at byte {start}; fetch the file again")
            if kind in _CONTAINERS:
                walk(start + 6, start + size)
            elif kind == 0x4000:  # an object: its name, ending with a zero byte, then chunks
                walk(data.index(0, start + 6) + 1, start + size)
            elif kind == 0x4120:
                count = struct.unpack_from("<H", data, start + 6)[0]
                faces = np.frombuffer(data, "<u2", count * 4, start + 8).reshape(-1, 4)
                mesh["faces"] = faces[:, :3].astype(np.int32)
            elif kind == 0x4140:
                count = struct.unpack_from("<H", data, start + 6)[0]
                mesh["uv"] = np.frombuffer(data, "<f4", count * 2, start + 8).reshape(-1, 2).astype(np.float32)
            start += size

    walk(0, len(data))
    if set(mesh) != {"faces", "uv"}:
        raise UserError(f"{path}: holds no mesh with uv; fetch the file again")
    return mesh


def _skin(path: Path, size: int, num_channels: int) -> Bytes:
    """Returns a skin texture with its black hole (the eye) filled from the rim, and broad shading reduced.

    The scans contain the shadows of the eye socket. Half of them is removed, because the renderer casts its own.
    """
    from scipy import ndimage  # imported here because the built-in eye needs no SciPy

    full = _open(path).convert("RGB")
    image = np.asarray(_resized(full, max(size, min(256, full.width))), np.float32)
    hole = ndimage.binary_dilation(image.max(2) < 40, iterations=max(1, image.shape[0] // 200))
    labels, _ = ndimage.label(hole)
    centre = labels[round(image.shape[0] * 0.51), round(image.shape[1] * 0.52)]
    hole = labels == centre if centre else hole
    rows, columns = ndimage.distance_transform_edt(hole, return_distances=False, return_indices=True)
    filled = image[rows, columns]
    broad = ndimage.gaussian_filter(filled.mean(2), image.shape[0] * SHADING_WIDTH, mode="nearest")
    level = float(np.median(broad))
    filled = filled * ((level / np.maximum(broad, 1.0)) ** SHADING_TAKEN_OUT)[..., None]
    even = Image.fromarray(np.clip(filled, 0, 255).astype(np.uint8))
    return _colour_bytes(even, size, num_channels)


def _open(path: Path) -> Image.Image:
    try:
        image = Image.open(path, formats=("PNG", "JPEG"))  # some of Pillow's other formats run programs
        image.load()
    except FileNotFoundError:
        raise UserError(f"{path}: missing; give the complete Assets folder of UnityEyes") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: cannot be read as an image ({error}); fetch the file again") from None
    return image


def _resized(image: Image.Image, size: int) -> Image.Image:
    kind = Image.Resampling.BOX if size < image.width else Image.Resampling.LANCZOS
    return image if image.size == (size, size) else image.resize((size, size), kind)


def _colour_bytes(image: Image.Image, size: int, num_channels: int) -> Bytes:
    """Convert an image to (size, size, C) bytes in RGB or grey."""
    resized = _resized(image, size)
    return np.asarray(resized if num_channels == 3 else resized.convert("L")).reshape(size, size, num_channels)


def _relief(path: Path, size: int) -> Float:
    """Returns a displacement map as heights around zero in mm; we chose its scale of about 1 mm from black to white."""
    grey = np.asarray(_open(path).convert("RGB"), np.float32)[..., 0] / 255.0
    height = np.asarray(_resized(Image.fromarray(grey), size), np.float32)
    return (height - np.median(height)).astype(np.float32)
