"""What Omniverse Replicator's BasicWriter writes, in one folder or in one a camera."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusals import message
from strange_files import paint, picture, read_all, spoilt_json, spoilt_texts, survive

from migaki.data.folder import ImageFolder
from migaki.importers.replicator import Replicator

BOX = np.dtype([("semanticId", "<u4"), ("x_min", "<i4"), ("y_min", "<i4"), ("x_max", "<i4"), ("y_max", "<i4"),
                ("occlusionRatio", "<f4")])
FAR = 2**31 - 1


def shot(folder: Path, number: str = "0000", camera: str = "", common: bool = False) -> None:
    """The files of one picture; `camera` in folders of their kinds, `common` in those of all cameras."""
    def place(kind: str, ending: str) -> Path:
        own = kind.removesuffix("_labels")
        inner = folder / camera / own if camera and not common else folder / own if common else folder
        inner.mkdir(parents=True, exist_ok=True)
        return inner / f"{camera + '_' if common else ''}{kind}_{number}{ending}"

    picture(place("rgb", ".png"), colour=(1, 2, 3))
    boxes = np.array([(0, 1, 1, 4, 3, 0.25), (3, 5, 4, 8, 6, 0.0), (3, FAR, FAR, -FAR, -FAR, 1.0)], BOX)
    np.save(place("bounding_box_2d_tight", ".npy"), boxes)
    names = {"0": {"class": "cup"}, "3": {"class": "box"}}
    place("bounding_box_2d_tight_labels", ".json").write_text(json.dumps(names))
    mask = np.zeros((6, 8, 4), np.uint8)
    mask[1:3, 1:4] = (25, 130, 80, 255)
    paint(place("semantic_segmentation", ".png"), mask)
    place("semantic_segmentation_labels", ".json").write_text(json.dumps(
        {"(0, 0, 0, 0)": {"class": "BACKGROUND"}, "(0, 0, 0, 255)": {"class": "UNLABELLED"},
         "(25, 130, 80, 255)": {"class": "cup"}}))
    depth = np.full((6, 8), 1.5, np.float32)
    depth[0, 0] = np.inf
    np.save(place("distance_to_camera", ".npy"), depth)


def test_one_camera(tmp_path: Path) -> None:
    shot(tmp_path / "in")
    shot(tmp_path / "in", "0010")
    assert Replicator.recognises(tmp_path / "in") == "Omniverse Replicator (BasicWriter): rgb_0000.png"
    assert Replicator().run(tmp_path / "in", tmp_path / "out") == 2
    found = ImageFolder(tmp_path / "out")
    assert found.names == ["rgb_0000.png", "rgb_0010.png"]
    row = found.rows[1]
    assert row["boxes"] == [[1, 1, 3, 2], [5, 4, 3, 2]] and row["classes"] == ["cup", "box"]
    assert row["occlusion"] == [0.25, 0.0]
    batch = found.read([0], ("mask", "depth"))
    assert found.made["mask_classes"] == ["background", "cup"] and found.made["classes"] == ["box", "cup"]
    assert batch["mask"][0, 1:3, 1:4].eq(1).all() and batch["mask"].sum() == 6
    assert found.read([0], ("occlusion",))["occlusion"].tolist() == [[0.25, 0.0]]
    assert batch["depth"][0, 0, 0] == 0 and batch["depth"][0, 1, 1] == 1500


@pytest.mark.parametrize("common", [True, False])
def test_several_cameras(common: bool, tmp_path: Path) -> None:
    for camera in ("Left", "Right"):
        shot(tmp_path / "in", camera=camera, common=common)
    assert Replicator.recognises(tmp_path / "in")
    rows = read_all(Replicator, tmp_path / "in")
    assert len(rows) == 2 and all(row["boxes"] and row["mask_file_name"] and row["depth_file_name"] for row in rows)


def test_masks_of_numbers(tmp_path: Path) -> None:
    shot(tmp_path)
    paint(tmp_path / "semantic_segmentation_0000.png", np.full((6, 8), 2, np.uint8))
    names = {"2": {"class": "cup", "room": "kitchen"}}
    (tmp_path / "semantic_segmentation_labels_0000.json").write_text(json.dumps(names))
    _, _, row = Replicator().load(_only(tmp_path))
    assert (row["mask"] == 1).all()


def _only(path: Path) -> Any:
    importer = Replicator()
    found = importer.find(path)
    assert len(found) == 1
    return found[0]


def saved(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


@pytest.mark.parametrize(("name", "content", "expected"), [
    ("bounding_box_2d_tight_0000.npy", b"rubbish", "not an array of plain numbers"),
    ("bounding_box_2d_tight_0000.npy", saved(np.array([{"a": 1}]), allow_pickle=True), "not an array of plain numbers"),
    ("bounding_box_2d_tight_0000.npy", saved(np.zeros((2, 6))), "its columns are not semanticId"),
    ("bounding_box_2d_tight_0000.npy", saved(np.array([(9, 1, 1, 4, 3, 0)], BOX)), "semanticId 9 is not among"),
    ("bounding_box_2d_tight_labels_0000.json", b'{"0": {"class": ""}}', "no name of a class"),
    ("semantic_segmentation_labels_0000.json", b'{"(1, 2)": {"class": "cup"}}', "is no colour"),
    ("distance_to_camera_0000.npy", saved(np.zeros((2, 3))), "its depth is 3 x 2"),
    ("distance_to_camera_0000.npy", saved(np.zeros((6, 8, 2, 2))), "has 4 axes"),
])
def test_broken_files(name: str, content: bytes, expected: str, tmp_path: Path) -> None:
    shot(tmp_path / "in")
    (tmp_path / "in" / name).write_bytes(content)
    assert expected in message(lambda: Replicator().run(tmp_path / "in", tmp_path / "out"))


def test_labels_that_are_missing(tmp_path: Path) -> None:
    shot(tmp_path / "in")
    (tmp_path / "in" / "bounding_box_2d_tight_labels_0000.json").unlink()
    assert "of the same number is missing" in message(lambda: Replicator().run(tmp_path / "in", tmp_path / "out"))
    picture(tmp_path / "other" / "rgb_0000.png")
    assert "no rgb_0000.png with boxes" in message(lambda: Replicator().run(tmp_path / "other", tmp_path / "out"))


def test_strangers(tmp_path: Path) -> None:
    shot(tmp_path)
    for file in tmp_path.glob("*.json"):
        read, refused = survive(Replicator, tmp_path, file, spoilt_json(file.read_bytes(), 100))
        assert read and refused
    for file in tmp_path.glob("*.npy"):
        assert sum(survive(Replicator, tmp_path, file, spoilt_texts(file.read_bytes(), 100))) == 100
