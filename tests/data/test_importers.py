"""What people have becomes an image folder: layouts made here like the originals, and the originals where present."""

from __future__ import annotations

import bz2
import gzip
import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from refusals import message

from migaki.cli import main
from migaki.core.discovery import names_in
from migaki.data.folder import ImageFolder
from migaki.importers.importer import Importer, ImportWork
from migaki.importers.mnist import MNIST
from migaki.importers.mpiigaze import MPIIGaze, gaze_angles, head_angles
from migaki.importers.unityeyes import UnityEyes
from migaki.importers.usps import USPS
from migaki.ops.gaze import to_vector

RANDOM = np.random.default_rng(0)


def test_they_are_found_by_name() -> None:
    assert set(names_in("importers", "Importer")) >= {"mnist", "mpiigaze", "unityeyes", "usps"}


# --- MPIIGaze ---------------------------------------------------------------------------------------------------------


def make_day(path: Path, count: int) -> dict[str, Any]:
    """A day as MATLAB wrote it: a struct of two structs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    eyes = {}
    for side in ("left", "right"):
        vectors = RANDOM.normal(size=(count, 3)) * (0.2, 0.2, 0) - (0, 0, 1)
        eyes[side] = {
            "gaze": vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
            "image": RANDOM.integers(0, 256, (count, 36, 60), dtype=np.uint8),
            "pose": RANDOM.normal(size=(count, 3)) * 0.2,
        }
    scipy.io.savemat(path, {"data": eyes, "filenames": np.array([["a"]] * count)})
    return eyes


@pytest.mark.parametrize("mirror", [True, False])
def test_mpiigaze(tmp_path: Path, mirror: bool) -> None:
    root = tmp_path / "Normalized"
    days = [make_day(root / "p00" / "day01.mat", 3), make_day(root / "p03" / "day02.mat", 1)]
    assert MPIIGaze(MPIIGaze.Config(mirror=mirror)).run(root, tmp_path / "out") == 8
    folder = ImageFolder(tmp_path / "out")
    assert folder.names[3] == "p00/day01_0000_right.png" and folder.shape == (1, 36, 60)
    assert folder.labels["side"].tolist() == [0, 0, 0, 1, 1, 1, 0, 1]
    assert folder.labels["person"].tolist() == [0] * 6 + [3] * 2 and folder.labels["day"].tolist() == [1] * 6 + [2] * 2
    batch = folder.read(range(8))
    vectors = to_vector(batch["gaze"]).numpy()
    np.testing.assert_allclose(vectors[:3], days[0]["left"]["gaze"], atol=1e-6)
    sign = (-1, 1, 1) if mirror else (1, 1, 1)
    np.testing.assert_allclose(vectors[3:6], days[0]["right"]["gaze"] * sign, atol=1e-6)
    right = days[0]["right"]["image"][0]
    np.testing.assert_array_equal(folder.decode(3)[0], right[:, ::-1] if mirror else right)
    manifest = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert manifest["importer"] == "mpiigaze" and manifest["config"]["mirror"] is mirror
    assert "BY-NC-SA" in manifest["licence"] and len(manifest["parent"]["fingerprint"]) == 16


def test_mpiigaze_people_and_errors(tmp_path: Path) -> None:
    make_day(tmp_path / "p00" / "day01.mat", 1)
    make_day(tmp_path / "p14" / "day01.mat", 1)
    assert MPIIGaze(MPIIGaze.Config(people=(14,))).run(tmp_path, tmp_path / "out") == 2
    assert "nothing to import" in message(lambda: MPIIGaze(MPIIGaze.Config(people=(5,))).run(tmp_path, tmp_path / "o"))
    assert "no such file" in message(lambda: MPIIGaze().run(tmp_path / "nowhere", tmp_path / "o"))
    (tmp_path / "p00" / "day02.mat").write_bytes(b"rubbish")
    assert "day02.mat: not a MATLAB file" in message(lambda: MPIIGaze().run(tmp_path, tmp_path / "o"))


BAD_OPTIONS = [
    ("nyu", "--size", ("0", "-3", "9000")), ("nyu", "--limit", ("-3",)), ("nyu", "--camera", ("0", "4")),
    ("nyu", "--cube-mm", ("0", "-5", "nan", "inf", "1e-9")),
    ("photos", "--width", ("0", "99999")), ("photos", "--height", ("-1",)), ("photos", "--limit", ("-1",)),
    ("unityeyes", "--size", ("0 60", "36 -60", "36 99999")), ("unityeyes", "--eye-widths", ("0", "-1", "nan", "inf")),
    ("unityeyes", "--central-part", ("0", "nan", "inf", "1.5")), ("usps", "--redrawn-test", ("-1",)),
]


@pytest.mark.parametrize(("name", "option", "value"), [
    (name, option, value) for name, option, values in BAD_OPTIONS for value in values])
def test_numbers_that_cannot_be_are_refused(name: str, option: str, value: str, tmp_path: Path,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    """The message names the option, whatever is at the path."""
    assert main(["import", name, str(tmp_path), "--out", str(tmp_path / "out"), option, *value.split()]) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"migaki: import {name}: {option} ") and line.count("\n") == 1, line
    assert not (tmp_path / "out").exists()


def test_angles() -> None:
    assert gaze_angles(np.array([0.0, 0.0, -2.0])).tolist() == [0, 0]
    assert gaze_angles(np.array([0.0, -1.0, -1.0]))[0] == pytest.approx(math.pi / 4)  # y is down: looking up
    assert gaze_angles(np.array([-1.0, 0.0, -1.0]))[1] == pytest.approx(math.pi / 4)
    assert head_angles(np.zeros(3)).tolist() == [0, 0, 0]
    for axis, angles in enumerate(((-0.3, 0, 0), (0, 0.3, 0), (0, 0, 0.3))):
        rotation = np.eye(3)[axis] * 0.3
        np.testing.assert_allclose(head_angles(rotation), angles, atol=1e-12)


# --- UnityEyes --------------------------------------------------------------------------------------------------------


def texts(points: np.ndarray, height: int) -> list[str]:
    """Points x, y (px, y down, centres of pixels at integers) as UnityEyes writes them."""
    return [f"({x + 0.5:.4f}, {height - y - 0.5:.4f}, 9.0)" for x, y in points]


def eye_labels(iris: tuple[float, float] = (300.0, 210.0)) -> dict[str, Any]:
    angle = np.arange(16) * 2 * math.pi / 16
    lid = np.stack([310 - 80 * np.cos(angle), 230 - 40 * np.sin(angle)], 1)
    turn = np.arange(32) * 2 * math.pi / 32
    iris_points = np.stack([iris[0] + 30 * np.cos(turn), iris[1] + 30 * np.sin(turn)], 1)
    return {
        "interior_margin_2d": texts(lid, 480),
        "caruncle_2d": texts(np.array([[230.0, 230.0]] * 7), 480),
        "iris_2d": texts(iris_points, 480),
        "head_pose": "(354.0, 170.0, 0.0)",
    }


DETAILS = {
    "look_vec": "(-0.1000, 0.2000, -0.9747, 0.0000)",
    "pupil_size": "0.01",
    "iris_size": "0.9",
    "iris_texture": "x",
}


def render(path: Path) -> None:
    image = np.zeros((480, 640, 3), np.uint8)
    image[180:240, 270:330] = 255  # the iris, centred at (299.5, 209.5)
    Image.fromarray(image).save(path, quality=95)


@pytest.mark.parametrize("generation", ["classic", "cameras"])
def test_unityeyes_with_outlines(tmp_path: Path, generation: str) -> None:
    if generation == "classic":
        labels, names = {**eye_labels(), "eye_details": DETAILS}, ["1"]
    else:
        truth = {"gaze_vec": DETAILS["look_vec"], "iris_center": "(0, 0, 1)"}
        cameras = {name: {**eye_labels(), "ground_truth": truth} for name in ("cam0", "cam_1")}
        labels, names = {"eye_details": DETAILS, "cameras": cameras}, ["1_cam0", "1_cam_1"]
    for name in names:
        render(tmp_path / f"{name}.jpg")
    (tmp_path / "1.json").write_text(json.dumps(labels))
    (tmp_path / "camera_config.json").write_text("{}")
    assert UnityEyes().run(tmp_path, tmp_path / "out") == len(names)
    folder = ImageFolder(tmp_path / "out")
    batch = folder.read([len(names) - 1])
    assert folder.shape == (1, 36, 60) and folder.names == [f"{name}.png" for name in names]
    # Looking up and to the image's left: y is up there and down here.
    np.testing.assert_allclose(to_vector(batch["gaze"])[0], (-0.1, -0.2, -0.9747), atol=1e-4)
    y, x = torch.nonzero(batch["image"][0, 0] > 0.5).float().mean(dim=0).tolist()
    assert batch["pupil_centre"][0].tolist() == pytest.approx([x, y], abs=0.5)
    assert batch["iris_outline"].shape == batch["eyelid_outline"].shape == (1, 16, 2)
    corners = batch["eye_corners"][0]
    assert (corners[1, 0] - corners[0, 0]).item() == pytest.approx(60 / 1.3, abs=0.1)
    assert corners.mean(dim=0).tolist() == pytest.approx([29.5, 17.5], abs=0.1)
    assert folder.labels["iris_size"].dtype == np.float32 and folder.rows[0]["iris_texture"] == "x"


def test_unityeyes_whole_renders(tmp_path: Path) -> None:
    render(tmp_path / "1.jpg")
    (tmp_path / "1.json").write_text(json.dumps({**eye_labels(), "eye_details": DETAILS}))
    UnityEyes(UnityEyes.Config(size=None, grey=False)).run(tmp_path, tmp_path / "out")
    folder = ImageFolder(tmp_path / "out")
    assert folder.shape == (3, 480, 640)
    np.testing.assert_allclose(folder.labels["pupil_centre"], [[300, 210]], atol=1e-3)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("{", "not valid JSON"),
        ("{}", "not labels of UnityEyes"),
        ('{"eye_details": {"look_vec": "__import__(1)"}}', "not labels of UnityEyes"),
        ('{"eye_details": {"look_vec": "(0, NaN, 1)"}}', "not labels of UnityEyes"),
        ("[]", "not labels of a picture"),
    ],
)
def test_unityeyes_broken_labels(tmp_path: Path, labels: str, expected: str) -> None:
    render(tmp_path / "1.jpg")
    (tmp_path / "1.json").write_text(labels)
    text = message(lambda: UnityEyes().run(tmp_path, tmp_path / "out"))
    assert expected in text and "1.json" in text
    (tmp_path / "1.jpg").unlink()
    assert "render 1.jpg is missing" in message(lambda: UnityEyes().run(tmp_path, tmp_path / "out2"))


def test_unityeyes_eye_outside_of_the_render(tmp_path: Path) -> None:
    render(tmp_path / "1.jpg")
    labels = {**eye_labels(), "eye_details": DETAILS, "caruncle_2d": ["(-90000, 3, 1)"]}
    (tmp_path / "1.json").write_text(json.dumps(labels))
    assert "far outside" in message(lambda: UnityEyes().run(tmp_path, tmp_path / "out"))


def test_real_unityeyes(tmp_path: Path, real_data: Callable[[str], Path]) -> None:
    count = UnityEyes().run(real_data("unityeyes_renders"), tmp_path / "out")
    folder = ImageFolder(tmp_path / "out")
    assert len(folder) == count and folder.shape == (1, 36, 60)
    folder.require("gaze")


# --- digits -----------------------------------------------------------------------------------------------------------


def digits() -> tuple[np.ndarray, np.ndarray]:
    return RANDOM.integers(0, 256, (5, 28, 28), dtype=np.uint8), np.arange(5, dtype=np.uint8)


@pytest.mark.parametrize("form", ["npz", "idx", "idx.gz"])
def test_mnist(tmp_path: Path, form: str) -> None:
    images, labels = digits()
    path = tmp_path / "in"
    path.mkdir()
    if form == "npz":
        np.savez(path / "mnist.npz", x_test=images, y_test=labels, x_train=images[:1], y_train=labels[:1])
        path = path / "mnist.npz"
    else:
        for kind, array in (("images", images), ("labels", labels)):
            data = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
            name = f"t10k-{kind}-idx{array.ndim}-ubyte"
            (path / (name + ".gz" * (form == "idx.gz"))).write_bytes(gzip.compress(data) if "gz" in form else data)
    assert MNIST(MNIST.Config(split="test")).run(path, tmp_path / "out") == 5
    folder = ImageFolder(tmp_path / "out")
    np.testing.assert_array_equal(np.stack([folder.decode(i) for i in range(5)]), images[:, None])
    assert folder.labels["label"].tolist() == [0, 1, 2, 3, 4]


def test_mnist_errors(tmp_path: Path) -> None:
    assert "train-images-idx3-ubyte(.gz) is missing" in message(lambda: MNIST().find(tmp_path))
    (tmp_path / "mnist.npz").write_bytes(b"PK rubbish")
    assert "not a file of MNIST" in message(lambda: MNIST().find(tmp_path / "mnist.npz"))
    np.savez(tmp_path / "bad.npz", x_train=np.array([{}], dtype=object), y_train=np.zeros(1))
    assert "not a file of MNIST" in message(lambda: MNIST().find(tmp_path / "bad.npz"))
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + struct.pack(">III", 2**31, 28, 28))
    assert "damaged" in message(lambda: MNIST().find(tmp_path))
    (tmp_path / "train-images-idx3-ubyte").unlink()
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"\0" * 99)[:-9])
    assert "damaged" in message(lambda: MNIST().find(tmp_path))


@pytest.mark.parametrize("packed", [True, False])
def test_usps_text(tmp_path: Path, packed: bool) -> None:
    values = RANDOM.integers(0, 256, (3, 256)) / 127.5 - 1
    text = "\n".join(
        f"{n + 1} " + " ".join(f"{i + 1}:{v:.6f}" for i, v in enumerate(row)) for n, row in enumerate(values)
    )
    path = tmp_path / ("usps.bz2" if packed else "usps")
    path.write_bytes(bz2.compress(text.encode()) if packed else text.encode())
    assert USPS().run(tmp_path, tmp_path / "out") == 3
    folder = ImageFolder(tmp_path / "out")
    np.testing.assert_array_equal(folder.decode(2).reshape(-1), np.rint((values[2] + 1) * 127.5))
    assert folder.labels["label"].tolist() == [0, 1, 2] and folder.shape == (1, 16, 16)


def test_usps_divided_anew_holds_every_image_once_and_mixes_the_parts(tmp_path: Path) -> None:
    for name, first, count in (("usps", 0, 30), ("usps.t", 30, 10)):  # the first pixel says which image it is
        lines = [f"{number % 10 + 1} 1:{2 * number / 255 - 1:.6f}" for number in range(first, first + count)]
        (tmp_path / name).write_text("\n".join(lines))
    found = {}
    for split in ("train", "test"):
        usps = USPS(USPS.Config(split=split, redrawn_test=12))
        loaded = [usps.load(entry) for entry in usps.find(tmp_path)]
        found[split] = [int(image[0, 0, 0]) for _, image, _ in loaded]
        assert all(row["label"] == number % 10
                   for number, (_, _, row) in zip(found[split], loaded, strict=True))
    assert len(found["test"]) == 12 and sorted(found["train"] + found["test"]) == list(range(40))
    assert min(found["test"]) < 30 <= max(found["test"])
    assert "ask for fewer" in message(lambda: USPS(USPS.Config(redrawn_test=40)).find(tmp_path))
    assert "give the folder" in message(lambda: USPS(USPS.Config(redrawn_test=4)).find(tmp_path / "usps"))
    assert "--redrawn-test" in message(lambda: USPS.Config(redrawn_test=-1))


@pytest.mark.parametrize("content", [b"1 300:0.5", b"hello", b"11 1:0", b"1 1:nan", b"", b"0 1:1"])
def test_usps_broken_text(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "usps").write_bytes(content)
    assert "usps: " in message(lambda: USPS().find(tmp_path / "usps"))
    (tmp_path / "usps.bz2").write_bytes(bz2.compress(b"1 1:1" * 1000)[:-5])
    assert "usps.bz2" in message(lambda: USPS().find(tmp_path))


def test_real_digits(tmp_path: Path, real_data: Callable[[str], Path]) -> None:
    importer = MNIST(MNIST.Config(split="test"))
    assert len(importer.find(real_data("digits/mnist.npz"))) == 10_000
    assert importer.load(0)[1].shape == (1, 28, 28)
    pytest.importorskip("h5py", reason="usps.h5 needs h5py")
    usps = USPS(USPS.Config(split="test"))
    assert len(usps.find(real_data("digits/usps.h5"))) == 2007 and usps.load(0)[1].max() > 100


def test_an_import_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = digits()
    np.savez(tmp_path / "mnist.npz", x_train=images, y_train=labels)
    true_load = MNIST.load

    def broken(self: Importer, entry: int) -> Any:
        if entry == 3:
            raise KeyboardInterrupt
        return true_load(self, entry)  # type: ignore[arg-type]

    monkeypatch.setattr(ImportWork, "batch_size", 1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(MNIST, "load", broken)
        MNIST().run(tmp_path / "mnist.npz", tmp_path / "out")
    seen: list[tuple[int, int]] = []
    MNIST().run(tmp_path / "mnist.npz", tmp_path / "out", report=lambda done, total: seen.append((done, total)))
    assert seen == [(3, 5), (4, 5), (5, 5)] and len(ImageFolder(tmp_path / "out")) == 5
