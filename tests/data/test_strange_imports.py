"""Published files that somebody has changed: importers refuse in one line what is no label, size or file of theirs."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image
from refusals import message

from migaki.importers.mat_file import read_mat_file
from migaki.importers.mnist import MNIST
from migaki.importers.mpiigaze import MPIIGaze
from migaki.importers.nyu import NYU
from migaki.importers.optdigits import OptDigits
from migaki.importers.unityeyes import UnityEyes
from migaki.importers.usps import USPS

BASE: dict[str, Any] = {"eye_details": {"look_vec": "(0.1, 0.2, 0.9, 0.0)", "pupil_size": "0.1", "iris_texture": "x"},
                        "head_pose": "(1, 2, 3)", "iris_2d": ["(1, 2, 3)"] * 32}


def refused(importer: Any, source: Path, tmp_path: Path) -> str:
    out = tmp_path / "out"
    line = message(lambda: importer.run(source, out))
    assert not (out / "dataset.json").exists() and len(line) < 500
    return line


# ------------------------------------------------------------------------------------------------ UnityEyes


def render(folder: Path, labels: Any) -> Path:
    folder.mkdir()
    Image.new("RGB", (80, 60)).save(folder / "0.jpg")
    (folder / "0.json").write_bytes(labels if isinstance(labels, bytes) else json.dumps(labels).encode())
    return folder


def test_the_labels_that_are_spoilt_below_are_read(tmp_path: Path) -> None:
    for number, prefix in enumerate((b"", b"\xef\xbb\xbf")):
        assert UnityEyes().run(render(tmp_path / f"{number}", prefix + json.dumps(BASE).encode()),
                               tmp_path / f"out{number}") == 1


@pytest.mark.parametrize("value", ["(NaN, 0, 1)", "(1e999, 0, 1)", "(1e300, 0, 1)", "(1" + "0" * 400 + ", 0, 0)",
                                   "(0, 0, 0)",
                                   "(" + "[" * 10**5 + ")", "(true, 0, 1)", "(1, 2)", "((1, 2), 3, 4)", "", 3, None,
                                   [1], {}])
@pytest.mark.parametrize("key", ["look_vec", "head_pose", "iris_2d"])
def test_vectors_that_are_none(key: str, value: Any, tmp_path: Path) -> None:
    labels = json.loads(json.dumps(BASE))
    if key == "look_vec":
        labels["eye_details"][key] = value
    else:
        labels[key] = [value] * 32 if key == "iris_2d" else value
    if (key, value) in (("head_pose", "(0, 0, 0)"), ("iris_2d", "(0, 0, 0)")):
        assert UnityEyes().run(render(tmp_path / "in", labels), tmp_path / "out") == 1
    else:
        assert "0.json: not labels of UnityEyes" in refused(UnityEyes(), render(tmp_path / "in", labels), tmp_path)


@pytest.mark.parametrize("value", ["inf", "nan", "1e300", True, None, [], "x", 10**400, "1" + "0" * 400])
def test_sizes_that_are_no_numbers(value: Any, tmp_path: Path) -> None:
    labels = {**BASE, "eye_details": {**BASE["eye_details"], "pupil_size": value}}
    assert "0.json" in refused(UnityEyes(), render(tmp_path / "in", labels), tmp_path)


@pytest.mark.parametrize(("labels", "expected"), [
    (b'{"eye_details": {"look_vec": "(0, 0, 1)", "iris_texture": "\\ud800"}}', "half of a letter"),
    (json.dumps(BASE).encode("utf-16"), "is UTF-16"), (b"[" * 10**6, "not valid JSON"), (b"[]", "not labels"),
    (b" " * (2**24 + 1), "larger than 16 MB"), (b"\xff", "not valid JSON"), (b'{"x": ' + b"9" * 5000 + b"}",
                                                                             "not valid"),
])
def test_label_files_that_are_none(labels: bytes, expected: str, tmp_path: Path) -> None:
    assert expected in refused(UnityEyes(), render(tmp_path / "in", labels), tmp_path)


# ------------------------------------------------------------------------------------------------ links


def day(path: Path, **changes: Any) -> Path:
    eye = {"gaze": np.tile([[0.1, 0.2, -0.9]], (2, 1)), "image": np.zeros((2, 36, 60), np.uint8), "pose": np.zeros((2,
                                                                                                                    3))}
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"data": {"left": {**eye, **changes}, "right": eye}})
    return path


def idx(path: Path, array: np.ndarray) -> None:
    path.write_bytes(b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes())


@pytest.mark.parametrize("name", ["unityeyes", "mpiigaze", "mnist", "usps", "nyu"])
def test_links_that_lead_out_are_not_followed(name: str, tmp_path: Path) -> None:
    away, source = tmp_path / "away", tmp_path / "in"
    importer: Any = {"unityeyes": UnityEyes, "mpiigaze": MPIIGaze, "mnist": MNIST, "usps": USPS, "nyu": NYU}[name]()
    away.mkdir()
    source.mkdir()
    if name == "unityeyes":
        os.rename(render(tmp_path / "r", BASE), source / "r")
        link = source / "r" / "0.jpg"
    elif name == "mpiigaze":
        link = day(source / "p00" / "day01.mat")
    elif name == "mnist":
        idx(source / "train-images-idx3-ubyte", np.ones((2, 4, 4), np.uint8))
        idx(source / "train-labels-idx1-ubyte", np.ones(2, np.uint8))
        link = source / "train-images-idx3-ubyte"
    elif name == "usps":
        link = source / "usps"
        link.write_text("1 1:0.5\n")
    else:
        joints = np.array([320, 240, 700]) + np.random.default_rng(0).normal(0, 9, (1, 1, 36, 3))
        scipy.io.savemat(source / "joint_data.mat", {"joint_uvd": joints})
        link = source / "depth_1_0000001.png"
        Image.new("RGB", (640, 480), (0, 2, 188)).save(link)
    assert importer.run(source, tmp_path / "good") >= 1
    os.rename(link, away / link.name)
    link.symlink_to(away / link.name)
    assert "leads out of the folder" in refused(importer, source, tmp_path)


# ------------------------------------------------------------------------------------------------ MATLAB


@pytest.mark.parametrize(("changes", "expected"), [
    ({"gaze": np.full((2, 3), np.nan)}, "not finite"), ({"gaze": np.full((2, 3), np.inf)}, "not finite"),
    ({"gaze": np.zeros((2, 3))}, "length 0"), ({"pose": np.full((2, 3), np.nan)}, "not finite"),
    ({"pose": np.full((2, 3), 1e9)}, "no rotation vector"), ({"gaze": np.full((2, 3), "a")}, "gaze holds"),
    ({"gaze": np.ones((2, 3)) * 1j}, "gaze holds"), ({"image": np.zeros((2, 36, 60))}, "not uint8"),
    ({"image": np.zeros((2, 35, 60), np.uint8)}, "reshape"), ({"gaze": np.ones((1, 3))},
                                                              "numbers of images and labels"),
])
def test_directions_that_are_none(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    day(tmp_path / "in" / "p00" / "day01.mat", **changes)
    line = refused(MPIIGaze(), tmp_path / "in", tmp_path)
    assert expected in line and "day01.mat: not a normalised day" in line


def mat(elements: bytes, packed: bool = False) -> bytes:
    if packed:
        body = zlib.compress(elements)
        elements = struct.pack("<II", 15, len(body)) + body
    return b"MATLAB 5.0".ljust(124) + b"\0\1IM" + elements


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(number: int, dimensions: tuple[int, ...], content: bytes, name: bytes = b"data") -> bytes:
    shape = struct.pack(f"<{len(dimensions)}i", *dimensions)
    return element(14, element(6, struct.pack("<II", number, 0)) + element(5, shape) + element(1, name) + content)


def nested(depth: int) -> bytes:
    """Structures within structures."""
    inner = matrix(6, (1, 1), element(9, bytes(8)), b"")
    for number in range(depth):
        inner = matrix(2, (1, 1), element(5, struct.pack("<i", 2)) + element(1, b"a\0") + inner,
                       b"data" if number == depth - 1 else b"")
    return inner


@pytest.mark.parametrize(("content", "expected"), [
    (b"", "no header"), (b"rubbish" * 100, "no header"), (mat(matrix(6, (2**15, 2**15), element(9, b""))),
                                                            "32768 x 32768"),
    (mat(matrix(6, (2**30, 1), element(2, b"\0")), packed=True), "an array of 1073741824 x 1 in 1 bytes"),
    (mat(matrix(6, (1, 1), element(99, bytes(8)))), "type 99"), (mat(matrix(6, (-1, 1), element(9, b""))), "of -1"),
    (mat(matrix(6, (1,), element(9, bytes(8)))), "an array of 1"), (mat(matrix(6, (1, 1), b"")), "truncated"),
    (mat(matrix(2, (1, 1), element(5, bytes(4)) + element(1, b"a"))), "without fields"),
    (mat(matrix(2, (1, 1), element(5, b"\1\0\0\0") + element(1, b"ab") + element(9, b"x") * 2)), "that is no array"),
    (mat(nested(40)), "nested too deeply"), (mat(matrix(6, (1, 1), b""))[:-3], "truncated"),
    (b"\x89HDF\r\n\x1a\n" + bytes(200), "7.3"),
])
def test_matlab_files_of_strangers(content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(content)
    assert expected in message(lambda: read_mat_file(path, ("data",)))


def test_a_matlab_file_that_unpacks_to_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migaki.importers.mat_file._MAX_UNPACKED", 10**6)
    scipy.io.savemat(tmp_path / "a.mat", {"data": np.zeros(10**6)}, do_compression=True)
    assert (tmp_path / "a.mat").stat().st_size < 10**5
    assert "more than a gigabyte" in message(lambda: read_mat_file(tmp_path / "a.mat", ("data",)))


@pytest.mark.parametrize("packed", [True, False])
def test_matlab_files_come_out_as_scipy_reads_them(packed: bool, tmp_path: Path) -> None:
    values = {"data": {"a": np.arange(6.0).reshape(2, 3), "b": {"c": np.arange(3, dtype=np.uint8), "t": "text"}},
              "cells": np.array([[1, "x"]], dtype=object), "empty": np.zeros((0, 3)), "other": np.ones(2)}
    scipy.io.savemat(tmp_path / "a.mat", values, do_compression=packed)
    ours = read_mat_file(tmp_path / "a.mat", ("data", "cells", "empty", "none"))
    theirs = scipy.io.loadmat(tmp_path / "a.mat", struct_as_record=False)
    assert set(ours) == {"data", "cells", "empty"} and ours["empty"].shape == theirs["empty"].shape
    found: Any = ours["data"]
    np.testing.assert_array_equal(found["a"], theirs["data"][0, 0].a)
    np.testing.assert_array_equal(found["b"]["c"], theirs["data"][0, 0].b[0, 0].c)
    assert found["b"]["c"].dtype == np.uint8 and found["b"]["t"] is None and ours["cells"] is None


# ------------------------------------------------------------------------------------------------ NYU


@pytest.mark.parametrize(("kind", "size", "mode", "expected"), [
    ("PNG", (64, 48), "RGB", "640 x 480"), ("JPEG", (640, 480), "RGB", "not a PNG"), ("PNG", (640, 480), "L",
                                                                                      "1 channels"),
    ("EPS", (640, 480), "RGB", "not an image"),
])
def test_frames_that_are_none(kind: str, size: tuple[int, int], mode: str, expected: str, tmp_path: Path) -> None:
    """An EPS would be drawn by a program, Ghostscript."""
    (tmp_path / "in").mkdir()
    joints = np.array([320, 240, 700]) + np.random.default_rng(0).normal(0, 9, (1, 1, 36, 3))
    scipy.io.savemat(tmp_path / "in" / "joint_data.mat", {"joint_uvd": joints})
    Image.new(mode, size).save(tmp_path / "in" / "depth_1_0000001.png", kind)
    assert expected in refused(NYU(), tmp_path / "in", tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_joints_that_are_nowhere(value: float, tmp_path: Path) -> None:
    joints = np.full((1, 1, 36, 3), 100.0)
    joints[0, 0, 3] = value
    scipy.io.savemat(tmp_path / "joint_data.mat", {"joint_uvd": joints})
    assert "not finite" in message(lambda: NYU().run(tmp_path, tmp_path / "out"))


# ------------------------------------------------------------------------------------------------ digits


def npz(path: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    np.savez_compressed(path, x_train=images, y_train=labels)
    return path


PIXELS = np.ones((2, 4, 4), np.uint8)


@pytest.mark.parametrize(("images", "labels"), [
    (PIXELS, np.array([1.5, 2])), (PIXELS, np.array([np.nan, 2])), (PIXELS, np.array([1, 10])), (PIXELS, np.array([-1,
                                                                                                                   2])),
    (PIXELS, np.array(["1", "2"])), (PIXELS, np.array([1, None])), (PIXELS, np.array([True, False])),
    (PIXELS.astype(float), np.array([1, 2])), (PIXELS[:, :0], np.array([1, 2])), (PIXELS, np.array([1])),
])
def test_mnist_of_strangers(images: np.ndarray, labels: np.ndarray, tmp_path: Path) -> None:
    assert "mnist.npz" in refused(MNIST(), npz(tmp_path / "mnist.npz", images, labels), tmp_path)


def test_archives_that_unpack_to_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migaki.importers.mnist._MAX_BYTES", 10**6)
    assert "damaged" in refused(MNIST(), npz(tmp_path / "a.npz", np.zeros((10, 400, 400), np.uint8), np.zeros(10, int)),
                                tmp_path)
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (2**40, 28, 28)})
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as file:
        file.writestr("x_train.npy", head.getvalue())
        file.writestr("y_train.npy", head.getvalue())
    assert "damaged" in refused(MNIST(), tmp_path / "b.npz", tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(2 * 10**6)))
    assert "holds more than" in refused(MNIST(), tmp_path / "in", tmp_path)


@pytest.mark.parametrize("text", ["11 1:0.5", "nan 1:0.5", "1.5 1:0.5", "inf 1:0", "1 0:0.5", "1 -3:0.5", "1 257:0",
                                  "1 1:nan",
                                  "1 1:7", "1 1:inf", "1 x:0", "1 1", "", "1e999 1:0", "1 " + "1:0 " * 300])
@pytest.mark.parametrize("packed", [True, False])
def test_usps_text_of_strangers(text: str, packed: bool, tmp_path: Path) -> None:
    path = tmp_path / ("usps.bz2" if packed else "usps")
    data = f"{text}\n".encode()
    path.write_bytes(bz2.compress(data) if packed else data)
    if text.endswith("1:0 "):  # one place again and again: of a line only what belongs to a digit is looked at
        assert "line 1" in refused(USPS(), path, tmp_path)
    else:
        assert path.name in refused(USPS(), path, tmp_path)


def test_a_usps_text_of_gigabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migaki.importers.usps._MAX_BYTES", 10**5)
    (tmp_path / "usps.bz2").write_bytes(bz2.compress(b"1 1:0.5\n" * 10**5))
    assert "holds more than" in refused(USPS(), tmp_path / "usps.bz2", tmp_path)
    (tmp_path / "usps.bz2").write_bytes(bz2.compress(b"1 1:0.5\n" * 10**3)[:-9])
    assert "truncated" in refused(USPS(), tmp_path / "usps.bz2", tmp_path)
    monkeypatch.setattr("migaki.importers.usps._MAX_DIGITS", 10)
    (tmp_path / "usps").write_bytes(b"1 1:0.5\n" * 11)
    assert "more than 10 lines" in refused(USPS(), tmp_path / "usps", tmp_path)


def filled(data: Any, target: Any) -> Callable[[Any], None]:
    def fill(file: Any) -> None:
        file["train/data"], file["train/target"] = data, target
    return fill


def external(file: Any) -> None:
    file["train/target"] = np.zeros(1)
    file["train/data"] = h5py.ExternalLink("secret.h5", "/data")


def outside(file: Any) -> None:
    file["train/target"] = np.zeros(1)
    file["train"].create_dataset("data", (1, 256), "u1", external=[("secret.h5", 0, 256)])


def virtual(file: Any) -> None:
    file["train/target"] = np.zeros(1)
    layout = h5py.VirtualLayout((1, 256), "f4")
    layout[:] = h5py.VirtualSource("secret.h5", "data", (1, 256))
    file["train"].create_virtual_dataset("data", layout)


ZEROS = np.zeros((1, 256))


@pytest.mark.parametrize("fill", [
    external, outside, virtual, filled(ZEROS, np.array([b"1"])), filled(ZEROS, np.array([10])), filled(ZEROS,
                                                                                                       np.array([0.5])),
    filled(ZEROS, np.array([np.nan])), filled(ZEROS + np.nan, np.array([1])), filled(ZEROS + 7, np.array([1])),
    filled(ZEROS + 1j, np.array([1])), filled(0.0, 1), filled(ZEROS, np.array([True])), lambda file: None,
    lambda file: file.create_dataset("train", data=ZEROS), lambda file: file.create_group("train/data"),
    lambda file: file.__setitem__("train", h5py.SoftLink("/train")),
])
def test_usps_h5_of_strangers(fill: Callable[[Any], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with h5py.File("secret.h5", "w") as file:
        file["data"] = ZEROS
    with h5py.File("usps.h5", "w") as file:
        fill(file)
    assert "usps.h5" in refused(USPS(), tmp_path / "usps.h5", tmp_path)


@pytest.mark.parametrize(("cells", "packed"), [
    ("nan", False), ("0.5", False), ("17", False), ("-1", False), ("inf", False), ("x", False), ("é", False), ("0",
                                                                                                               True)])
def test_optdigits_of_strangers(cells: str, packed: bool, tmp_path: Path) -> None:
    rows = "\n".join(",".join(["0"] * 63 + [cells, "3"]) for _ in range(200)).encode()
    (tmp_path / "a.tes").write_bytes(gzip.compress(rows)[:-12] if packed else rows)
    assert "a.tes" in refused(OptDigits(), tmp_path / "a.tes", tmp_path)


@pytest.mark.parametrize("label", ["10", "16", "3.5", "nan"])
def test_classes_of_optdigits(label: str, tmp_path: Path) -> None:
    (tmp_path / "a.tes").write_text(",".join(["0"] * 64 + [label]))
    assert "a.tes" in refused(OptDigits(), tmp_path / "a.tes", tmp_path)
