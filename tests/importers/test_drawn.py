"""Annotations drawn by hand: LabelMe's JSON files, CVAT's XML; and KITTI's text files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusals import message
from strange_files import changed, picture, read_all, spoilt_json, spoilt_texts, survive

from migaki.data.folder import ImageFolder
from migaki.importers.cvat import Cvat
from migaki.importers.kitti import Kitti
from migaki.importers.labelme import LabelMe


def shape(kind: str, label: str, points: list[list[float]]) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}}


def labelme(path: Path) -> Path:
    for number in range(2):
        picture(path / f"{number}.jpg", (20, 10))
        shapes = [shape("polygon", "leaf", [[1, 1], [5, 1], [5, 4], [1, 4]]),
                  shape("rectangle", "pot", [[18, 9], [12, 5]]), shape("circle", "pot", [[8, 5], [8, 7]]),
                  shape("line", "stem", [[1, 1], [2, 2]]), shape("point", "tip", [[3.5, 2.5]])]
        shapes += [shape("point", "root", [[4.5, 8.5]])] if number else []
        (path / f"{number}.json").write_text(json.dumps({
            "version": "5.5.0", "flags": {"wet": bool(number), "far": False}, "shapes": shapes, "imageData": None,
            "imagePath": f"..\\photos\\{number}.jpg", "imageHeight": 10, "imageWidth": 20}))
    return path


def test_labelme(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = labelme(tmp_path / "in")
    assert LabelMe.recognises(root) == "LabelMe: 0.json has shapes and imagePath"
    assert LabelMe().run(root, tmp_path / "out") == 2
    assert "left out, as no column holds such shapes: 2 line" in capfd.readouterr().err
    found = ImageFolder(tmp_path / "out")
    row = found.rows[1]
    assert row["boxes"][:2] == [[1, 1, 4, 3], [12, 5, 6, 4]] and row["classes"] == ["leaf", "pot", "pot"]
    np.testing.assert_allclose(row["boxes"][2], [6, 3, 4, 4], atol=0.02)
    assert row["labels"] == ["wet"] and found.rows[0]["labels"] == []
    assert row["keypoints"] == [[4, 8], [3, 2]] and found.rows[0]["keypoint_visible"] == [0, 2]
    assert found.made["keypoint_names"] == ["root", "tip"] and found.made["classes"] == ["leaf", "pot", "wet"]
    mask = found.read([0])["mask"][0]
    leaf, pot = (found.made["mask_classes"].index(name) for name in ("leaf", "pot"))
    assert mask[1:4, 1:5].eq(leaf).all() and mask[5:9, 12:18].eq(pot).all() and mask[9].sum() == 0 and mask[4, 8] == pot


@pytest.mark.parametrize(("change", "expected"), [
    (lambda values: values["shapes"][0].update(points=[[1]]), "no list of 2 numbers"),
    (lambda values: values["shapes"][0].pop("label"), "'label' is missing"),
    (lambda values: values.update(imageWidth=21), "is 20 x 10 px"),
    (lambda values: values["shapes"][0].update(points=[[1, 1], [900, 1], [1, 900]]), "far outside"),
    (lambda values: values["shapes"][0].update(points=[]), "has no points"),
])
def test_broken_labelme(change: Callable[[Any], Any], expected: str, tmp_path: Path) -> None:
    root = labelme(tmp_path / "in")
    changed(root / "0.json", lambda values: change(values) and None)
    assert expected in message(lambda: LabelMe().run(root, tmp_path / "out"))


def test_a_picture_outside_of_the_set(tmp_path: Path) -> None:
    root = labelme(tmp_path / "in")
    picture(tmp_path / "secret.jpg")
    (root / "0.jpg").unlink()
    for name in ("../secret.jpg", str(tmp_path / "secret.jpg")):
        values = json.loads((root / "0.json").read_text())
        (root / "0.json").write_text(json.dumps({**values, "imagePath": name}))
        assert "is not beside it" in message(lambda: LabelMe().run(root, tmp_path / "out"))
    (root / "0.jpg").symlink_to(tmp_path / "secret.jpg")
    assert "leads out of the folder" in message(lambda: LabelMe().run(root, tmp_path / "out"))


def test_labelme_of_strangers(tmp_path: Path) -> None:
    root = labelme(tmp_path)
    read, refused = survive(LabelMe, root, root / "0.json", spoilt_json((root / "0.json").read_bytes(), 200))
    assert read and refused


# --- CVAT ------------------------------------------------------------------------------------------------------------

XML = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><name>t</name></task></meta>
  <image id="0" name="a.png" width="20" height="10">
    <box label="pot" source="manual" occluded="0" xtl="12.00" ytl="5.00" xbr="18.00" ybr="9.00" z_order="0"></box>
    <polygon label="leaf" points="1.00,1.00;5.00,1.00;5.00,4.00;1.00,4.00" z_order="0"></polygon>
    <mask label="soil" rle="1, 3, 2" left="2" top="6" width="3" height="2" z_order="0"></mask>
    <points label="tip" points="3.50,2.50;4.50,2.50"></points>
    <polyline label="stem" points="1,1;2,2"></polyline>
    <skeleton label="plant"><points label="root" outside="0" occluded="1" points="4.5,8.5"></points>
      <points label="crown" outside="1" occluded="0" points="0,0"></points></skeleton>
    <tag label="wet"><attribute name="water level">0.75</attribute><attribute name="by">me</attribute></tag>
  </image>
  <image id="1" name="sub/b.png" width="20" height="10">
    <ellipse label="pot" cx="10" cy="5" rx="4" ry="2" rotation="90"></ellipse>
    <box label="pot" xtl="4" ytl="4" xbr="8" ybr="6" rotation="90"></box>
    <tag label="dry"><attribute name="water level">0.25</attribute></tag>
  </image>
</annotations>
"""


