"""glTF and OBJ files: a validator of our own, an independent reader if there is one, and meshes that cannot be."""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from migaki.ops.gltf import FROM_OPENCV, Mesh, glb, obj

SIZES = {5126: 4, 5125: 4, 5123: 2, 5121: 1}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}


def png(side: int = 4) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (200, 30, 30)).save(buffer, "PNG")
    return buffer.getvalue()


def tetrahedron(**more: Any) -> Mesh:
    vertices = np.array([[0, 0, 0], [1.1, 0, 0], [0, 1.2, 0], [0, 0, 1.3]]) / 3
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    return Mesh(vertices=vertices, faces=faces, **more)


WHOLE: dict[str, Any] = {"normals": np.array([[0, 0, 2.0], [1, 1, 0], [0, 0, 0], [0, -3, 0]]),
                         "colours": np.linspace(0, 1, 12).reshape(4, 3), "roughness": 0.4}
PAINTED: dict[str, Any] = {**WHOLE, "uv": np.array([[0, 0], [1, 0], [0, 1], [0.5, 0.25]]), "texture": png()}


def validated(content: bytes) -> dict[str, Any]:
    """The JSON of a .glb with its accessors as arrays under "read"; fails where the specification is broken."""
    magic, version, length = struct.unpack_from("<4sII", content)
    assert magic == b"glTF" and version == 2 and length == len(content) and length % 4 == 0
    (size, kind), place = struct.unpack_from("<II", content, 12), 20
    assert kind == 0x4E4F534A and size % 4 == 0
    found: dict[str, Any] = json.loads(content[place : place + size])
    (body, kind), place = struct.unpack_from("<II", content, place + size), place + size + 8
    assert kind == 0x004E4942 and body % 4 == 0 and place + body == length
    assert found["asset"]["version"] == "2.0" and len(found["buffers"]) == 1 and "uri" not in found["buffers"][0]
    assert 0 <= body - found["buffers"][0]["byteLength"] < 4
    views = found["bufferViews"]
    for before, view in zip([None, *views], views, strict=False):
        assert view["byteOffset"] % 4 == 0 and view["byteOffset"] + view["byteLength"] <= body
        assert before is None or before["byteOffset"] + before["byteLength"] <= view["byteOffset"]
    found["read"] = [_array(one, views, content[place:]) for one in found["accessors"]]
    for primitive in found["meshes"][0]["primitives"]:
        counts = {len(found["read"][number]) for number in primitive["attributes"].values()}
        assert len(counts) == 1 and {"POSITION"} <= set(primitive["attributes"]) <= {"POSITION", "NORMAL", "COLOR_0",
                                                                                    "TEXCOORD_0"}
        position = found["accessors"][primitive["attributes"]["POSITION"]]
        points = found["read"][primitive["attributes"]["POSITION"]]
        assert np.array_equal(points.min(0), np.float32(position["min"]))
        assert np.array_equal(points.max(0), np.float32(position["max"]))
        indices = found["read"][primitive["indices"]]
        assert indices.max() < counts.pop() and len(indices) % 3 == 0 and indices.dtype.kind == "u"
        if "NORMAL" in primitive["attributes"]:
            normals = found["read"][primitive["attributes"]["NORMAL"]]
            assert np.abs(np.linalg.norm(normals, axis=1) - 1).max() < 1e-6
        surface = found["materials"][primitive["material"]]["pbrMetallicRoughness"]
        assert 0 <= surface["metallicFactor"] <= 1 and 0 <= surface["roughnessFactor"] <= 1
        if "baseColorTexture" in surface:
            image = found["images"][found["textures"][surface["baseColorTexture"]["index"]]["source"]]
            view = views[image["bufferView"]]
            start = place + view["byteOffset"]
            assert image["mimeType"] == "image/png"
            assert Image.open(io.BytesIO(content[start : start + view["byteLength"]])).size == (4, 4)
    assert found["scenes"][found["scene"]]["nodes"] == [0] and found["nodes"][0]["mesh"] == 0
    return found


