"""Sets of others become image folders: COCO, YOLO, Pascal VOC; what is none is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foreign_sets as sets
import numpy as np
import pytest
from PIL import Image
from refusals import message

from migaki.cli import main
from migaki.data.folder import ImageFolder
from migaki.importers.coco import Coco
from migaki.importers.importer import Importer
from migaki.importers.sniff import recognise, recognise_one
from migaki.importers.voc import VOC_CLASSES, Voc
from migaki.importers.yolo import Yolo


def imported(importer: Importer, source: Path, out: Path) -> ImageFolder:
    importer.run(source, out)
    return ImageFolder(out)


def refused(importer: Importer, source: Path, tmp_path: Path) -> str:
    line = message(lambda: importer.run(source, tmp_path / "refused"))
    assert not (tmp_path / "refused" / "dataset.json").exists() and len(line) < 500
    return line


# --- COCO -------------------------------------------------------------------------------------------------------------


def test_coco(tmp_path: Path) -> None:
    found = imported(Coco(), sets.coco(tmp_path / "in"), tmp_path / "out")
    assert found.names == ["a.png", "b.png", "c.png"] and found.shape == (3, 30, 40)
    assert found.made["classes"] == ["cat", "dog"] and found.made["mask_classes"] == ["background", "cat", "dog"]
    assert found.made["keypoint_names"] == ["nose", "ear", "tail"]
    rows = found.rows
    assert rows[0]["boxes"] == [[2, 3, 10, 10], [20.25, 4, 12.5, 9.75]] and rows[0]["classes"] == ["cat", "dog"]
    assert rows[0]["crowd"] == [0, 1] and rows[1]["boxes"] == [] and rows[1]["object_keypoints"] == []
    assert rows[0]["object_keypoints"] == [[[4, 5, 2], [0, 0, 0], [7.75, 8.5, 1]], [[0, 0, 0]] * 3]
    mask = np.zeros((30, 40))
    mask[3:13, 2:12] = 1
    mask[4:13, 20:22] = 2
    assert np.array_equal(found.plane("mask", 0), mask) and not found.plane("mask", 1).any()
    assert (found.plane("mask", 2) == 1).all()
    batch = found.read([0, 1, 2])
    assert batch["classes"].tolist() == [[0, 1], [-1, -1], [0, -1]]


def test_coco_masks_are_those_of_its_own_library(tmp_path: Path) -> None:
    library = pytest.importorskip("pycocotools.coco", reason="needs pycocotools")
    values = sets.coco_values()
    draw = np.random.default_rng(3)
    values["annotations"] = [
        {"id": n + 1, "image_id": 10 + n % 3, "category_id": 5, "bbox": [1, 1, 5, 5], "iscrowd": 0, "area": 3,
         "segmentation": [(draw.random(2 * int(draw.integers(3, 9))) * 30).tolist() for _ in range(1 + n % 2)]}
        for n in range(9)]
    source = sets.coco(tmp_path / "in", values)
    found = imported(Coco(), source, tmp_path / "out")
    theirs = library.COCO(str(source / "annotations" / "instances_val2017.json"))
    for index in range(3):
        regions = [theirs.annToMask(one) for one in theirs.loadAnns(theirs.getAnnIds(imgIds=[10 + index]))]
        assert np.array_equal(found.plane("mask", index) == 1, np.any(regions, axis=0))


def test_an_object_without_an_outline_is_ignored_and_the_smaller_one_is_seen(tmp_path: Path) -> None:
    values = sets.coco_values()
    values["annotations"][1]["segmentation"] = []
    inner = {**values["annotations"][0], "id": 7, "category_id": 2, "segmentation": [[4, 5, 7, 5, 7, 8, 4, 8]]}
    values["annotations"].insert(0, inner)
    mask = imported(Coco(), sets.coco(tmp_path / "in", values), tmp_path / "out").plane("mask", 0)
    assert (mask[5:8, 4:7] == 2).all() and mask[3, 2] == 1 and (mask[4:14, 20:33] == 255).all() and mask[15, 20] == 0


def test_coco_of_roboflow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = sets.coco_values()
    values["categories"].insert(0, {"id": 0, "name": "animal", "supercategory": "none"})
    for annotation in values["annotations"]:
        annotation["segmentation"] = []
        annotation.pop("keypoints", None)
    for split in ("train", "valid"):
        sets.pictures(tmp_path / "in" / split, "a.png", "b.png", "c.png")
        (tmp_path / "in" / split / "_annotations.coco.json").write_text(json.dumps(values))
    assert main(["import", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr()
    assert "COCO: train/_annotations.coco.json" in told.out and "'train' is taken" in told.err
    found = ImageFolder(tmp_path / "out")
    assert found.made["classes"] == ["cat", "dog"] and "mask_classes" not in found.made
    assert "crowd" in found.rows[0] and "mask_file_name" not in found.rows[0]
    assert Coco(Coco.Config(split="val")).run(tmp_path / "in", tmp_path / "val") == 3
    line = refused(Coco(Coco.Config(split="test")), tmp_path / "in", tmp_path)
    assert "no split 'test' (it has: train, valid)" in line


Change = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(("change", "expected"), [
    (lambda v: v["images"][0].update(file_name="../a.png"), r"images[0]: '../a.png' leads out of the set"),
    (lambda v: v["images"][0].update(file_name="/etc/passwd"), "leads out of the set"),
    (lambda v: v["images"][0].update(file_name="C:\\a.png"), "leads out of the set"),
    (lambda v: v["images"][0].update(file_name="gone.png"), "no such file"),
    (lambda v: v["images"][0].update(file_name=None), "images[0]: None is no file name"),
    (lambda v: v["images"][0].update(file_name="a\0"), "is no file name"),
    (lambda v: v["images"][0].update(width=41), "is 40 x 30 px, and instances_val2017.json says 41 x 30"),
    (lambda v: v["images"][1].update(id=10), "images[1]: its id stands there twice"),
    (lambda v: v["annotations"][0].update(bbox=[1, 2, 3]), "annotations[0]: [1, 2, 3] is no list of 4 numbers"),
    (lambda v: v["annotations"][0].update(bbox=[1, 2, 3, 1e99]), "1e+99 is no number of px"),
    (lambda v: v["annotations"][0].update(bbox=[1, 2, 3, True]), "True is no number"),
    (lambda v: v["annotations"][0].update(category_id=77), "category_id is that of no category"),
    (lambda v: v["annotations"][0].update(image_id=77), "image_id is that of no picture"),
    (lambda v: v["annotations"][0].update(iscrowd=2), "iscrowd is neither 0 nor 1"),
    (lambda v: v["annotations"][0].update(keypoints=[1, 2, 3]), "is no list of 9 numbers"),
    (lambda v: v["annotations"][0].update(keypoints=[1, 2, 7] * 3), "visibility is none of 0, 1 and 2"),
    (lambda v: v["annotations"][0].update(segmentation=[[1, 2, 3, 4, 5, 6, 7]]), "half of a corner"),
    (lambda v: v["annotations"][0].update(segmentation=[[1, 2, 900000, 4, 5, 6]]), "far outside of its picture"),
    (lambda v: v["annotations"][0].update(segmentation="x"), "neither polygons nor run lengths"),
    (lambda v: v["annotations"][1]["segmentation"].update(size=[10**5, 10**5]), "its run lengths are none"),
    (lambda v: v["annotations"][1]["segmentation"].update(counts=[1, 2]), "runs do not fill a picture"),
    (lambda v: v["annotations"][1]["segmentation"].update(counts="\u00e9"), "compressed runs"),
    (lambda v: v["annotations"][0].update(bbox=None, segmentation=None), "neither bbox nor segmentation"),
    (lambda v: v["categories"][0].update(name=""), "categories[0]: '' is no name of a class"),
    (lambda v: v["categories"][0].update(name="\ud800"), "half of a letter"),
    (lambda v: v["categories"][1].update(id=5), "its id stands there twice"),
    (lambda v: v.update(images={}), "has no list 'images'"),
    (lambda v: v.update(annotations=[1]), "has no list 'annotations'"),
])
def test_coco_of_strangers(change: Change, expected: str, tmp_path: Path) -> None:
    values = sets.coco_values()
    change(values)
    assert expected in refused(Coco(), sets.coco(tmp_path / "in", values), tmp_path)


def test_coco_files_that_are_none(tmp_path: Path) -> None:
    source = sets.coco(tmp_path / "in")
    file = source / "annotations" / "instances_val2017.json"
    whole = file.read_text()
    file.write_text(whole[:-5])
    assert "not valid JSON" in refused(Coco(), source, tmp_path)
    file.write_text(whole.replace('"year": 2026', '"year": ' + "[" * 100_000))
    assert "not valid JSON" in refused(Coco(), source, tmp_path)
    file.write_text("{}")
    assert "no COCO annotations were found" in refused(Coco(), source, tmp_path) and recognise(source) == []


def test_links_that_lead_out_are_not_followed(tmp_path: Path) -> None:
    for importer, source, picture in ((Coco(), sets.coco(tmp_path / "c"), "val2017/a.png"),
                                      (Yolo(), sets.yolo(tmp_path / "y"), "images/train/a.jpg"),
                                      (Yolo(), sets.yolo(tmp_path / "z"), "labels/train/a.txt"),
                                      (Coco(), sets.coco(tmp_path / "d"), "annotations/instances_val2017.json"),
                                      (Voc(), sets.voc(tmp_path / "v"), "JPEGImages/a.jpg"),
                                      (Voc(), sets.voc(tmp_path / "w"), "Annotations/a.xml")):
        away = tmp_path / f"away{Path(picture).suffix}"
        (source / picture).rename(away)
        (source / picture).symlink_to(away)
        line = refused(importer, source, tmp_path)
        assert "leads out" in line or "no COCO annotations were found" in line


# --- YOLO -------------------------------------------------------------------------------------------------------------


def test_yolo_boxes(tmp_path: Path) -> None:
    found = imported(Yolo(), sets.yolo(tmp_path / "in"), tmp_path / "out")
    assert found.names == [f"images/train/{name}.jpg" for name in "abc"]
    assert found.rows[0]["boxes"] == [[0, 11.25, 20, 7.5], [18, 12, 4, 6]]
    assert found.rows[0]["classes"] == ["cat", "big dog"] and found.rows[1]["boxes"] == found.rows[2]["boxes"] == []
    assert found.made["classes"] == ["cat", "big dog"] and "mask_file_name" not in found.rows[0]


def test_yolo_outlines(tmp_path: Path) -> None:
    source = sets.yolo(tmp_path / "in", "1 0.1 0.1 0.4 0.1 0.4 0.5 0.1 0.5\n0 0.75 0.5 0.25 0.5\n")
    found = imported(Yolo(), source, tmp_path / "out")
    assert found.rows[0]["boxes"][0] == pytest.approx([4, 3, 12, 12]) and found.rows[0]["classes"] == ["big dog", "cat"]
    mask = np.zeros((30, 40))
    mask[3:15, 4:16] = 2
    mask[7:23, 25:35] = 255  # nobody says what is the object's in a box alone
    assert np.array_equal(found.plane("mask", 0), mask)
    assert found.made["mask_classes"] == ["background", "cat", "big dog"]


def test_yolo_keypoints(tmp_path: Path) -> None:
    yaml = "train: ../images/train\nval: images/none\nnames: [cat, \"big dog\"]\nkpt_shape: [2, 3]\n"
    source = sets.yolo(tmp_path / "in", "0 0.5 0.5 0.5 0.5 0.25 0.5 2 0 0 0\n1 0.5 0.5 0.5 0.5\n", yaml)
    found = imported(Yolo(), source, tmp_path / "out")
    assert found.rows[0]["object_keypoints"] == [[[9.5, 14.5, 2], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]]
    assert found.made["keypoint_names"] == ["point_0", "point_1"]
    (source / "data.yaml").write_text(yaml.replace("2, 3", "2, 2") + "kpt_names:\n  0: [nose, tail]\n")
    (source / "labels" / "train" / "a.txt").write_text("0 0.5 0.5 0.5 0.5 0.25 0.5 0 0\n")
    found = imported(Yolo(), source, tmp_path / "flat")
    assert found.rows[0]["object_keypoints"] == [[[9.5, 14.5, 2], [0, 0, 0]]]
    assert found.made["keypoint_names"] == ["nose", "tail"]


def test_yolo_without_a_description(tmp_path: Path) -> None:
    source = sets.yolo(tmp_path / "in")
    (source / "data.yaml").unlink()
    assert recognise(source) == [("yolo", "YOLO: labels/train/a.txt holds a class and shares of a picture a line")]
    assert imported(Yolo(), source, tmp_path / "numbers").made["classes"] == ["0", "1"]
    (source / "classes.txt").write_text("cat\ndog\n")
    assert imported(Yolo(), source, tmp_path / "names").made["classes"] == ["cat", "dog"]
    flat = tmp_path / "flat"
    sets.pictures(flat, "a.png", "b.png")
    (flat / "a.txt").write_text("0 0.5 0.5 1 1\n")
    assert imported(Yolo(), flat, tmp_path / "beside").rows[0]["boxes"] == [[0, 0, 40, 30]]


def test_yolo_lists_of_pictures(tmp_path: Path) -> None:
    source = sets.yolo(tmp_path / "in", yaml="train: train.txt\nval: images/train\nnames: ['cat', 'dog']\n")
    (source / "train.txt").write_text("./images/train/c.jpg\nimages/train/a.jpg\n")
    assert imported(Yolo(), source, tmp_path / "out").names == ["images/train/c.jpg", "images/train/a.jpg"]
    assert Yolo(Yolo.Config(split="val")).run(source / "data.yaml", tmp_path / "val") == 3
    (source / "train.txt").write_text("../../a.jpg\n")
    assert "leads out of the set" in refused(Yolo(), source, tmp_path)


@pytest.mark.parametrize(("lines", "expected"), [
    ("0 0.5 0.5 0.5", "a.txt: line 1: 3 numbers behind the class"), ("0 0.5 0.5 0.5 nan", "is no number of px"),
    ("2 0.5 0.5 0.5 0.5", "the 2 classes have no number 2"), ("\n-1 0.5 0.5 0.5 0.5", "line 2"),
    ("0.5 0.5 0.5 0.5 0.5", "have no number 0.5"), ("cat 0.5 0.5 0.5 0.5", "could not convert string"),
    ("0 120 50 30 20", "no shares of a box"), ("0 0.5 0.5 0.5 0.5 0.5", "5 numbers"), ("inf 0 0 1 1", "line 1"),
    ("0 1e999 0 1 1", "is no number"),
])
def test_yolo_labels_of_strangers(lines: str, expected: str, tmp_path: Path) -> None:
    assert expected in refused(Yolo(), sets.yolo(tmp_path / "in", lines), tmp_path)


@pytest.mark.parametrize(("yaml", "expected"), [
    ("train: /data/images\nnames: [a]\n", "no split that its yaml file names lies below"),
    ("train: images/train\nnames: [a, a]\n", "hold one name twice"), ("train: images/train\nnames: 3\n", "is no list"),
    ("train: images/train\nnames: {0: a, 2: b}\n", "names has no class '1'"),
    ("train: images/train\nnames: &x [a]\n", "more of YAML than is read"),
    ("train: images/train\nnames: [a, [b]]\n", "no list or table of one level"),
    ("train: images/train\nnames: [a]\nnames: [b]\n", "stands there twice"),
    ("train: images/train\nnames: [a]\nkpt_shape: [1, 9]\n", "kpt_shape [1, 9]"),
    ("train: images/empty\nval: images\nnames: [\nx: 1\n", "data.yaml: line"),
])
def test_yolo_descriptions_of_strangers(yaml: str, expected: str, tmp_path: Path) -> None:
    assert expected in refused(Yolo(), sets.yolo(tmp_path / "in", yaml=yaml), tmp_path)


def test_yolo_without_labels(tmp_path: Path) -> None:
    source = sets.yolo(tmp_path / "in")
    (source / "labels").rename(source / "away")
    assert "none of the 3 pictures of the split train has a label file" in refused(Yolo(), source, tmp_path)


# --- Pascal VOC -------------------------------------------------------------------------------------------------------


def test_voc(tmp_path: Path) -> None:
    found = imported(Voc(), sets.voc(tmp_path / "in"), tmp_path / "out")
    assert found.rows[0]["boxes"] == [[0, 0, 40, 30], [2, 3, 10, 6]] and found.rows[0]["crowd"] == [0, 1]
    assert found.rows[0]["classes"] == ["cat", "dog"] and found.rows[1]["boxes"] == []
    assert found.made["classes"] == list(VOC_CLASSES) and found.made["mask_classes"][12] == "dog"
    mask = found.plane("mask", 0)
    assert mask[4, 4] == 12 and mask[0, 0] == 255 and mask[20, 20] == 0 and "mask_file_name" not in found.rows[1]
    assert imported(Voc(Voc.Config(split="val")), tmp_path / "in", tmp_path / "val").names == ["b.jpg"]
    zero = imported(Voc(Voc.Config(first_pixel=0)), tmp_path / "in", tmp_path / "zero")
    assert zero.rows[0]["boxes"] == [[1, 1, 39, 29], [3, 4, 9, 5]]


def test_voc_beside_pictures_and_classes_of_ones_own(tmp_path: Path) -> None:
    source = sets.voc(tmp_path / "v", sets.OBJECT.format(name="zebra", difficult=0, box=(1, 1, 2, 2)), masks=False)
    flat = tmp_path / "in" / "train"
    flat.mkdir(parents=True)
    for file in (*source.glob("Annotations/*"), *source.glob("JPEGImages/*")):
        file.rename(flat / file.name)
    assert recognise_one(flat.parent)[0] == "voc"
    found = imported(Voc(), flat.parent, tmp_path / "out")
    assert found.made["classes"] == ["zebra"] and found.rows[0]["boxes"] == [[0, 0, 2, 2]] and len(found) == 2


def test_voc_masks_alone_and_in_colours(tmp_path: Path) -> None:
    source = sets.voc(tmp_path / "in")
    for file in (*source.glob("Annotations/*"), *source.glob("ImageSets/Main/*")):
        file.unlink()
    assert [name for name, _ in recognise(source)] == ["voc"]
    found = imported(Voc(), source, tmp_path / "out")
    assert found.names == ["a.jpg"] and "boxes" not in found.rows[0] and found.plane("mask", 0)[4, 4] == 12
    (source / "labelmap.txt").write_text("# label:color_rgb\nbackground:0,0,0::\nroad:128,0,0::\n")
    colours = np.zeros((30, 40, 3), np.uint8)
    colours[:5, :, 0] = 128
    Image.fromarray(colours).save(source / "SegmentationClass" / "a.png")
    found = imported(Voc(), source, tmp_path / "colours")
    assert found.made["mask_classes"] == ["background", "road"]
    assert found.plane("mask", 0)[:6, 0].tolist() == [1] * 5 + [0]
    colours[9, 9] = 7
    Image.fromarray(colours).save(source / "SegmentationClass" / "a.png")
    assert "holds the colour 7,7,7, which labelmap.txt does not name" in refused(Voc(), source, tmp_path)


BAD = sets.OBJECT.format(name="cat", difficult=0, box=(1, "x", 4, 4))
DOCTYPE = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(("text", "expected"), [
    (sets.XML.format(name="a", objects=BAD), "a.xml: ymin 'x' is no number of px"),
    (sets.XML.format(name="a", objects="<object><name>cat</name></object>"), "xmin '' is no number of px"),
    (sets.XML.format(name="a", objects=BAD.replace("x<", "1<").replace("cat", "")), "is no name of a class"),
    (sets.XML.format(name="a", objects=BAD.replace(">x<", ">1e999<")), "is no number of px"),
    (DOCTYPE + sets.XML.format(name="&b;", objects=""), "has a DOCTYPE"), ("<annotation>", "not XML that is read"),
    ("<annotations/>", "is no annotation of Pascal VOC"), ("<annotation>" + "<a>" * 99, "nested deeper than 32"),
    (sets.XML.format(name="a", objects="").replace("40", "41"), "is 40 x 30 px, and a.xml says 41 x 30"),
    ("", "not XML that is read"),
])
def test_voc_of_strangers(text: str, expected: str, tmp_path: Path) -> None:
    source = sets.voc(tmp_path / "in")
    (source / "Annotations" / "a.xml").write_text(text)
    assert expected in refused(Voc(), source, tmp_path)


def test_voc_files_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = sets.voc(tmp_path / "in")
    (source / "ImageSets" / "Main" / "train.txt").write_text("../../a\n")
    assert "'../../a' has neither Annotations/NAME.xml nor a mask" in refused(Voc(), source, tmp_path)
    (source / "ImageSets" / "Main" / "train.txt").write_text("a\n")
    monkeypatch.setattr("migaki.importers.voc._MAX_XML", 100)
    assert "is larger than" in refused(Voc(), source, tmp_path)
    monkeypatch.undo()
    (source / "JPEGImages" / "a.jpg").unlink()
    assert "'a' has annotations and no picture" in refused(Voc(), source, tmp_path)


# --- which layout -----------------------------------------------------------------------------------------------------


def test_layouts_are_recognised(tmp_path: Path) -> None:
    assert recognise(sets.coco(tmp_path / "c")) == [
        ("coco", "COCO: annotations/instances_val2017.json with images, annotations and categories")]
    assert recognise(sets.yolo(tmp_path / "y")) == [("yolo", "YOLO: data.yaml names classes and splits")]
    assert recognise(sets.voc(tmp_path / "v")) == [
        ("voc", "Pascal VOC: Annotations/a.xml holds the annotation of one picture")]


def test_no_layout_and_several(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no known layout was recognised: name the importer" in message(lambda: recognise_one(tmp_path / "empty"))
    assert "there is no such file" in message(lambda: recognise_one(tmp_path / "gone"))
    sets.coco(tmp_path / "both")
    sets.yolo(tmp_path / "both")
    line = message(lambda: recognise_one(tmp_path / "both"))
    assert "has several layouts" in line and "migaki import coco" in line and "migaki import yolo" in line
    imported(Coco(), tmp_path / "both", tmp_path / "ours")
    assert "of migaki's own form already" in message(lambda: recognise_one(tmp_path / "ours"))


def test_pictures_keep_size_and_channels(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for mode, name in (("L", "grey"), ("LA", "grey_alpha"), ("RGB", "rgb"), ("RGBA", "rgba")):
        Image.new(mode, (40, 30), 70).save(source / f"{name}.png")
    Image.fromarray(np.full((30, 40), 128 * 257, np.uint16)).save(source / "sixteen.png")
    (source / "rgb.txt").write_text("0 0.5 0.5 1 1\n")
    importer = Yolo()
    shapes = {name: image for name, image, _ in map(importer.load, importer.find(source))}
    assert {name: len(image) for name, image in shapes.items()} == {
        "grey": 1, "grey_alpha": 1, "rgb": 3, "rgba": 4, "sixteen": 1}
    assert (shapes["sixteen"] == 128).all() and (shapes["grey"] == 70).all()


def test_names_that_differ_in_their_ending_alone(tmp_path: Path) -> None:
    sets.pictures(tmp_path / "in", "a.png", "a.jpg")
    (tmp_path / "in" / "a.txt").write_text("0 0.5 0.5 1 1\n")
    assert sorted(imported(Yolo(), tmp_path / "in", tmp_path / "out").names) == ["a.jpg.jpg", "a.png"]