def cvat(path: Path, text: str = XML) -> Path:
    picture(path / "images" / "a.png", (20, 10))
    picture(path / "images" / "sub" / "b.png", (20, 10))
    (path / "annotations.xml").write_text(text)
    return path


def test_cvat(tmp_path: Path) -> None:
    root = cvat(tmp_path / "in")
    assert Cvat.recognises(root) == "CVAT: annotations.xml of <annotations>"
    assert Cvat().run(root, tmp_path / "out") == 2
    found = ImageFolder(tmp_path / "out")
    first, second = found.rows
    assert first["boxes"] == [[12, 5, 6, 4], [1, 1, 4, 3], [2, 6, 3, 2]] and first["classes"] == ["pot", "leaf", "soil"]
    assert first["keypoints"] == [[4, 8], [3, 2], [4, 2]] and first["keypoint_visible"] == [1, 2, 2]
    assert found.made["keypoint_names"] == ["root", "tip_1", "tip_2"]
    assert first["labels"] == ["wet"] and first["water_level"] == 0.75 and "by" not in first
    np.testing.assert_allclose(second["boxes"], [[8, 1, 4, 8], [5, 3, 2, 4]], atol=0.02)
    mask = found.read([0])["mask"][0]
    place = found.made["mask_classes"].index
    assert mask[6, 2:5].tolist() == [0, place("soil"), place("soil")]
    assert mask[7, 2:5].tolist() == [place("soil"), 0, 0]
    assert mask[2, 2] == place("leaf") and mask[6, 13] == 255  # a box says nothing of its pixels


@pytest.mark.parametrize(("old", "new", "expected"), [
    ('xtl="12.00"', "", "'xtl' is missing"), ('name="a.png"', 'name="../../a.png"', "leads out of the set"),
    ('rle="1, 3, 2"', 'rle="1, 3"', "does not fit"), ("</annotations>", "", "not XML"),
    ("<annotations>", "<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><annotations>", "DOCTYPE"),
    ('<image id="1"', "<track/><image id='1'", "tracks of a video"),
    ('width="20"', 'width="0"', "no whole number from 1"),
])
def test_broken_cvat(old: str, new: str, expected: str, tmp_path: Path) -> None:
    root = cvat(tmp_path / "in", XML.replace(old, new, 1))
    assert expected in message(lambda: Cvat().run(root, tmp_path / "out"))


