"""COCO export, read by COCO's own library: every point, region and class is where we said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from migaki.cli import main
from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder
from migaki.data.writers.coco import write_coco
from migaki.simulate.eyes import EyeSimulator
from migaki.simulate.hands import HandSimulator
from migaki.stages.simulate import SimulateJob, simulate


@pytest.fixture(scope="module")
def eyes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    job = SimulateJob(out=tmp_path_factory.mktemp("coco") / "eyes", count=4)
    return simulate("eyes", EyeSimulator(EyeSimulator.Config(width=60, height=36)), job, quiet=True)


def opened(path: Path) -> Any:
    coco = pytest.importorskip("pycocotools.coco", reason="needs pycocotools")
    return coco.COCO(str(path))


def test_eyes(eyes: Path, tmp_path: Path) -> None:
    assert main(["export", str(eyes), "--format", "coco", "--out", str(tmp_path / "eyes.json")]) == 0
    coco, folder = opened(tmp_path / "eyes.json"), ImageFolder(eyes)
    assert [coco.imgs[n + 1]["file_name"] for n in range(4)] == folder.names
    names = {category["name"]: category for category in coco.cats.values()}
    assert {"eyes", "sclera", "iris"} <= set(names) <= {"eyes", "sclera", "iris", "pupil"}
    masks = folder.read(range(4), ("mask",))["mask"].numpy()
    keypoints = names["eyes"]["keypoints"]
    assert len(keypoints) == 1 + 16 + 16 + 2 and max(map(max, names["eyes"]["skeleton"])) <= len(keypoints)
    for index in range(4):
        (eye,) = coco.loadAnns(coco.getAnnIds(imgIds=[index + 1], catIds=[names["eyes"]["id"]]))
        triples = np.array(eye["keypoints"]).reshape(-1, 3)
        first = keypoints.index("iris_outline_0")
        outline, seen = folder.labels["iris_outline"][index], folder.labels["iris_visible"][index]
        for (x, y, v), point, visible in zip(triples[first : first + 16], outline, seen, strict=True):
            if v:
                assert np.allclose((x, y), point + 0.5, atol=1e-3) and (v == 2) == bool(visible)
            else:
                assert not (0 <= point[0] + 0.5 <= 60 and 0 <= point[1] + 0.5 <= 36)
        assert eye["num_keypoints"] == (triples[:, 2] > 0).sum()
        for value, name in ((1, "sclera"), (2, "iris")):
            regions = coco.loadAnns(coco.getAnnIds(imgIds=[index + 1], catIds=[names[name]["id"]]))
            assert len(regions) == int((masks[index] == value).any())
            for region in regions:
                assert np.array_equal(coco.annToMask(region), masks[index] == value)
                assert region["area"] == (masks[index] == value).sum()
                import pycocotools.mask

                assert pycocotools.mask.toBbox(coco.annToRLE(region)).tolist() == region["bbox"]


def test_hands(tmp_path: Path) -> None:
    config = HandSimulator.Config(width=48, height=48)
    folder = ImageFolder(simulate("hands", HandSimulator(config), SimulateJob(out=tmp_path / "hands", count=2),
                                  quiet=True))
    counts = write_coco(folder, tmp_path / "hands.json")
    found = json.loads((tmp_path / "hands.json").read_text())
    assert counts["annotations"] == len(found["annotations"]) == 2 and counts["images"] == 2
    for annotation, joints in zip(found["annotations"], folder.labels["joints"], strict=True):
        assert len(annotation["keypoints"]) == 3 * len(joints)


def test_a_class_covers_the_whole_image(image_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = ImageFolder(image_folder("plain", 4, (24, 40), labels=("label",)))
    write_coco(folder, tmp_path / "a.json")
    found = json.loads((tmp_path / "a.json").read_text())
    assert [a["category_id"] for a in found["annotations"]] == [1, 2, 3, 1]
    assert found["annotations"][0]["bbox"] == [0, 0, 40, 24] and [c["name"] for c in found["categories"]] == list("012")


def test_a_mask_that_begins_inside(tmp_path: Path) -> None:
    """The first run of COCO's is of zeros, also where there are none."""
    from PIL import Image

    mask = np.zeros((3, 4), np.uint8)
    mask[0, 0] = mask[2, 1] = mask[0, 2] = 7
    (tmp_path / "set").mkdir()
    for name in ("image", "mask"):
        Image.fromarray(mask).save(tmp_path / "set" / f"{name}.png")
    (tmp_path / "set" / "metadata.jsonl").write_text('{"file_name": "image.png", "mask_file_name": "mask.png"}\n')
    write_coco(ImageFolder(tmp_path / "set"), tmp_path / "a.json")
    coco = opened(tmp_path / "a.json")
    assert np.array_equal(coco.annToMask(coco.anns[1]), mask == 7) and coco.cats[1]["name"] == "class_7"


def test_labels_that_coco_has_no_place_for(image_folder: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing that COCO can hold"):
        write_coco(ImageFolder(image_folder("plain", 3, labels=("gaze",))), tmp_path / "a.json")
    assert not (tmp_path / "a.json").exists()


def labelled(folder: Path, *rows: str) -> ImageFolder:
    for number in range(len(rows)):
        Image.new("L", (40, 24)).save(folder / f"{number}.png")
    (folder / "metadata.jsonl").write_text("".join(f'{{"file_name": "{n}.png", {row}}}\n' for n,
                                                   row in enumerate(rows)))
    return ImageFolder(folder)


@pytest.mark.parametrize("value", ["-3", "1.5", "3000000", "1e30", "true", "[1]", "100000"])
def test_labels_that_are_no_classes(value: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="label"):
        write_coco(labelled(tmp_path, f'"label": {value}', '"label": 0'), tmp_path / "a.json")
    assert not (tmp_path / "a.json").exists()


@pytest.mark.parametrize("value", ["null", "NaN"])
def test_an_image_without_a_label_has_no_annotation(value: str, tmp_path: Path) -> None:
    counts = write_coco(labelled(tmp_path, f'"label": {value}', '"label": 1'), tmp_path / "a.json")
    found = json.loads((tmp_path / "a.json").read_text())
    assert counts == {"images": 2, "annotations": 1, "categories": 2}
    assert [(a["image_id"], a["category_id"]) for a in found["annotations"]] == [(2, 2)]
    with pytest.raises(UserError, match="has no label 'label'"):
        write_coco(labelled(tmp_path, f'"label": {value}'), tmp_path / "b.json")


def test_points_that_are_nowhere(tmp_path: Path) -> None:
    points = '"iris_outline": [[1, 2], [null, 3], [1e300, 4], [-5, 5]]'
    write_coco(labelled(tmp_path, points), tmp_path / "a.json")
    (one,) = json.loads((tmp_path / "a.json").read_text(), parse_constant=str)["annotations"]
    assert one["keypoints"] == [1.5, 2.5, 2] + [0, 0, 0] * 3 and one["num_keypoints"] == 1 and one["area"] == 0


def test_flags_of_other_points(tmp_path: Path) -> None:
    folder = labelled(tmp_path, '"iris_outline": [[1, 2], [3, 4]], "iris_visible": [1, 0, 1]')
    with pytest.raises(UserError, match="'iris_visible' has 3 values per image and 'iris_outline' 2 points"):
        write_coco(folder, tmp_path / "a.json")
