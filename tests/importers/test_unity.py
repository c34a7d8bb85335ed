"""What Unity Perception writes, in both of its layouts, becomes boxes, masks, keypoints and columns."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusals import message
from strange_files import changed, paint, picture, read_all, spoilt_json, survive

from migaki.data.folder import ImageFolder
from migaki.importers.perception import Perception
from migaki.importers.solo import Solo

TYPE = "type.unity.com/unity.solo."
RED, BLUE = (255, 0, 0), (0, 0, 255)


def mask_pixels() -> np.ndarray[Any, Any]:
    pixels = np.zeros((6, 8, 4), np.uint8)
    pixels[..., 3] = 255
    pixels[1:3, 1:4, :3] = RED
    pixels[4:, 5:, :3] = BLUE
    pixels[0, 0, :3] = (128, 0, 0)  # an edge that was smoothed
    return pixels


def frame(step: int, **more: Any) -> dict[str, Any]:
    notes = [
        {"@type": TYPE + "BoundingBox2DAnnotation", "id": "bb", "values": [
            {"instanceId": 4, "labelId": 1, "labelName": "cup", "origin": [1.0, 1.0], "dimension": [3.0, 2.0]},
            {"instanceId": 5, "labelId": 2, "labelName": "box", "origin": [5, 4], "dimension": [3, 2]},
            {"instanceId": 6, "labelId": 2, "labelName": "box", "origin": [0, 0], "dimension": [0, 2]}]},
        {"@type": TYPE + "SemanticSegmentationAnnotation", "filename": f"step{step}.mask.png", "instances": [
            {"labelName": "cup", "pixelValue": [255, 0, 0, 255]},
            {"labelName": "box", "pixelValue": [0, 0, 255, 255]}]},
        {"@type": TYPE + "KeypointAnnotation", "values": [{"instanceId": "4", "labelId": 1, "keypoints": [
            {"index": 1, "location": [3.5, 2.0], "state": 2}, {"index": 0, "location": [1.5, 1.5], "state": 1}]}]},
    ]
    capture = {"@type": TYPE + "RGBCamera", "id": "camera", "filename": f"step{step}.camera.png",
               "dimension": [8.0, 6.0], "annotations": notes}
    metrics = [{"@type": "x", "id": "speed", "sensorId": "", "value": 0.5 + step},
               {"@type": "x", "id": "count", "sensorId": "camera", "values": [
                   {"labelName": "cup", "labelId": 1, "count": 1}, {"labelName": "box", "labelId": 2, "count": 2}]},
               {"@type": "x", "id": "info", "values": [{"instanceId": 4, "visiblePixels": 9}]},
               {"@type": "x", "id": "light", "values": [1, 2, 3]}]
    return {"frame": step, "sequence": 0, "step": step, "captures": [capture], "metrics": metrics, **more}


def solo(path: Path, names: tuple[str, ...] = ("step0.frame_data.json", "step.0001.frame.json")) -> Path:
    for step, name in enumerate(names):
        folder = path / f"sequence.{step}"
        picture(folder / f"step{step}.camera.png")
        paint(folder / f"step{step}.mask.png", mask_pixels())
        (folder / name).write_text(json.dumps(frame(step)))
    definitions = [
        {"@type": TYPE + "BoundingBox2DAnnotation", "spec": [
            {"label_id": 1, "label_name": "cup"}, {"label_id": 2, "label_name": "box"}]},
        {"@type": TYPE + "KeypointAnnotation", "template": {"keypoints": [
            {"label": "handle", "index": 1}, {"label": "rim", "index": 0}]}}]
    (path / "annotation_definitions.json").write_text(json.dumps({"annotationDefinitions": definitions}))
    return path


def test_solo_of_both_spellings(tmp_path: Path) -> None:
    root = solo(tmp_path / "in")
    assert Solo.recognises(root) == "Unity Perception SOLO: sequence.0/step0.frame_data.json"
    assert Solo().run(root, tmp_path / "out") == 2
    found = ImageFolder(tmp_path / "out")
    assert found.names == ["sequence.0/step0.camera.png", "sequence.1/step1.camera.png"]
    assert found.rows[0]["boxes"] == [[1, 1, 3, 2], [5, 4, 3, 2]] and found.rows[0]["classes"] == ["cup", "box"]
    assert found.rows[0]["object_keypoints"] == [[[1, 1, 1], [3, 1.5, 2]], [[0, 0, 0], [0, 0, 0]]]
    assert found.rows[1]["speed"] == 1.5 and found.rows[1]["count_cup"] == 1 and found.rows[1]["light"] == [1, 2, 3]
    assert "info" not in str(found.rows[1])
    mask = found.read([0])["mask"][0].numpy()
    assert (mask[1:3, 1:4] == found.made["mask_classes"].index("cup")).all() and mask[0, 0] == 255 and mask[0, 7] == 0
    assert found.made["classes"] == ["cup", "box"] and found.made["keypoint_names"] == ["rim", "handle"]
    assert sorted(found.made["mask_classes"]) == ["background", "box", "cup"]


def test_solo_without_boxes_has_one_set_of_points(tmp_path: Path) -> None:
    root = solo(tmp_path / "in")
    for file in root.rglob("step*.json"):
        changed(file, lambda values: values["captures"][0]["annotations"].pop(0) and None)
    row = read_all(Solo, root)[0]
    assert row["keypoints"] == [[1, 1], [3, 1.5]] and row["keypoint_visible"] == [1, 2] and "boxes" not in row
    changed(root / "sequence.0" / "step0.frame_data.json",
            lambda values: values["captures"][0]["annotations"][1]["values"].append(
                {"instanceId": "9", "labelName": "box", "keypoints": [
                    {"index": 0, "location": [2, 3], "state": 2}, {"index": 1, "location": [4, 5], "state": 2}]}))
    assert read_all(Solo, root)[0]["boxes"] == [[1.5, 1.5, 2, 0.5], [2, 3, 2, 2]]


def test_solo_with_instances_alone_and_several_cameras(tmp_path: Path) -> None:
    root = solo(tmp_path / "in", ("step0.frame_data.json",))

    def instances(values: Any) -> None:
        notes = values["captures"][0]["annotations"]
        notes[1] = {"@type": TYPE + "InstanceSegmentationAnnotation", "filename": "step0.mask.png", "instances": [
            {"instanceId": 4, "labelId": 1, "color": [255, 0, 0, 255]}]}
        values["captures"] += [{**values["captures"][0], "id": "second"}, {"id": "lidar", "filename": "a.pcd"}]
    changed(root / "sequence.0" / "step0.frame_data.json", instances)
    picture(root / "sequence.0" / "second.png")
    rows = read_all(Solo, root, camera="second")
    assert len(rows) == 1 and rows[0]["mask_file_name"]
    importer = Solo()
    importer.find(root)
    assert list(importer.mask_classes) == ["background", "cup"]


@pytest.mark.parametrize(("change", "expected"), [
    (lambda values: values["captures"][0].pop("dimension"), "'dimension' is missing"),
    (lambda values: values["captures"][0].update(dimension=[9, 6]), "is 8 x 6 px"),
    (lambda values: values["captures"][0].update(filename="../../secret.png"), "leads out of the set"),
    (lambda values: values["captures"][0].update(filename="none.png"), "no such file"),
    (lambda values: values["captures"][0]["annotations"][0]["values"][0].update(origin=[1]), "no list of 2 numbers"),
    (lambda values: values["captures"][0]["annotations"][2]["values"][0]["keypoints"][0].update(state=7), "0 to 2"),
    (lambda values: values.update(captures="x"), "'captures' is no list of objects"),
    (lambda values: values.update(captures=[]), "names a picture"),
])
def test_broken_solo(change: Callable[[Any], Any], expected: str, tmp_path: Path) -> None:
    root = solo(tmp_path / "in", ("step0.frame_data.json",))
    changed(root / "sequence.0" / "step0.frame_data.json", lambda values: change(values) and None)
    line = message(lambda: Solo().run(root, tmp_path / "out"))
    assert expected in line and not (tmp_path / "out" / "dataset.json").exists()


def test_a_link_that_leads_out(tmp_path: Path) -> None:
    root = solo(tmp_path / "in", ("step0.frame_data.json",))
    secret = picture(tmp_path / "secret.png")
    (root / "sequence.0" / "step0.camera.png").unlink()
    (root / "sequence.0" / "step0.camera.png").symlink_to(secret)
    assert "leads out of the folder" in message(lambda: Solo().run(root, tmp_path / "out"))


def test_solo_of_strangers(tmp_path: Path) -> None:
    root = solo(tmp_path / "in", ("step0.frame_data.json",))
    for file, count in ((root / "sequence.0" / "step0.frame_data.json", 200),
                        (root / "annotation_definitions.json", 60)):
        read, refused = survive(Solo, root, file, spoilt_json(file.read_bytes(), count))
        assert read and refused


# --- before 1.0 ------------------------------------------------------------------------------------------------------


def perception(path: Path) -> Path:
    folder = path / "Dataset0a1b"
    folder.mkdir(parents=True)
    names = [{"label_id": 1, "label_name": "cup"}, {"label_id": 2, "label_name": "box"}]
    (folder / "annotation_definitions.json").write_text(json.dumps({"version": "0.0.1", "annotation_definitions": [
        {"id": "b", "name": "bounding box", "spec": names},
        {"id": "k", "name": "keypoints", "spec": [{"template_id": "t", "key_points": [
            {"label": "rim", "index": 0}, {"label": "handle", "index": 1}]}]},
        {"id": "s", "name": "semantic segmentation", "spec": [
            {"label_name": "cup", "pixel_value": {"r": 1.0, "g": 0.0, "b": 0.0, "a": 1.0}},
            {"label_name": "box", "pixel_value": {"r": 0.0, "g": 0.0, "b": 1.0, "a": 1.0}}]}]}))
    metric = {"metric_definitions": [{"id": "m", "name": "sun angle"}]}
    (folder / "metric_definitions.json").write_text(json.dumps(metric))
    captures, metrics = [], []
    for number in range(2):
        picture(path / "RGBff" / f"rgb_{number}.png")
        paint(path / "SemanticSegmentationff" / f"segmentation_{number}.png", mask_pixels())
        captures.append({
            "id": f"c{number}", "sequence_id": "q", "step": number, "filename": f"RGBff/rgb_{number}.png",
            "annotations": [
                {"annotation_definition": "b", "values": [
                    {"label_id": 2, "label_name": "box", "instance_id": 5, "x": 5, "y": 4.0, "width": 3, "height": 2}]},
                {"annotation_definition": "s", "filename": f"SemanticSegmentationff/segmentation_{number}.png"},
                {"annotation_definition": "k", "values": [{"label_id": 2, "instance_id": 5, "keypoints": [
                    {"index": 0, "x": 6.5, "y": 5.5, "state": 2}, {"index": 1, "x": 0, "y": 0, "state": 0}]}]}]})
        metrics.append({"sequence_id": "q", "step": number, "metric_definition": "m", "values": [30.5 + number]})
    (folder / "captures_000.json").write_text(json.dumps({"captures": captures}))
    (folder / "metrics_000.json").write_text(json.dumps({"metrics": metrics}))
    return path


def test_perception(tmp_path: Path) -> None:
    root = perception(tmp_path / "in")
    assert Perception.recognises(root) == "Unity Perception before 1.0: Dataset0a1b/captures_000.json"
    assert not Solo.recognises(root)
    assert Perception().run(root, tmp_path / "out") == 2
    found = ImageFolder(tmp_path / "out")
    assert found.names == ["RGBff/rgb_0.png", "RGBff/rgb_1.png"]
    row = found.rows[1]
    assert row["boxes"] == [[5, 4, 3, 2]] and row["classes"] == ["box"] and row["sun_angle"] == 31.5
    assert row["object_keypoints"] == [[[6, 5, 2], [0, 0, 0]]]
    assert found.made["classes"] == ["cup", "box"] and found.made["mask_classes"] == ["background", "cup", "box"]
    mask = found.read([1])["mask"][0].numpy()
    assert mask[1, 1] == 1 and mask[5, 7] == 2 and mask[0, 0] == 255


@pytest.mark.parametrize(("file", "change", "expected"), [
    ("captures_000.json", lambda values: values["captures"][0].update(filename="../x.png"), "leads out of the set"),
    ("captures_000.json", lambda values: values["captures"][0].pop("filename"), "'filename' is missing"),
    ("captures_000.json", lambda values: values["captures"].clear(), "names a picture"),
    ("annotation_definitions.json",
     lambda values: values["annotation_definitions"][2]["spec"][0].update(pixel_value="x"),
     "annotation_definitions.json: not labels of Unity Perception"),
])
def test_broken_perception(file: str, change: Callable[[Any], Any], expected: str, tmp_path: Path) -> None:
    root = perception(tmp_path / "in")
    changed(root / "Dataset0a1b" / file, lambda values: change(values) and None)
    assert expected in message(lambda: Perception().run(root, tmp_path / "out"))


def test_perception_of_strangers(tmp_path: Path) -> None:
    root = perception(tmp_path / "in")
    for file in (root / "Dataset0a1b").glob("*.json"):
        count = 200 if "captures" in file.name else 40
        read, refused = survive(Perception, root, file, spoilt_json(file.read_bytes(), count))
        assert read and refused