def test_cvat_of_strangers(tmp_path: Path) -> None:
    root = cvat(tmp_path)
    read, refused = survive(Cvat, root, root / "annotations.xml", spoilt_texts(XML.encode(), 200))
    assert read and refused


# --- KITTI -----------------------------------------------------------------------------------------------------------

LINES = """Car 0.25 1 -1.58 587.01 173.33 614.12 200.12 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59
DontCare -1 -1 -10 503.89 169.71 590.61 190.13 -1 -1 -1 -1000 -1000 -1000 -10
Pedestrian 0.00 0 -0.20 712.40 143.00 810.73 307.92 1.89 0.48 1.20 1.84 1.47 8.41 0.01
"""


def kitti(path: Path) -> Path:
    for number, text in enumerate((LINES, "")):
        picture(path / "training" / "image_2" / f"{number:06d}.png", (1242, 375), 7)
        (path / "training" / "label_2").mkdir(parents=True, exist_ok=True)
        (path / "training" / "label_2" / f"{number:06d}.txt").write_text(text)
    return path


def test_kitti(tmp_path: Path) -> None:
    root = kitti(tmp_path / "in")
    assert Kitti.recognises(root) == "KITTI: training/label_2/000000.txt of 15 columns beside image_2"
    assert Kitti().run(root, tmp_path / "out") == 2
    found = ImageFolder(tmp_path / "out")
    row = found.rows[0]
    assert row["classes"] == ["Car", "Pedestrian"] and row["boxes"][0] == [587.01, 173.33, 27.11, 26.79]
    assert row["object_locations"] == [[-0.65, 1.71, 46.7], [1.84, 1.47, 8.41]] and row["rotation_y"] == [-1.59, 0.01]
    assert row["object_sizes"][1] == [1.89, 0.48, 1.2] and row["truncation"] == [0.25, 0]
    assert row["occlusion_level"] == [1, 0]
    batch = found.read([0, 1], ("object_locations", "rotation_y", "boxes"))
    assert batch["object_locations"].shape == (2, 2, 3) and batch["rotation_y"][1].tolist() == [-10, -10]


@pytest.mark.parametrize(("old", "new", "expected"), [
    ("-1.59\n", "\n", "has 14 columns"), ("587.01", "x", "could not convert"), ("587.01", "nan", "not finite"),
    ("Car", "C" * 300, "no name of a class")])
def test_broken_kitti(old: str, new: str, expected: str, tmp_path: Path) -> None:
    root = kitti(tmp_path / "in")
    (root / "training" / "label_2" / "000000.txt").write_text(LINES.replace(old, new, 1))
    assert expected in message(lambda: Kitti().run(root, tmp_path / "out"))
    (root / "training" / "image_2" / "000000.png").unlink()
    assert "is missing" in message(lambda: Kitti().run(root, tmp_path / "out"))


def test_kitti_of_strangers(tmp_path: Path) -> None:
    root = kitti(tmp_path)
    picture(root / "training" / "image_2" / "000000.png", (9, 9), 7)
    file = root / "training" / "label_2" / "000000.txt"
    read, refused = survive(Kitti, root, file, spoilt_texts(file.read_bytes(), 200))
    assert read and refused


def test_scores_of_a_detector(tmp_path: Path) -> None:
    root = kitti(tmp_path)
    (root / "training" / "label_2" / "000000.txt").write_text(LINES.splitlines()[0] + " 0.875\n")
    rows = read_all(Kitti, root)
    assert rows[0]["scores"] == [0.875] and rows[1]["scores"] == []
