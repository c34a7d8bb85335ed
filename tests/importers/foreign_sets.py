"""Small sets in the layouts of others, made here: three pictures with a cat, a dog and nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = (40, 30)  # px, width and height
SQUARE = [2, 3, 12, 3, 12, 13, 2, 13]


def pictures(folder: Path, *names: str, mode: str = "RGB") -> None:
    """Pictures of these names, each of another brightness."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        colour: Any = 40 * number if mode == "L" else (40 * number, 10, 200)[: len(mode)]
        Image.new(mode, SIZE, colour).save(folder / name)


def coco_values() -> dict[str, Any]:
    """The values of an annotation file for a.png, b.png and c.png."""
    return {
        "info": {"year": 2026}, "licenses": [],
        "images": [{"id": 10 + n, "file_name": f"{name}.png", "width": SIZE[0], "height": SIZE[1]}
                   for n, name in enumerate("abc")],
        "annotations": [
            {"id": 1, "image_id": 10, "category_id": 5, "bbox": [2, 3, 10, 10], "area": 100, "iscrowd": 0,
             "segmentation": [SQUARE], "keypoints": [4.5, 5.5, 2, 0, 0, 0, 8.25, 9, 1], "num_keypoints": 2},
            {"id": 2, "image_id": 10, "category_id": 2, "bbox": [20.25, 4, 12.5, 9.75], "area": 80, "iscrowd": 1,
             "segmentation": {"size": [30, 40], "counts": [20 * 30 + 4, 9, 21, 9, 30 * 40 - 20 * 30 - 4 - 39]}},
            {"id": 3, "image_id": 12, "category_id": 5, "bbox": [0, 0, 40, 30], "area": 1200, "iscrowd": 0,
             "segmentation": [[0, 0, 40, 0, 40, 30, 0, 30]], "keypoints": [0, 0, 0] * 3, "num_keypoints": 0}],
        "categories": [{"id": 5, "name": "cat", "supercategory": "animal", "keypoints": ["nose", "ear", "tail"],
                        "skeleton": []}, {"id": 2, "name": "dog", "supercategory": "animal"}],
    }


def coco(root: Path, values: Any = None) -> Path:
    """annotations/instances_val2017.json and val2017/."""
    pictures(root / "val2017", "a.png", "b.png", "c.png")
    (root / "annotations").mkdir()
    text = json.dumps(coco_values() if values is None else values)
    (root / "annotations" / "instances_val2017.json").write_text(text)
    return root


def yolo(root: Path, lines: str = "0 0.25 0.5 0.5 0.25\n1 0.5 0.5 0.1 0.2\n", yaml: str | None = None) -> Path:
    """data.yaml, images/train, labels/train: two objects in a.jpg, an empty file for b.jpg, none for c.jpg."""
    pictures(root / "images" / "train", "a.jpg", "b.jpg", "c.jpg")
    (root / "labels" / "train").mkdir(parents=True)
    (root / "labels" / "train" / "a.txt").write_text(lines)
    (root / "labels" / "train" / "b.txt").write_text("")
    text = "path: ../datasets/x  # nowhere\ntrain: images/train\nnc: 2\nnames:\n  0: cat\n  1: big dog\n"
    (root / "data.yaml").write_text(text if yaml is None else yaml)
    return root


XML = """<annotation><folder>x</folder><filename>{name}.jpg</filename>
<size><width>40</width><height>30</height><depth>3</depth></size>{objects}</annotation>"""
OBJECT = """<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{box[0]}</xmin>
<ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"""


def voc(root: Path, objects: str | None = None, *, masks: bool = True) -> Path:
    """Annotations, JPEGImages, ImageSets/Main with train and val, SegmentationClass for a."""
    pictures(root / "JPEGImages", "a.jpg", "b.jpg")
    for folder in ("Annotations", "ImageSets/Main", "SegmentationClass"):
        (root / folder).mkdir(parents=True)
    given = OBJECT.format(name="cat", difficult=0, box=(1, 1, 40, 30)) + OBJECT.format(
        name="dog", difficult=1, box=(3, 4, 12, 9))
    (root / "Annotations" / "a.xml").write_text(XML.format(name="a", objects=given if objects is None else objects))
    (root / "Annotations" / "b.xml").write_text(XML.format(name="b", objects=""))
    (root / "ImageSets" / "Main" / "train.txt").write_text("a\nb\n")
    (root / "ImageSets" / "Main" / "val.txt").write_text("b\n")
    (root / "ImageSets" / "Main" / "cat_train.txt").write_text("a 1\nb -1\n")
    if masks:
        mask = np.zeros((30, 40), np.uint8)
        mask[3:9, 2:12], mask[0, 0] = 12, 255
        image = Image.fromarray(mask)
        image.putpalette([int(value) for value in np.random.default_rng(0).integers(0, 256, 768)])
        image.save(root / "SegmentationClass" / "a.png")
    return root
