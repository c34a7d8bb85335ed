"""Fuzzed layouts of others: files that importers read, shards, masks, videos, and the values and names in metadata.

A target takes bytes and gives the refusal ("" where they were read); any other exception is a crash. The first byte of
a case says what kind of file the rest is.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import shutil
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
from PIL import Image

from migaki.core.errors import UserError
from migaki.data.files.mask_file import read_mask
from migaki.data.files.video import transform_video
from migaki.data.folder import ImageFolder
from migaki.data.writers.coco import write_coco
from migaki.importers.importer import Importer
from migaki.importers.mnist import MNIST
from migaki.importers.mpiigaze import MPIIGaze, read_mat
from migaki.importers.nyu import NYU, read_joints
from migaki.importers.optdigits import OptDigits
from migaki.importers.unityeyes import UnityEyes
from migaki.importers.usps import USPS

Refused = Callable[[Callable[[], Any]], tuple[Any, str]]

LABELS: tuple[tuple[str, str], ...] = (
    ("unityeyes", "0.json"), ("mpiigaze", "p00/day01.mat"), ("nyu", "joint_data.mat"), ("mnist", "mnist.npz"),
    ("mnist", "train-labels-idx1-ubyte.gz"), ("usps", "usps"), ("usps", "usps.bz2"), ("usps", "usps.h5"),
    ("optdigits", "optdigits.tes"),
)
"""The label files of importers."""

SHARDS = ("0.tar", "index.jsonl", "0.parquet")
MASKS = ("png", "npy", "tif", "bmp", "gif")
_IMPORTERS: dict[str, type[Importer]] = {"unityeyes": UnityEyes, "mpiigaze": MPIIGaze, "nyu": NYU, "mnist": MNIST,
                                         "usps": USPS,
                                         "optdigits": OptDigits}


def png(value: int = 7, size: tuple[int, int] = (6, 4)) -> bytes:
    """A grey picture."""
    file = io.BytesIO()
    Image.new("L", size, value).save(file, "PNG")
    return file.getvalue()


def import_labels(data: bytes, folder: Path, refused: Refused) -> str:
    """The labels of an importer: rows of plain, finite values, or a refusal."""
    name, file = LABELS[data[0] % len(LABELS)]
    source = folder / name
    (source / file).parent.mkdir(parents=True, exist_ok=True)
    (source / file).write_bytes(data[1:])
    _beside(source, name, file)
    read_mat.cache_clear()
    read_joints.cache_clear()
    try:
        importer = _IMPORTERS[name]()
        path = source / file if file.split(".")[0] in ("usps", "optdigits") or file.endswith(".npz") else source
        found, refusal = refused(lambda: [importer.load(entry) for entry in list(importer.find(path))[:3]])
        for stem, image, row in found or []:
            stem.encode()
            assert np.isfinite(image).all() and image.ndim == 3
            values = {key: value for key, value in row.items() if key != "depth"}
            json.dumps(values, allow_nan=False, ensure_ascii=False).encode()
        return refusal
    finally:
        shutil.rmtree(source)


def _beside(source: Path, name: str, file: str) -> None:
    """What else belongs to a layout."""
    if name == "unityeyes":
        (source / "0.jpg").write_bytes(png(size=(40, 30)))
    elif name == "nyu":
        Image.new("RGB", (640, 480), (0, 2, 188)).save(source / "depth_1_0000001.png", compress_level=0)
    elif file.startswith("train-labels"):
        images = np.ones((2, 4, 4), np.uint8)
        (source / "train-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 0x803, *images.shape) + images.tobytes())


def shards(data: bytes, folder: Path, refused: Refused) -> str:
    """Rows and pictures of a set of shards: nothing outside is read, every row can be written."""
    name = SHARDS[data[0] % len(SHARDS)]
    source = folder / "set"
    source.mkdir(exist_ok=True)
    (folder / "secret.png").write_bytes(png(200))
    if name == "index.jsonl":
        (source / "0.tar").write_bytes(_tar())
    (source / name).write_bytes(data[1:])
    try:
        found, refusal = refused(lambda: ImageFolder(source))
        if found is not None:
            _written(found, refused)
            image, refusal = refused(lambda: found.read([0], ["image"])["image"])
            assert image is None or float(image.max()) * 255 < 199
        return refusal
    finally:
        shutil.rmtree(source)


def _written(folder: ImageFolder, refused: Refused) -> None:
    """Rows that can be stored as JSON, names that stay inside."""
    rows, _ = refused(lambda: [folder.row(index) for index in range(min(len(folder), 20))])
    for row in rows or []:
        json.dumps(row, allow_nan=False, ensure_ascii=False).encode(errors="backslashreplace")
    assert not any(os.path.isabs(name) or ".." in name.split("/") for name in folder.names)
    refused(lambda: folder.labels)


def values(data: bytes, folder: Path, refused: Refused) -> str:
    """A row of metadata: read, framed and exported as COCO, or refused."""
    source = folder / "values"
    source.mkdir(exist_ok=True)
    (source / "a.png").write_bytes(png())
    (source / "m.png").write_bytes(png(3))
    (source / "metadata.jsonl").write_bytes(b'{"file_name": "a.png", ' + data.replace(b"\n", b" ") + b"}\n")
    try:
        found, refusal = refused(lambda: ImageFolder(source, size=(8, 8)))
        if found is not None:
            _written(found, refused)
            for key in found.labels:
                refused(lambda key=key: found.require(key))
                refused(lambda key=key: found.read([0], [key]))
            made, _ = refused(lambda: write_coco(ImageFolder(source), folder / "coco.json"))
            if made is not None:
                json.loads((folder / "coco.json").read_text(), parse_constant=lambda name: 1 // 0)
        return refusal
    finally:
        shutil.rmtree(source)


def names(data: bytes, folder: Path, refused: Refused) -> str:
    """Names of folders and files, parted by slashes, as a set of pictures: classes, splits and layers among them."""
    source = folder / "names"
    source.mkdir(exist_ok=True)
    try:
        for line in data.split(b"\n")[:6]:
            parts = [part[:60] for part in line.replace(b"\0", b"").split(b"/") if part not in (b"", b".", b"..")][:4]
            if parts:
                path = os.path.join(os.fsencode(source), *parts) + b".png"
                try:
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                    with open(path, "wb") as file:
                        file.write(png())
                except OSError:
                    continue  # a file where a folder is wanted
        found, refusal = refused(lambda: ImageFolder(source))
        if found is not None:
            _written(found, refused)
            refused(lambda: found.read([0]))
        return refusal
    finally:
        shutil.rmtree(source)


def mask(data: bytes, folder: Path, refused: Refused) -> str:
    """A mask: class indices of 8 or 16 bits."""
    path = folder / f"m.{MASKS[data[0] % len(MASKS)]}"
    path.write_bytes(data[1:])
    found, refusal = refused(lambda: read_mask(path))
    assert found is None or (found.ndim == 2 and found.dtype in (np.uint8, np.uint16))
    return refusal


def video(data: bytes, folder: Path, refused: Refused) -> str:
    """Frames of a video; nothing is left of one that is refused."""
    source = folder / "v.mp4"
    source.write_bytes(data)
    shapes = set()

    def look(frame: np.ndarray) -> np.ndarray:
        shapes.add(frame.shape)
        if len(shapes) > 1:
            raise UserError("frames of several sizes")
        return frame[:, :8, :8]

    _, refusal = refused(lambda: transform_video(source, folder / "o.mp4", look))
    assert not list(folder.glob(".*.partial*"))
    return refusal


def _tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in (("a.png", png()), ("a.json", b'{"x": 0.5, "mask_file_name": "m.png"}'), ("a.mask.png",
                                                                                                    png(1)),
                           ("b.png", png(9)), ("b.cls", b"3")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


# ------------------------------------------------------------------------------------------------ where to begin


def seeds(target: str) -> list[bytes]:
    """Valid cases."""
    return {"import": _labels, "shards": _shards, "values": _values, "names": _names, "mask": _masks,
            "video": _videos}[target]()


def _labels() -> list[bytes]:
    unity = {"eye_details": {"look_vec": "(0.1, 0.2, 0.9, 0.0)", "pupil_size": "0.1", "iris_texture": "x"},
             "head_pose": "(1, 2, 3)", "iris_2d": ["(1, 2, 3)"] * 32, "interior_margin_2d": ["(1, 2, 3)",
                                                                                             "(30, 9, 3)"] * 8,
             "caruncle_2d": ["(3, 4, 5)"] * 7, "lighting_details": {"primary_skin_texture": "y"}}
    eye = {"gaze": np.tile([[0.1, 0.2, -0.9]], (2, 1)), "image": np.zeros((2, 36, 60), np.uint8), "pose": np.zeros((2,
                                                                                                                    3))}
    joints = np.array([320, 240, 700]) + np.random.default_rng(0).normal(0, 9, (1, 1, 36, 3))
    archive = io.BytesIO()
    np.savez_compressed(archive, x_train=np.ones((2, 4, 4), np.uint8), y_train=np.array([1, 2]))
    table = ",".join(["3"] * 64 + ["5"]) + "\n"
    h5 = io.BytesIO()
    with h5py.File(h5, "w") as file:
        file["train/data"], file["train/target"] = np.zeros((2, 256), "f4"), np.array([1, 2])
    contents = [json.dumps(unity).encode(), _mat(data={"left": eye, "right": eye}), _mat(joint_uvd=joints),
                archive.getvalue(), gzip.compress(struct.pack(">II", 0x801, 2) + b"\1\2"),
                b"1 1:0.5 256:-1\n10 3:0.25\n",
                bz2.compress(b"1 1:0.5 256:-1\n10 3:0.25\n"), h5.getvalue(), (table * 3).encode()]
    return [bytes([number]) + content for number, content in enumerate(contents)]


def _mat(**values: Any) -> bytes:
    file = io.BytesIO()
    scipy.io.savemat(file, values)
    return file.getvalue()


def _shards() -> list[bytes]:
    import pyarrow
    import pyarrow.parquet

    where = {"file_name": ["0.tar", 512, len(png())]}
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    parquet = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({
        "image": pyarrow.array([{"bytes": png(), "path": "a.png"}] * 2, kind), "x": [0.5, None], "t": ["a", "b"],
        "box": [[1.0, 2.0], [3.0, 4.0]], "when": pyarrow.array([1, 2], pyarrow.timestamp("s"))}), parquet)
    return [b"\0" + _tar(), b"\1" + json.dumps({"file_name": "a.png", "x": 1, "where": where}).encode() + b"\n",
            b"\2" + parquet.getvalue()]


def _values() -> list[bytes]:
    return [b'"label": 3', b'"gaze_pitch": 0.5, "gaze_yaw": -0.25',
            b'"iris_outline": [[1, 2], [3, 4.5]], "iris_visible": [1, 0]',
            b'"joints": [[1, 2, 3], [4, 5, null]], "camera": [1, 2, 3, 4]',
            b'"x": NaN, "y": [true, false], "t": "\\ud83d\\ude00"',
            b'"mask_file_name": "m.png", "n": 9007199254740993', b'"where": {"a": [1, {"b": null}]}, "": 1e-300',
            b'"pupil_x": 3, "pupil_y": 4, "side": true, "predicted_label": "cat", "label": "dog"']


def _names() -> list[bytes]:
    return [b"a\nb\nc", b"cat/1\ndog/2", b"train/cat/1\ntrain/dog/2", b"0/a\n1/b\n10/c", "é/a\né/b".encode(),
            b"\xff/a\n\xfe/b",
            b"x_mask\nx\nx_depth", b"=1+1/a\n-rf/b", b"a\\b/c\n<b>/d",
            b"sequence.0/step0.camera\nsequence.1/step0.camera"]


def _masks() -> list[bytes]:
    grey, cases = np.random.default_rng(0).integers(0, 4, (5, 7), dtype=np.uint8), []
    palette = Image.fromarray(grey, "L").convert("P")
    for number, ending in enumerate(MASKS):
        for picture in (Image.fromarray(grey), palette, Image.fromarray(grey > 1),
                        Image.fromarray(grey.astype(np.uint16) * 300)):
            file = io.BytesIO()
            try:
                if ending == "npy":
                    np.save(file, np.asarray(picture))
                else:
                    picture.save(file, {"tif": "TIFF"}.get(ending, ending.upper()))
            except (OSError, KeyError, ValueError):
                continue
            cases.append(bytes([number]) + file.getvalue())
    return cases


def _videos() -> list[bytes]:
    import av

    cases = []
    for kind, codec in (("mp4", "libx264"), ("matroska", "libx264"), ("avi", "mpeg4")):
        file = io.BytesIO()
        with av.open(file, "w", format=kind) as made:
            stream: Any = made.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
            for value in (0, 90):
                made.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((32, 32, 3), value, np.uint8),
                                                                  format="rgb24")))
            made.mux(stream.encode(None))
        cases.append(file.getvalue())
    return cases
