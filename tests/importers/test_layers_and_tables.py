"""Masks and depth beside pictures, CARLA, Kubric, folders of classes and tables of numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from refusals import message
from strange_files import changed, paint, picture, read_all, spoilt_json, spoilt_texts, survive

from migaki.data.folder import ImageFolder
from migaki.importers.carla import TAGS, Carla
from migaki.importers.class_folders import ClassFolders
from migaki.importers.kubric import Kubric
from migaki.importers.masks import Masks
from migaki.importers.table import Table

INDICES = np.zeros((6, 8), np.uint8)
INDICES[1:3, 1:4], INDICES[5, 7] = 2, 255


def set_of_masks(path: Path, mark: str = "") -> Path:
    for name in ("a", "sub/b"):
        picture(path / "images" / f"{name}.jpg")
        paint(path / "masks" / f"{name}{mark}.png", INDICES)
    return path


@pytest.mark.parametrize("mark", ["", "_mask"])
def test_masks(mark: str, tmp_path: Path) -> None:
    root = set_of_masks(tmp_path / "in", mark)
    assert Masks.recognises(root) == "masks: masks beside images"
    assert Masks(Masks.Config(classes=("nothing", "dog", "cat"))).run(root, tmp_path / "out") == 2
    found = ImageFolder(tmp_path / "out")
    assert found.names == ["a.jpg", "sub/b.jpg"] and found.made["mask_classes"] == ["nothing", "dog", "cat"]
    assert (found.read([1])["mask"][0].numpy() == INDICES).all()


def test_masks_in_colours_and_splits(tmp_path: Path) -> None:
    pixels = np.zeros((6, 8, 3), np.uint8)
    pixels[1:3, 1:4] = (64, 0, 128)
    for split in ("train", "val"):
        picture(tmp_path / split / "images" / "a.png")
        paint(tmp_path / split / "labels" / "a_L.png", pixels)
    assert not Masks.recognises(tmp_path)
    (tmp_path / "label_colors.txt").write_text("0 0 0\t\tVoid\n64 0 128\tCar Luggage\n")
    assert Masks.recognises(tmp_path) == "masks: train/labels beside train/images"
    importer = Masks(Masks.Config(split="val"))
    _, _, row = importer.load(importer.find(tmp_path)[0])
    assert importer.mask_classes == ("Void", "Car Luggage") and row["mask"][1, 1] == 1 and row["mask"].sum() == 6
    (tmp_path / "label_colors.txt").write_text("0 0 x Void\n")
    assert "not labels of colours and names" in message(lambda: importer.find(tmp_path))


def test_broken_masks(tmp_path: Path) -> None:
    root = set_of_masks(tmp_path / "in")
    paint(root / "masks" / "a.png", np.zeros((3, 3), np.uint8))
    assert "its mask is 3 x 3" in message(lambda: Masks().run(root, tmp_path / "out"))
    paint(root / "masks" / "a.png", np.random.default_rng(0).integers(0, 255, (6, 8, 3)).astype(np.uint8))
    assert "mask in colours" in message(lambda: Masks().run(root, tmp_path / "out"))
    (root / "masks" / "a.png").unlink()
    assert "holds nothing for 1 of 2 pictures" in message(lambda: Masks().run(root, tmp_path / "out"))
    (root / "masks" / "a.png").symlink_to(picture(tmp_path / "secret.png", colour=1))
    assert "leads out" in message(lambda: Masks().run(root, tmp_path / "out"))
    assert "--images and --masks" in message(lambda: Masks().run(tmp_path / "in" / "images", tmp_path / "out"))


def test_masks_of_strangers(tmp_path: Path) -> None:
    file = set_of_masks(tmp_path) / "masks" / "a.png"
    assert sum(survive(Masks, tmp_path, file, spoilt_texts(file.read_bytes(), 100))) == 100


# --- CARLA -----------------------------------------------------------------------------------------------------------


def carla(path: Path) -> Path:
    picture(path / "rgb" / "000001.png")
    tags = np.zeros((6, 8, 4), np.uint8)
    tags[..., 0], tags[..., 3], tags[0, 0, 0] = 14, 255, 27
    paint(path / "semantic_segmentation" / "000001.png", tags)
    packed = np.full((6, 8, 3), 255, np.uint8)  # the far plane
    packed[0, 0] = (10, 20, 1)
    paint(path / "depth" / "000001.png", packed)
    return path


def test_carla(tmp_path: Path) -> None:
    root = carla(tmp_path / "in")
    assert Carla.recognises(root) == "CARLA: semantic_segmentation/000001.png has tags in its red channel, beside rgb"
    assert Carla().run(root, tmp_path / "out") == 1
    found = ImageFolder(tmp_path / "out")
    batch = found.read([0])
    assert found.made["mask_classes"][14] == "Car" and batch["mask"][0, 0, 0] == 27 and batch["mask"][0, 1, 1] == 14
    metres = 1000 * (10 + 256 * 20 + 65536) / (2**24 - 1)
    np.testing.assert_allclose(batch["depth"][0, 0, 0], 1000 * metres, rtol=1e-6)
    assert batch["depth"][0, 1:].eq(0).all()


def test_carla_in_the_palette(tmp_path: Path) -> None:
    root = carla(tmp_path)
    pixels = np.zeros((6, 8, 3), np.uint8)
    pixels[0], pixels[1], pixels[2] = (0, 0, 142), (128, 64, 128), (1, 2, 3)
    paint(root / "semantic_segmentation" / "000001.png", pixels)
    assert Carla.recognises(root) == "CARLA: depth/000001.png has depth packed into colours, beside rgb"
    for tags in ("0.9.14", "0.9.13"):
        importer = Carla(Carla.Config(tags=tags))
        _, _, row = importer.load(importer.find(root)[0])
        assert [TAGS[tags][number][0] for number in row["mask"][:2, 0]] in (["Car", "Roads"], ["Vehicles", "Road"])
        assert row["mask"][2, 0] == 255 and row["mask"][3, 0] == 0


def test_broken_carla(tmp_path: Path) -> None:
    root = carla(tmp_path / "in")
    paint(root / "depth" / "000001.png", np.zeros((6, 8), np.uint8))
    assert "packed into three" in message(lambda: Carla().run(root, tmp_path / "out"))
    paint(root / "depth" / "000001.png", np.zeros((6, 8), np.uint16))
    assert "colours of 8 bits" in message(lambda: Carla().run(root, tmp_path / "out"))
    (root / "depth" / "000001.png").unlink()
    assert "holds nothing for 1 of 1 pictures" in message(lambda: Carla().run(root, tmp_path / "out"))
    assert "name them with --images" in message(lambda: Carla().run(root / "rgb", tmp_path / "out"))


# --- Kubric ----------------------------------------------------------------------------------------------------------


def kubric(path: Path) -> Path:
    for number in range(2):
        paint(path / f"rgba_{number:05d}.png", np.full((10, 20, 4), 255, np.uint8))
        mask = Image.fromarray(np.zeros((10, 20), np.uint8)).convert("P")
        mask.putdata([0] * 100 + [1] * 50 + [2] * 50)
        mask.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
        mask.save(path / f"segmentation_{number:05d}.png")
        Image.fromarray(np.full((10, 20), 2.5, np.float32)).save(path / f"depth_{number:05d}.tiff")
    (path / "metadata.json").write_text(json.dumps({"camera": {}, "instances": [
        {"category": "shoe", "bboxes": [[0.5, 0.25, 1.0, 0.75]], "bbox_frames": [1]},
        {"asset_id": "cube", "bboxes": [[0.0, 0.0, 0.1, 0.1], [0.2, 0.2, 0.4, 0.4]], "bbox_frames": [0, 1]}]}))
    return path


def test_kubric(tmp_path: Path) -> None:
    (tmp_path / "in" / "0").mkdir(parents=True)
    root = kubric(tmp_path / "in" / "0").parent
    assert Kubric.recognises(root) == "Kubric: 0/metadata.json beside rgba_00000.png"
    assert Kubric().run(root, tmp_path / "out") == 2
    found = ImageFolder(tmp_path / "out")
    assert found.names == ["0/rgba_00000.png", "0/rgba_00001.png"] and found.shape == (3, 10, 20)
    assert found.rows[0]["boxes"] == [[0, 0, 2, 1]] and found.rows[1]["boxes"] == [[5, 5, 10, 5], [4, 2, 4, 2]]
    assert found.rows[1]["classes"] == ["shoe", "cube"]
    batch = found.read([0])
    names = found.made["mask_classes"]
    assert [names[number] for number in batch["mask"][0, ::3, 0]] == ["background", "background", "shoe", "cube"]
    assert batch["depth"].eq(2500).all()


def test_broken_kubric(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    root = kubric(tmp_path / "in")
    changed(root / "metadata.json", lambda values: values["instances"][0].update(bboxes=[[0, 0, 50, 90]]))
    assert "not in parts of the picture" in message(lambda: Kubric().run(root, tmp_path / "out"))
    changed(root / "metadata.json", lambda values: values["instances"][0].update(bboxes=[]))
    assert "differ in length" in message(lambda: Kubric().run(root, tmp_path / "out"))
    (root / "metadata.json").unlink()
    assert "no metadata.json lies beside" in message(lambda: Kubric().run(root, tmp_path / "out"))


def test_kubric_of_strangers(tmp_path: Path) -> None:
    file = kubric(tmp_path) / "metadata.json"
    read, refused = survive(Kubric, tmp_path, file, spoilt_json(file.read_bytes(), 200))
    assert read and refused


# --- folders of classes ----------------------------------------------------------------------------------------------


def test_class_folders(tmp_path: Path) -> None:
    for name in ("train/cat/1.png", "train/cat/deep/2.png", "train/dog/1.jpg", "val/cat/1.png", "val/dog/3.png"):
        picture(tmp_path / "in" / name)
    assert ClassFolders.recognises(tmp_path / "in") == "folders of 2 classes, such as train/cat"
    assert not ClassFolders.recognises(set_of_masks(tmp_path / "masks"))
    assert ClassFolders().run(tmp_path / "in", tmp_path / "out") == 3
    found = ImageFolder(tmp_path / "out")
    assert found.names == ["cat/1.png", "cat/deep/2.png", "dog/1.jpg"] and found.labels["label"].tolist() == [0, 0, 1]
    assert found.made["classes"] == ["cat", "dog"]
    assert len(read_all(ClassFolders, tmp_path / "in", split="val")) == 2


def test_sets_with_metadata_are_no_classes(tmp_path: Path) -> None:
    for name in ("labelled", "unlabelled"):
        picture(tmp_path / name / "1.png")
    assert ClassFolders.recognises(tmp_path)
    (tmp_path / "labelled" / "metadata.jsonl").write_text('{"file_name": "1.png", "x": 1}')
    assert not ClassFolders.recognises(tmp_path)


def test_broken_class_folders(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "cat" / "1.png")
    assert "holds 1 folders" in message(lambda: ClassFolders().run(tmp_path / "in", tmp_path / "out"))
    picture(tmp_path / "in" / "dog" / "1.png").write_bytes(b"rubbish")
    assert "1.png: not an image" in message(lambda: ClassFolders().run(tmp_path / "in", tmp_path / "out"))
    (tmp_path / "in" / "dog" / "2.png").symlink_to(picture(tmp_path / "secret.png"))
    assert "leads out" in message(lambda: ClassFolders().run(tmp_path / "in", tmp_path / "out"))


# --- tables ----------------------------------------------------------------------------------------------------------

CSV = "filename;steering angle;speed;kind;x\na.png;0.5;3;left;1\nb.png;;4;right;2\n"


def table(path: Path, text: str = CSV, name: str = "log.csv") -> Path:
    picture(path / "images" / "a.png")
    picture(path / "b.png")
    (path / name).write_text(text)
    return path


def test_table(tmp_path: Path) -> None:
    root = table(tmp_path / "in")
    assert Table.recognises(root) == "a table: log.csv names pictures in its column 'filename'"
    config = Table.Config(label="kind", units=("steering angle=deg",), circular=("steering angle",),
                          take=("steering angle", "speed", "kind"))
    assert Table(config).run(root, tmp_path / "out") == 2
    found = ImageFolder(tmp_path / "out")
    assert found.rows[0] == {"file_name": "images/a.png", "steering_angle": 0.5, "speed": 3, "label": "left"}
    assert found.rows[1]["steering_angle"] is None and found.labels["label"].tolist() == [0, 1]
    assert found.made["units"] == {"steering_angle": "deg"} and found.made["circular"] == ["steering_angle"]
    assert found.made["classes"] == ["left", "right"]


def test_json_lines_and_a_table_without_a_heading(tmp_path: Path) -> None:
    lines = [{"image": "a.png", "pose": [1, 2.5], "n": 1}, {"image": "b.png", "pose": [3, 4], "n": 2}]
    root = table(tmp_path / "a", "\n".join(map(json.dumps, lines)), "rows.jsonl")
    assert Table.recognises(root)
    assert [row["pose"] for row in read_all(Table, root)] == [[1, 2.5], [3, 4]]
    root = table(tmp_path / "b", "a.png,0.5\n/home/me/IMG/b.png,1\n", "driving_log.csv")
    rows = read_all(Table, root, columns=("center", "steering"))
    assert [(row["file_name"], row["steering"]) for row in rows] == [("images/a.png", 0.5), ("b.png", 1)]


def test_airsim(tmp_path: Path) -> None:
    root = table(tmp_path / "in", "VehicleName\tTimeStamp\tPOS_X\tImageFile\nA\t1573000000000\t-0.25\ta.pfm;a.png\n",
                 "airsim_rec.txt")
    assert Table.recognises(root) == "a table: airsim_rec.txt names pictures in its column 'ImageFile'"
    assert read_all(Table, root)[0] == {"file_name": "images/a.png", "VehicleName": "A", "TimeStamp": 1573000000000,
                                        "POS_X": -0.25}


@pytest.mark.parametrize(("text", "options", "expected"), [
    (CSV.replace("a.png", "../../secret.png"), {}, "leads out"),
    (CSV.replace("a.png", "/etc/hosts.png"), {}, "is not there"),
    (CSV.replace(";3;", ";3;4;"), {}, "row 2 has 6 cells"), (CSV, {"label": "nothing"}, "has no column 'nothing'"),
    (CSV.replace("filename", "what"), {}, "say which with --image"), (CSV.replace("3", "1e999"), {}, "not finite"),
    (CSV.replace("x", "speed"), {}, "does not name each column once"), (CSV.split("\n")[0], {}, "has no rows"),
    (CSV.replace("b.png", "a.png"), {}, "names a picture twice"), (CSV, {"image": "x"}, "is no name of a picture"),
])
def test_broken_tables(text: str, options: dict[str, Any], expected: str, tmp_path: Path) -> None:
    root = table(tmp_path / "in", text)
    picture(tmp_path / "secret.png")
    assert expected in message(lambda: Table(Table.Config(**options)).run(root / "log.csv", tmp_path / "out"))


def test_tables_of_strangers(tmp_path: Path) -> None:
    root = table(tmp_path)
    read, refused = survive(Table, root, root / "log.csv", spoilt_texts(CSV.encode(), 200))
    assert read and refused


def test_units_are_checked() -> None:
    assert "COLUMN=UNIT" in message(lambda: Table.Config(units=("mm",)))
