"""Into an image folder and out again: COCO, YOLO, Pascal VOC and index masks hold what they held."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import foreign_sets as sets
import numpy as np
import pytest
from PIL import Image
from refusals import message

from migaki.cli import main
from migaki.data.files.mask_file import read_mask
from migaki.data.folder import ImageFolder
from migaki.data.writers.coco import write_coco
from migaki.data.writers.mask_folder import write_masks
from migaki.data.writers.voc import palette, write_voc
from migaki.data.writers.yolo import write_yolo
from migaki.importers.coco import Coco
from migaki.importers.voc import Voc
from migaki.importers.yolo import Yolo


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """A set with boxes, a crowd, keypoints and masks."""
    Coco().run(sets.coco(tmp_path / "coco"), tmp_path / "ours")
    return tmp_path / "ours"


def differing(found: ImageFolder, expected: ImageFolder, *columns: str) -> set[str]:
    """The columns in which two sets of three rows differ, `classes` among them."""
    assert len(found) == len(expected) == 3
    differ = set()
    for one, other in zip(found.rows, expected.rows, strict=True):
        differ |= {"classes"} if one["classes"] != other["classes"] else set()
        for column in columns:
            given, wanted = np.array(one[column], float), np.array(other[column], float)
            if given.shape != wanted.shape or not np.allclose(given, wanted, rtol=0, atol=1e-3):
                differ.add(column)
    return differ


def test_coco_comes_out_as_it_went_in(ours: Path, tmp_path: Path) -> None:
    assert main(["export", str(ours), "--format", "coco", "--out", str(ours / "again.json")]) == 0
    before, after = sets.coco_values(), json.loads((ours / "again.json").read_text())
    names = [{category["id"]: category["name"] for category in values["categories"]} for values in (before, after)]
    files = [{image["id"]: image["file_name"] for image in values["images"]} for values in (before, after)]
    for one, other in zip(before["annotations"], after["annotations"], strict=True):
        assert names[0][one["category_id"]] == names[1][other["category_id"]]
        assert files[0][one["image_id"]] == files[1][other["image_id"]] and one["iscrowd"] == other["iscrowd"]
        assert one["bbox"] == other["bbox"] and one.get("keypoints", [0] * 9) == other["keypoints"]
        assert one.get("num_keypoints", 0) == other["num_keypoints"]
    assert after["categories"][0]["keypoints"] == ["nose", "ear", "tail"]
    Coco().run(ours / "again.json", tmp_path / "twice")
    once, twice = ImageFolder(ours), ImageFolder(tmp_path / "twice")
    assert not differing(twice, once, "boxes", "crowd", "object_keypoints")
    assert all(np.array_equal(once.plane("mask", n), twice.plane("mask", n)) for n in range(3))


def test_coco_is_the_same_to_its_own_library(ours: Path, tmp_path: Path) -> None:
    library = pytest.importorskip("pycocotools.coco", reason="needs pycocotools")
    from pycocotools.cocoeval import COCOeval

    write_coco(ImageFolder(ours), tmp_path / "again.json")
    before = library.COCO(str(tmp_path / "coco" / "annotations" / "instances_val2017.json"))
    after = library.COCO(str(tmp_path / "again.json"))
    for index in range(3):
        pairs = zip(before.loadAnns(before.getAnnIds(imgIds=[10 + index])),
                    after.loadAnns(after.getAnnIds(imgIds=[1 + index])), strict=True)
        for one, other in pairs:
            assert np.array_equal(before.annToMask(one), after.annToMask(other))
    ids = {category["name"]: number for number, category in before.cats.items()}
    read = [{"image_id": one["image_id"] + 9, "category_id": ids[after.cats[one["category_id"]]["name"]],
             "bbox": one["bbox"], "score": 1.0} for one in after.anns.values() if not one["iscrowd"]]
    judge = COCOeval(before, before.loadRes(read), "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    assert judge.stats[0] == pytest.approx(1.0)


def test_a_region_of_a_class_without_boxes(ours: Path) -> None:
    made = json.loads((ours / "dataset.json").read_text())
    (ours / "dataset.json").write_text(json.dumps({**made, "mask_classes": ["background", "cat", "sky"]}))
    write_coco(ImageFolder(ours), ours / "a.json")
    found = json.loads((ours / "a.json").read_text())
    assert [category["name"] for category in found["categories"]] == ["cat", "dog", "sky"]
    (sky,) = [one for one in found["annotations"] if one["category_id"] == 3]
    assert sky["bbox"] == [20, 4, 2, 9] and sky["area"] == 18 and found["annotations"][1]["segmentation"] == []


def test_yolo(ours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ImageFolder(ours)
    counts = write_yolo(folder, tmp_path / "yolo")
    assert counts == {"images": 3, "objects": 2, "classes": 2}
    told = capsys.readouterr().err
    assert "1 crowds are left out" in told and "masks are left out" in told
    Yolo().run(tmp_path / "yolo", tmp_path / "back")
    back = ImageFolder(tmp_path / "back")
    assert back.made["classes"] == ["cat", "dog"] and back.made["keypoint_names"] == ["nose", "ear", "tail"]
    assert back.rows[0]["boxes"] == pytest.approx(np.array([[2, 3, 10, 10]]), abs=1e-3)
    expected = np.array(folder.rows[0]["object_keypoints"][:1])
    assert np.allclose(np.array(back.rows[0]["object_keypoints"]), expected, atol=1e-3)
    assert back.rows[1]["boxes"] == [] and back.rows[2]["classes"] == ["cat"]


def random_boxes(path: Path) -> ImageFolder:
    draw = np.random.default_rng(5)
    path.mkdir()
    rows = []
    for n in range(3):
        Image.new("L", (4001, 37), n).save(path / f"{n}.png")
        boxes = np.column_stack([draw.uniform(0, 3000, 6), draw.uniform(0, 20, 6), draw.uniform(1, 900, 6),
                                 draw.uniform(1, 15, 6)]).tolist()
        classes = draw.choice(["a & b", "<c>", "é: #d"], 6).tolist()
        rows.append({"file_name": f"{n}.png", "boxes": boxes, "classes": classes})
    (path / "metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return ImageFolder(path)


def test_boxes_of_any_place_and_classes_of_any_name(tmp_path: Path) -> None:
    folder = random_boxes(tmp_path / "ours")
    write_yolo(folder, tmp_path / "yolo")
    write_voc(folder, tmp_path / "voc")
    write_coco(folder, tmp_path / "ours" / "a.json")
    for importer, source in ((Yolo(), "yolo"), (Voc(), "voc"), (Coco(), "ours/a.json")):
        importer.run(tmp_path / source, tmp_path / f"back{Path(source).stem}")
        assert not differing(ImageFolder(tmp_path / f"back{Path(source).stem}"), folder, "boxes")


def test_voc(ours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ImageFolder(ours)
    assert write_voc(folder, tmp_path / "voc") == {"images": 3, "objects": 3, "masks": 3}
    assert "keypoints are left out" in capsys.readouterr().err
    Voc().run(tmp_path / "voc", tmp_path / "back")
    back = ImageFolder(tmp_path / "back")
    assert not differing(back, folder, "boxes", "crowd")
    assert back.made["mask_classes"] == ["background", "cat", "dog"] and back.made["classes"] == ["cat", "dog"]
    assert all(np.array_equal(back.plane("mask", n), folder.plane("mask", n)) for n in range(3))
    assert palette()[[1, 2, 12, 255]].tolist() == [[128, 0, 0], [0, 128, 0], [64, 0, 128], [224, 224, 192]]


def test_voc_of_odd_names(tmp_path: Path) -> None:
    """Names need not be UTF-8, and what breaks lines elsewhere breaks none in a list of names."""
    names = ["caf\udce9.png", "a\u2028b.png", "plain.png"]
    (tmp_path / "set").mkdir()
    for name in names:
        Image.new("RGB", (9, 9)).save(tmp_path / "set" / name)
    (tmp_path / "set" / "metadata.jsonl").write_text("".join(json.dumps(
        {"file_name": name, "boxes": [[1, 1, 3, 3]], "classes": ["cat"]}) + "\n" for name in names))
    write_voc(ImageFolder(tmp_path / "set"), tmp_path / "voc")
    Voc().run(tmp_path / "voc", tmp_path / "back")
    back = ImageFolder(tmp_path / "back")
    assert len(back) == 3 and all(row["boxes"] == [[1, 1, 3, 3]] for row in back.rows)


def test_masks(ours: Path, tmp_path: Path) -> None:
    folder = ImageFolder(ours)
    assert main(["export", str(ours), "--format", "masks", "--out", str(tmp_path / "masks")]) == 0
    for n, name in enumerate("abc"):
        assert np.array_equal(read_mask(tmp_path / "masks" / "masks" / f"{name}.png"), folder.plane("mask", n))
        assert (tmp_path / "masks" / "images" / f"{name}.png").read_bytes() == (ours / f"{name}.png").read_bytes()
    assert (tmp_path / "masks" / "classes.txt").read_text() == "background\ncat\ndog\n"


def test_keypoints_of_one_object_a_picture(tmp_path: Path) -> None:
    source = tmp_path / "in"
    sets.pictures(source, "a.png")
    row = {"file_name": "a.png", "keypoints": [[3, 4], [20, 10], [1, 1]], "keypoint_visible": [2, 1, 0]}
    (source / "metadata.jsonl").write_text(json.dumps(row) + "\n")
    (source / "dataset.json").write_text(json.dumps({"keypoint_names": ["nose", "ear", "tail"]}))
    write_yolo(ImageFolder(source), tmp_path / "yolo")
    Yolo().run(tmp_path / "yolo", tmp_path / "back")
    found = ImageFolder(tmp_path / "back").rows[0]
    assert np.allclose(found["boxes"], [[3.5, 4.5, 17, 6]], atol=1e-3)
    assert np.allclose(found["object_keypoints"], [[[3, 4, 2], [20, 10, 1], [0, 0, 0]]], atol=1e-3)
    write_coco(ImageFolder(source), tmp_path / "a.json")
    (one,) = json.loads((tmp_path / "a.json").read_text())["annotations"]
    assert one["keypoints"] == [3.5, 4.5, 2, 20.5, 10.5, 1, 1.5, 1.5, 0]


@pytest.mark.parametrize("write", [write_yolo, write_voc, write_masks])
def test_sets_without_such_labels_and_folders_that_stand(write: Any, ours: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    sets.pictures(plain, "a.png")
    assert "--format" in message(lambda: write(ImageFolder(plain), tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    assert "exists already: choose another --out" in message(lambda: write(ImageFolder(ours), plain))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["coco", "ours", "plain"]


def test_boxes_and_classes_of_differing_number(tmp_path: Path) -> None:
    sets.pictures(tmp_path / "in", "a.png")
    row = {"file_name": "a.png", "boxes": [[1, 1, 2, 2]], "classes": ["a", "b"]}
    (tmp_path / "in" / "metadata.jsonl").write_text(json.dumps(row) + "\n")
    for write in (write_yolo, write_voc):
        line = message(partial(write, ImageFolder(tmp_path / "in"), tmp_path / "out"))
        assert "'a.png' has 1 boxes and 2 entries of 'classes'" in line and not (tmp_path / "out").exists()