def _array(accessor: dict[str, Any], views: list[dict[str, Any]], body: bytes) -> np.ndarray:
    view, width, size = views[accessor["bufferView"]], WIDTHS[accessor["type"]], SIZES[accessor["componentType"]]
    assert accessor["count"] * width * size == view["byteLength"] and view["byteOffset"] % size == 0
    assert view["target"] == (34963 if accessor["type"] == "SCALAR" else 34962)
    kind = "<f4" if accessor["componentType"] == 5126 else "<u4"
    return np.frombuffer(body, kind, accessor["count"] * width, view["byteOffset"]).reshape(
        (accessor["count"],) if width == 1 else (accessor["count"], width))


@pytest.mark.parametrize("more", [{}, WHOLE, PAINTED])
def test_the_file_is_valid_and_holds_the_mesh(more: dict[str, Any]) -> None:
    mesh = tetrahedron(**more)
    found = validated(glb(mesh, "four \"quoted\" sides"))
    primitive = found["meshes"][0]["primitives"][0]
    read = {key: found["read"][number] for key, number in primitive["attributes"].items()}
    assert np.array_equal(read["POSITION"], mesh.vertices.astype(np.float32))
    assert np.array_equal(found["read"][primitive["indices"]].reshape(-1, 3), mesh.faces)
    if more:
        assert np.allclose(read["COLOR_0"], mesh.colours) and np.allclose(read["NORMAL"][0], [0, 0, 1])
        assert found["materials"][0]["pbrMetallicRoughness"]["roughnessFactor"] == 0.4
    assert glb(mesh) == glb(mesh)


def test_axes_are_turned() -> None:
    turned = tetrahedron(**WHOLE).turned(FROM_OPENCV)
    assert np.allclose(turned.vertices[:, 1:], -tetrahedron().vertices[:, 1:])
    assert turned.normals is not None and np.allclose(turned.normals[3], [0, 3, 0])


@pytest.mark.parametrize("more", [{}, WHOLE, PAINTED])
def test_obj_lines_name_what_is_there(more: dict[str, Any]) -> None:
    mesh = tetrahedron(**more)
    files = obj(mesh, "thing")
    lines = files["thing.obj"].decode().splitlines()
    parts = {head: [line.split()[1:] for line in lines if line.split()[0] == head] for head in ("v", "vn", "vt", "f")}
    assert np.allclose(np.array(parts["v"], float)[:, :3], mesh.vertices, atol=1e-6)
    corners = np.array([[int(corner.split("/")[0]) for corner in face] for face in parts["f"]])
    assert np.array_equal(corners - 1, mesh.faces) and "mtllib thing.mtl" in lines
    assert len(parts["vn"]) == (4 if more else 0) and b"newmtl thing" in files["thing.mtl"]
    assert ("thing.png" in files) == (b"map_Kd thing.png" in files["thing.mtl"]) == ("texture" in more)
    if "uv" in more:
        assert np.allclose(np.array(parts["vt"], float)[:, 1], 1 - mesh.uv[:, 1])  # type: ignore[index]
        assert all(corner.count("/") == 2 for face in parts["f"] for corner in face)


def test_an_independent_reader_agrees() -> None:
    trimesh = pytest.importorskip("trimesh", reason="trimesh is not installed: pip install trimesh")
    mesh = tetrahedron(**WHOLE)
    for kind, content in (("glb", glb(mesh)), ("obj", obj(mesh)["mesh.obj"])):
        scene = trimesh.load(io.BytesIO(content), file_type=kind, process=False, force="mesh")
        assert np.allclose(scene.vertices, mesh.vertices, atol=1e-6) and np.array_equal(scene.faces, mesh.faces)


@pytest.mark.parametrize(("more", "word"), [
    ({"vertices": np.zeros((4, 2))}, "vertices"), ({"vertices": np.full((4, 3), np.nan)}, "finite"),
    ({"faces": np.zeros((0, 3), int)}, "needs faces"), ({"faces": np.array([[0, 1, 4]])}, "does not have"),
    ({"faces": np.array([[0, 1, -1]])}, "does not have"), ({"normals": np.zeros((3, 3))}, "normals"),
    ({"texture": b"x"}, "or neither"),
])
def test_meshes_that_cannot_be(more: dict[str, Any], word: str) -> None:
    plain = tetrahedron()
    with pytest.raises(ValueError, match=word):
        Mesh(**{"vertices": plain.vertices, "faces": plain.faces, **more})
