"""Meshes as files: glTF 2.0 in one binary file (.glb), and OBJ with MTL; both written without a library.

Source: Khronos, "glTF 2.0 Specification" (2021), sections 3.6 (buffers, accessors), 3.7 (meshes), 3.9 (materials) and
4 (GLB). A glTF scene has y up and is looked at along -z; `axes` of `Mesh.turned` goes there from a camera's axes.
"""

from __future__ import annotations

import io
import json
import struct
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_FLOAT, _UINT = 5126, 5125  # component types
_VERTICES, _INDICES = 34962, 34963  # targets of buffer views
_CHUNKS = (0x4E4F534A, 0x004E4942)  # JSON, BIN

FROM_OPENCV = np.diag([1.0, -1.0, -1.0])
"""From x right, y down, z forward to x right, y up, z back."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mesh:
    """Triangles with what belongs to their corners.

    `vertices` (V, 3) float32; `faces` (F, 3) int, counter-clockwise seen from outside; `normals` (V, 3) of length 1;
    `colours` (V, 3) linear light in [0, 1]; `uv` (V, 2) from the texture's top left corner, and `texture`, the bytes of
    a PNG in sRGB. Colours and texture are the albedo. Raises ValueError for shapes that do not fit.
    """

    vertices: Array
    faces: Array
    normals: Array | None = None
    colours: Array | None = None
    uv: Array | None = None
    texture: bytes | None = None
    roughness: float = 1.0
    metallic: float = 0.0

    def __post_init__(self) -> None:
        count = len(self.vertices)
        for name, values, width in (("vertices", self.vertices, 3), ("normals", self.normals, 3),
                                    ("colours", self.colours, 3), ("uv", self.uv, 2)):
            if values is not None and (values.shape != (count, width) or not np.isfinite(values).all()):
                raise ValueError(f"a mesh's {name}: expected finite ({count}, {width}), got {values.shape}")
        if self.faces.ndim != 2 or self.faces.shape[1:] != (3,) or not len(self.faces) or count < 3:
            raise ValueError(f"a mesh of {count} vertices needs faces (F, 3), got {self.faces.shape}")
        if self.faces.min() < 0 or self.faces.max() >= count:
            raise ValueError("a mesh's faces name vertices that it does not have")
        if (self.texture is None) != (self.uv is None):
            raise ValueError("a mesh has a texture and uv, or neither")

    def turned(self, axes: Array = FROM_OPENCV) -> Mesh:
        """Returns the mesh in other axes; `axes` (3, 3) is a rotation."""
        normals = None if self.normals is None else self.normals @ axes.T
        return replace(self, vertices=self.vertices @ axes.T, normals=normals)


def glb(mesh: Mesh, name: str = "mesh") -> bytes:
    """Returns the content of a .glb file: one mesh, one material of metallic-roughness, and its texture, if any."""
    packed = _Packed()
    attributes = {"POSITION": packed.add(mesh.vertices, "VEC3", bounds=True)}
    for key, values, kind in (("NORMAL", mesh.normals, "VEC3"), ("COLOR_0", mesh.colours, "VEC3"),
                              ("TEXCOORD_0", mesh.uv, "VEC2")):
        if values is not None:
            attributes[key] = packed.add(_unit(values) if key == "NORMAL" else values, kind)
    indices = packed.add_indices(mesh.faces)
    surface: dict[str, Any] = {"metallicFactor": float(mesh.metallic), "roughnessFactor": float(mesh.roughness)}
    content: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "migaki"}, "scene": 0, "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": name}],
        "meshes": [{"name": name, "primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}],
        "materials": [{"name": name, "pbrMetallicRoughness": surface}]}
    if mesh.texture is not None:
        surface["baseColorTexture"] = {"index": 0}
        content |= {"textures": [{"source": 0, "sampler": 0}], "samplers": [{"magFilter": 9729, "minFilter": 9987}],
                    "images": [{"bufferView": packed.add_bytes(mesh.texture), "mimeType": "image/png"}]}
    content |= {"accessors": packed.accessors, "bufferViews": packed.views,
                "buffers": [{"byteLength": len(packed.data)}]}
    head = _padded(json.dumps(content, separators=(",", ":"), allow_nan=False).encode(), b" ")
    body = _padded(bytes(packed.data), b"\0")
    chunks = b"".join(struct.pack("<II", len(part), kind) + part for part, kind in zip((head, body), _CHUNKS,
                                                                                       strict=True))
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def obj(mesh: Mesh, name: str = "mesh") -> dict[str, bytes]:
    """Returns the files of an OBJ: NAME.obj, NAME.mtl and, if there is a texture, NAME.png.

    Colours of vertices follow the position, as MeshLab and Blender read them. OBJ counts from 1 and has v upwards.
    """
    text = io.StringIO()
    text.write(f"mtllib {name}.mtl\no {name}\n")
    _lines(text, "v", mesh.vertices if mesh.colours is None else np.hstack([mesh.vertices, mesh.colours]))
    if mesh.uv is not None:
        _lines(text, "vt", np.stack([mesh.uv[:, 0], 1 - mesh.uv[:, 1]], 1))
    if mesh.normals is not None:
        _lines(text, "vn", _unit(mesh.normals))
    text.write(f"usemtl {name}\n")
    form = {(False, False): "{0}", (True, False): "{0}/{0}", (False, True): "{0}//{0}", (True, True): "{0}/{0}/{0}"}[
        mesh.uv is not None, mesh.normals is not None]
    corners = [form.format(number) for number in range(1, len(mesh.vertices) + 1)]
    text.writelines(f"f {corners[a]} {corners[b]} {corners[c]}\n" for a, b, c in mesh.faces.tolist())
    shine = 2 / max(mesh.roughness, 0.05) ** 4 - 2  # of Blinn and Phong, for GGX's roughness squared
    material = [f"newmtl {name}", "Ka 0 0 0", "Kd 1 1 1", f"Ks {0.04:g} {0.04:g} {0.04:g}",
                f"Ns {min(max(shine, 0.0), 1000.0):.3f}", "illum 2"]
    files = {f"{name}.obj": text.getvalue().encode()}
    if mesh.texture is not None:
        material.append(f"map_Kd {name}.png")
        files[f"{name}.png"] = mesh.texture
    return files | {f"{name}.mtl": ("\n".join(material) + "\n").encode()}


class _Packed:
    """The binary buffer with its views and accessors; each view begins at a multiple of 4 bytes."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add_bytes(self, content: bytes, target: int | None = None) -> int:
        self.data += b"\0" * (-len(self.data) % 4)
        view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(content)}
        self.views.append(view if target is None else view | {"target": target})
        self.data += content
        return len(self.views) - 1

    def add(self, values: Array, kind: str, *, bounds: bool = False) -> int:
        stored = np.ascontiguousarray(values, "<f4")
        entry: dict[str, Any] = {"bufferView": self.add_bytes(stored.tobytes(), _VERTICES), "componentType": _FLOAT,
                                 "count": len(stored), "type": kind}
        if bounds:  # required of positions: the exact extremes of what is stored
            entry |= {"min": stored.min(0).astype(float).tolist(), "max": stored.max(0).astype(float).tolist()}
        self.accessors.append(entry)
        return len(self.accessors) - 1

    def add_indices(self, faces: Array) -> int:
        stored = np.ascontiguousarray(faces, "<u4").ravel()
        self.accessors.append({"bufferView": self.add_bytes(stored.tobytes(), _INDICES), "componentType": _UINT,
                               "count": len(stored), "type": "SCALAR"})
        return len(self.accessors) - 1


def _unit(vectors: Array) -> Array:
    """Vectors of length 1; one of length 0 becomes z, since a normal of length 0 is not valid."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(lengths > 1e-12, vectors / np.maximum(lengths, 1e-12), [0.0, 0.0, 1.0])


def _padded(content: bytes, filler: bytes) -> bytes:
    return content + filler * (-len(content) % 4)


def _lines(text: io.StringIO, head: str, values: Array) -> None:
    form = f"{head} " + " ".join(["%.7g"] * values.shape[1]) + "\n"
    text.writelines(form % tuple(row) for row in values.tolist())
