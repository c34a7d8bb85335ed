"""What BlenderProc writes: its own HDF5 files, and scenes in the BOP layout."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from refusals import message
from strange_files import changed, paint, picture, read_all, spoilt_json, spoilt_texts, survive

from migaki.data.folder import ImageFolder
from migaki.data.sets.carry import carried, framed
from migaki.importers.blenderproc import BlenderProc
from migaki.importers.bop import BOP

TURN = [1, 0, 0, 0, 1, 0, 0, 0, 1]


def scene(path: Path) -> Path:
    """A scene of two pictures with two objects, of which the second is out of sight in the second picture."""
    path.mkdir(parents=True, exist_ok=True)
    poses, infos, cameras = {}, {}, {}
    for number in range(2):
        picture(path / "rgb" / f"{number:06d}.jpg")
        paint(path / "depth" / f"{number:06d}.png", np.full((6, 8), 7000, np.uint16))
        mask = np.zeros((2, 6, 8), np.uint8)
        mask[0, 1:3, 1:4] = 255
        mask[1, 4:, 5:] = 255 * (1 - number)
        for place in range(2):
            paint(path / "mask_visib" / f"{number:06d}_{place:06d}.png", mask[place])
        poses[str(number)] = [{"cam_R_m2c": TURN, "cam_t_m2c": [1, 2.5, 700 + place], "obj_id": 7 - 2 * place}
                              for place in range(2)]
        infos[str(number)] = [
            {"bbox_obj": [0, 0, 4, 4], "bbox_visib": [1, 1, 2, 1], "visib_fract": 0.5},
            {"bbox_obj": [5, 4, 9, 9], "bbox_visib": [-1, -1, -1, -1] if number else [5, 4, 2, 1], "visib_fract": 1.0}]
        cameras[str(number)] = {"cam_K": [500, 0, 4, 0, 501, 3, 0, 0, 1], "depth_scale": 0.1}
    (path / "scene_gt.json").write_text(json.dumps(poses))
    (path / "scene_gt_info.json").write_text(json.dumps(infos))
    (path / "scene_camera.json").write_text(json.dumps(cameras))
    return path


def test_bop(tmp_path: Path) -> None:
    root = tmp_path / "in"
    scene(root / "train_pbr" / "000003")
    assert BOP.recognises(root) == "BOP: train_pbr/000003/scene_gt.json beside rgb"
    assert BOP().run(root, tmp_path / "out") == 2
    found = ImageFolder(tmp_path / "out")
    assert found.names == ["000003/000000.jpg", "000003/000001.jpg"]
    first, second = found.rows
    assert first["boxes"] == [[1, 1, 3, 2], [5, 4, 3, 2]] and first["classes"] == ["obj_000007", "obj_000005"]
    assert first["visible_share"] == [0.5, 1] and first["camera"] == [500, 501, 4, 3]
    assert second["boxes"] == [[1, 1, 3, 2]] and second["object_poses"] == [[*TURN, 1, 2.5, 700]]
    batch = found.read([0, 1])
    assert batch["object_poses"].shape == (2, 2, 12) and batch["depth"].eq(700).all()
    assert batch["mask"][0, 1, 1] == 2 and batch["mask"][0, 5, 7] == 1 and batch["mask"][1, 5, 7] == 0
    assert found.made["mask_classes"] == ["background", "obj_000005", "obj_000007"]


def test_objects_that_are_cut_off_leave_with_their_poses(tmp_path: Path) -> None:
    row = read_all(BOP, scene(tmp_path / "in"))[0]
    moved = carried(row, framed(6, 8, (6, 4)), "x")  # the middle four columns
    assert moved["boxes"] == [[0, 1, 2, 2], [3, 4, 1, 2]] and moved["visible_share"] == [0.5, 1]
    moved = carried({**row, "boxes": [[0, 1, 1, 2], [5, 4, 1, 2]]}, framed(6, 8, (6, 4)), "x")
    assert moved["classes"] == ["obj_000005"] and moved["object_poses"] == [[*TURN, 1, 2.5, 701]]


def test_whole_boxes(tmp_path: Path) -> None:
    assert read_all(BOP, scene(tmp_path), boxes="whole")[1]["boxes"] == [[0, 0, 5, 5], [5, 4, 10, 10]]


@pytest.mark.parametrize(("file", "change", "expected"), [
    ("scene_gt.json", lambda values: values["0"][0].update(cam_R_m2c=[1, 2]), "no list of 9 numbers"),
    ("scene_gt.json", lambda values: values["0"][0].update(cam_t_m2c=[1, 2, 0]), "in the plane of the camera"),
    ("scene_gt.json", lambda values: values.update({"7": values["0"]}), "'7' is missing"),
    ("scene_gt_info.json", lambda values: values["0"].pop(), "other objects for picture 0"),
    ("scene_camera.json", lambda values: values["0"].update(depth_scale=0), "depth_scale 0 is not above 0"),
])
def test_broken_bop(file: str, change: Callable[[Any], Any], expected: str, tmp_path: Path) -> None:
    root = scene(tmp_path / "in")
    changed(root / file, lambda values: change(values) and None)
    assert expected in message(lambda: BOP().run(root, tmp_path / "out"))


def test_bop_without_a_picture(tmp_path: Path) -> None:
    root = scene(tmp_path / "in")
    (root / "rgb" / "000001.jpg").unlink()
    assert "picture 000001 is missing" in message(lambda: BOP().run(root, tmp_path / "out"))
    (root / "scene_gt_info.json").unlink()
    assert "scene_gt_info.json: no such file" in message(lambda: BOP().run(root, tmp_path / "out"))


def test_bop_of_strangers(tmp_path: Path) -> None:
    root = scene(tmp_path)
    for file in sorted(root.glob("*.json")):
        read, refused = survive(BOP, root, file, spoilt_json(file.read_bytes(), 200 if "gt.json" in file.name else 100))
        assert read and refused


# --- HDF5 ------------------------------------------------------------------------------------------------------------

ATTRIBUTES = [{"idx": 0, "category_id": 0, "name": "World"}, {"idx": 3, "category_id": 2, "name": "Cube.001"},
              {"idx": 5, "category_id": 1, "name": "Suzanne"}]


def render(path: Path, attributes: Any = ATTRIBUTES, **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    instances = np.zeros((6, 8), np.uint8)
    instances[1:3, 1:4], instances[4:, 5:] = 3, 5
    values = {"colors": np.full((6, 8, 3), 9, np.uint8), "depth": np.full((6, 8), 1.25, np.float32),
              "instance_segmaps": instances, "instance_attribute_maps": np.bytes_(json.dumps(attributes)), **more}
    with h5py.File(path, "w") as file:
        for name, value in values.items():
            if value is not None:
                file[name] = value
    return path


def test_hdf5(tmp_path: Path) -> None:
    for number in (0, 2, 10):
        render(tmp_path / "in" / f"{number}.hdf5")
    assert BlenderProc.recognises(tmp_path / "in") == "BlenderProc: 0.hdf5"
    config = BlenderProc.Config(classes=("nothing", "monkey", "cube"))
    assert BlenderProc(config).run(tmp_path / "in", tmp_path / "out") == 3
    found = ImageFolder(tmp_path / "out")
    assert found.names == ["0.png", "2.png", "10.png"]
    assert found.rows[0]["boxes"] == [[1, 1, 3, 2], [5, 4, 3, 2]] and found.rows[0]["classes"] == ["cube", "monkey"]
    batch = found.read([0], ("mask", "depth"))
    assert batch["mask"][0, 1, 1] == 2 and batch["mask"][0, 5, 7] == 1 and batch["depth"].eq(1250).all()
    assert found.made["mask_classes"] == ["nothing", "monkey", "cube"] and found.made["classes"] == ["monkey", "cube"]


def test_categories_without_names_are_numbers(tmp_path: Path) -> None:
    render(tmp_path / "0.hdf5", category_id_segmaps=np.full((6, 8), 300, np.uint16))
    row = read_all(BlenderProc, tmp_path)[0]
    assert row["classes"] == ["2", "1"] and row["mask_file_name"] == "masks/0.png"


@pytest.mark.parametrize(("more", "expected"), [
    ({"colors": None}, "has no 'colors'"), ({"colors": np.zeros((6, 8, 3))}, "'colors' holds (6, 8, 3) float64"),
    ({"colors": np.zeros((2, 6, 8, 3), np.uint8)}, "'colors' holds (2, 6, 8, 3)"),
    ({"depth": np.zeros((3, 3), np.float32)}, "'depth' holds (3, 3)"),
    ({"colors": h5py.SoftLink("/depth")}, "'colors' is a link"),
    ({"colors": h5py.ExternalLink("other.h5", "/colors")}, "'colors' is a link"),
    ({"attributes": {"a": 1}}, "is no list"), ({"attributes": [{"idx": "x"}]}, "could not convert"),
    ({"instance_attribute_maps": np.zeros(3)}, "is no text"),
    ({"category_id_segmaps": np.full((6, 8), -1)}, "categories that are not 0 .. 65535"),
])
def test_broken_hdf5(more: dict[str, Any], expected: str, tmp_path: Path) -> None:
    render(tmp_path / "in" / "0.hdf5", **more)
    assert expected in message(lambda: BlenderProc().run(tmp_path / "in", tmp_path / "out"))


def test_names_that_are_too_few(tmp_path: Path) -> None:
    render(tmp_path / "in" / "0.hdf5")
    few = BlenderProc(BlenderProc.Config(classes=("nothing", "monkey")))
    assert "has the category 2" in message(lambda: few.run(tmp_path / "in", tmp_path / "out"))


def test_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    render(tmp_path / "in" / "0.hdf5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert "pip install 'migaki[hdf5]'" in message(lambda: BlenderProc().run(tmp_path / "in", tmp_path / "out"))


def test_hdf5_of_strangers(tmp_path: Path) -> None:
    file = render(tmp_path / "0.hdf5")
    assert sum(survive(BlenderProc, tmp_path, file, spoilt_texts(file.read_bytes(), 200))) == 200
