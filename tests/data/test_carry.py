"""Labels follow pixels: places move with what they mark, the rest is carried, what may be one is refused by name."""

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
from migaki.data.files import framing
from migaki.data.folder import ImageFolder
from migaki.data.sets.carry import Move, carried, framed, places, scaled

HALF = framed(40, 60, (20, 30))
TURN = Move(np.array([[0.0, -1.0, 39.0], [1.0, 0.0, 0.0]]), (40, 60), (60, 40))  # a quarter to the right


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("size", [(20, 30), (12, 44), (80, 90), (7, 7)])
def test_a_point_stays_on_the_dot_that_it_marks(size: tuple[int, int]) -> None:
    """The naive twin: a bright square in the picture, resized as pictures are, and its centre of mass."""
    image = np.zeros((1, 40, 60), np.float32)
    image[0, 17:22, 26:33] = 1.0
    move = framed(40, 60, size)
    resized = framing.resize(image, size)[0]
    y, x = np.indices(resized.shape)
    found = np.array([(x * resized).sum(), (y * resized).sum()]) / resized.sum()
    assert move.points(np.array([29.0, 19.0])) == pytest.approx(found, abs=0.08)


def test_a_box_is_the_hull_of_its_moved_corners() -> None:
    assert HALF.boxes(np.array([10.0, 4.0, 20.0, 12.0])) == pytest.approx([5, 2, 10, 6])
    assert scaled((40, 60), (40, 60)).boxes(np.array([0, 0, 60, 40])) == pytest.approx([0, 0, 60, 40])
    # Turned to the right, what was 10 px from the left is 10 px from the top, and the bottom is on the left.
    assert TURN.boxes(np.array([10.0, 4.0, 20.0, 12.0])) == pytest.approx([40 - 16, 10, 12, 20])
    slant = Move(np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]]), (9, 9), (9, 18))
    assert slant.boxes(np.array([2.0, 3.0, 2.0, 4.0])) == pytest.approx([5 - 0.5 + 0.5 - 0.5, 3, 6, 4])


def test_planes_and_pictures_move_alike() -> None:
    mask = np.zeros((1, 40, 60), np.uint8)
    mask[0, 4:16, 10:30] = 7
    turned = TURN.plane(mask, nearest=True)
    assert turned.shape == (1, 60, 40) and turned.dtype == np.uint8
    assert np.array_equal(turned[0], np.rot90(mask[0], -1))
    x, y, width, height = TURN.boxes(np.array([10.0, 4.0, 20.0, 12.0])).astype(int)
    assert (turned[0, y : y + height, x : x + width] == 7).all() and (turned == 7).sum() == 240
    smooth = np.random.default_rng(0).random((3, 40, 60)).astype(np.float32)
    np.testing.assert_allclose(TURN.plane(smooth, nearest=False), np.rot90(smooth, -1, (1, 2)), atol=1e-5)


def test_each_kind_of_column_follows_its_rule() -> None:
    row = {"file_name": "a.png", "mask_file_name": "m.png", "pupil_x": 11.0, "pupil_y": 5.0, "label": 3, "name": "bolt",
           "iris_outline": [[10.0, 4.0, ]] * 16, "boxes": [[10, 4, 20, 12], [0, 0, 60, 40]], "classes": [0, 1],
           "joints": [[10.0, 4.0, 400.0]], "gaze_pitch": 0.1, "gaze_yaw": 0.2, "camera": [100.0, 100.0, 29.5, 19.5],
           "objects": {"bbox": [[10, 4, 20, 12]], "categories": ["cat"]}, "width": 60, "height": 40,
           "predicted_pupil_centre": [11.0, 5.0], "keypoints": None, "boxes_text": ["a"], "score": 0.5}
    found = carried(row, HALF, "a.png")
    assert "file_name" not in found and "mask_file_name" not in found
    assert [found["pupil_x"], found["pupil_y"]] == pytest.approx([5.25, 2.25])
    assert found["predicted_pupil_centre"] == pytest.approx([5.25, 2.25])
    assert found["joints"] == [pytest.approx([4.75, 1.75, 400.0])] and found["iris_outline"][0] == pytest.approx(
        [4.75, 1.75])
    assert found["boxes"] == [[5, 2, 10, 6], [0, 0, 30, 20]] and found["objects"]["bbox"] == [[5, 2, 10, 6]]
    assert found["camera"] == pytest.approx([50.0, 50.0, 14.5, 9.5])
    assert (found["width"], found["height"]) == (30, 20)
    for name in ("label", "name", "classes", "gaze_pitch", "gaze_yaw", "keypoints", "boxes_text", "score"):
        assert found[name] == row[name]
    assert found["objects"]["categories"] == ["cat"]


@pytest.mark.parametrize(("column", "value"), [
    ("corners", [[1.0, 2.0]]), ("vector", [1, 2, 3]), ("xmin", 4), ("x", 1.5), ("left", 3), ("cx", 2), ("tip_y", 7.0),
    ("objects", {"corners": [[1, 2]]}), ("bbox", [1, 2, 3]), ("boxes", "none"), ("width", 17), ("polygon", [[[1, 2]]]),
])
def test_what_may_be_a_place_is_refused_by_name(column: str, value: Any) -> None:
    if value == "none":
        assert carried({column: value}, HALF, "a.png") == {column: value}
        return
    inner = "corners" if column == "objects" else column
    with pytest.raises(UserError, match=f"a.png: pixels move, and the column '{inner}' .*--drop {inner}"):
        carried({column: value}, HALF, "a.png")
    assert carried({column: value, "b": 1}, HALF, "a.png", drop=[column]) == {"b": 1}
    assert carried({column: value}, HALF, "a.png", keep=[column]) == {column: value}
    still = Move(np.eye(2, 3), (40, 60), (40, 60))
    assert carried({column: value}, still, "a.png") == {column: value}  # nothing moves, nothing is in doubt


def test_directions_follow_a_change_of_size_and_refuse_a_turn() -> None:
    row = {"gaze_pitch": 0.1, "gaze_yaw": 0.2, "side": 1}
    assert carried(row, HALF, "a") == row
    mirror = Move(np.array([[-1.0, 0.0, 59.0], [0.0, 1.0, 0.0]]), (40, 60), (40, 60))
    for move in (TURN, mirror):
        with pytest.raises(UserError, match="'gaze_pitch' is a direction"):
            carried(row, move, "a")
    assert carried({"side": 1}, TURN, "a", drop=["side"]) == {}


def test_the_places_of_a_row_are_found() -> None:
    row = {"label": 1, "pupil_x": 1.0, "pupil_y": 2.0, "boxes": [[1, 2, 3, 4]], "part": "bolt", "odd": [1, 2],
           "gaze_pitch": 0.1, "gaze_yaw": 0.0}
    assert places(row) == ["pupil_x", "pupil_y", "boxes", "odd", "gaze_pitch", "gaze_yaw"]


@pytest.fixture
def bolts(tmp_path: Path) -> Path:
    """Pictures of two sizes with a bright box, its mask, box, points, a depth and a further picture."""
    folder = tmp_path / "bolts"
    (folder / "masks").mkdir(parents=True)
    lines = []
    for number, (height, width) in enumerate(((24, 40), (48, 32))):
        image, mask = np.full((height, width), 20, np.uint8), np.zeros((height, width), np.uint8)
        image[6:14, 10:26], mask[6:14, 10:26] = 250, 3
        Image.fromarray(image).save(folder / f"{number}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png")
        Image.fromarray(255 - image).save(folder / f"t{number}.png")
        Image.fromarray(mask.astype(np.float32) * 100).save(folder / f"d{number}.tif")
        lines.append({"file_name": f"{number}.png", "mask_file_name": f"masks/{number}.png", "boxes": [[10, 6, 16, 8]],
                      "depth_file_name": f"d{number}.tif", "target_file_name": f"t{number}.png", "part": "bolt",
                      "keypoints": [[10.0, 6.0], [25.0, 13.0]]})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.mark.parametrize("words", [
    ["import", "photos", "SET", "--width", "20", "--height", "16"],
    ["apply", "resize", "--input", "SET", "--width", "20", "--height", "16"],
    ["apply", "frame", "--input", "SET", "--size", "32", "--box", "20", "--no-upright"],
])
def test_box_mask_depth_and_target_still_mark_the_same_thing(words: list[str], bolts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main([str(bolts) if word == "SET" else word for word in words] + ["--out", str(out)]) == 0
    made = ImageFolder(out)
    for index, row in enumerate(rows(out)):
        image = made.decode(index)[0].astype(float) / 255
        mask, target = made.plane("mask", index), np.asarray(Image.open(out / row["target_file_name"])).astype(float)
        depth = made.plane("depth", index)
        sure = (image > 0.9) | (image < 0.2)  # not the blurred rim
        assert ((mask == 3) == (image > 0.5))[sure].mean() > 0.97 and row["part"] == "bolt"
        assert set(np.unique(depth)) <= {0.0, 300.0} and np.array_equal(depth > 0, mask == 3)
        if words[1] != "frame":  # beyond its rim a framed picture is black, and so is its target
            assert np.abs(target / 255 + image - 1)[sure].mean() < 0.05
        x, y, width, height = row["boxes"][0]
        inside = np.zeros_like(mask, bool)
        inside[max(0, round(y)) : round(y + height), max(0, round(x)) : round(x + width)] = True
        overlap = (inside & (mask == 3)).sum() / max(1, (inside | (mask == 3)).sum())
        assert overlap > 0.8
        for (px, py), (cx, cy) in zip(row["keypoints"], ((x, y), (x + width, y + height)), strict=True):
            px, py = np.clip(px, 0, mask.shape[1]), np.clip(py, 0, mask.shape[0])  # a box is cut at the edges
            assert abs(px - cx) < 1.2 and abs(py - cy) < 1.2


def test_damage_keeps_labels_in_both_sets(bolts: Path, tmp_path: Path) -> None:
    assert main(["simulate", "blur", "--input", str(bolts), "--out", str(tmp_path / "pairs"), "--scale", "2"]) == 0
    small, clean = rows(tmp_path / "pairs" / "input"), rows(tmp_path / "pairs" / "target")
    assert [row["boxes"] for row in small] == [[[5, 3, 8, 4]]] * 2 and [row["boxes"] for row in clean] == [
        [[10, 6, 16, 8]]] * 2
    mask = ImageFolder(tmp_path / "pairs" / "input", size=(12, 20)).plane("mask", 0)
    assert mask.shape == (12, 20) and (mask[3:7, 5:13] == 3).all() and (mask == 3).sum() == 32
    assert all("sigma_y" in row for row in small) and all("sigma_y" not in row for row in clean)


def test_what_is_dropped_is_dropped_and_no_file_of_it_written(bolts: Path, tmp_path: Path,
                                                              capsys: pytest.CaptureFixture[str]) -> None:
    lines = rows(bolts)
    (bolts / "metadata.jsonl").write_text("".join(json.dumps(line | {"corners": [[1, 2]]}) + "\n" for line in lines))
    resize = ["apply", "resize", "--input", str(bolts), "--out", str(tmp_path / "out")]
    assert main(resize) == 2
    assert "'corners' holds lists of numbers" in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert main([*resize, "--drop", "corners", "mask", "depth"]) == 0
    assert all("corners" not in row and "mask_file_name" not in row for row in rows(tmp_path / "out"))
    assert not (tmp_path / "out" / "masks").exists() and (tmp_path / "out" / "targets").is_dir()


def test_a_plane_of_another_size_than_its_image_is_named(bolts: Path, tmp_path: Path,
                                                         refused_line: Callable[..., str]) -> None:
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(bolts / "masks" / "0.png")
    line = refused_line("apply", "resize", "--input", bolts, "--out", tmp_path / "out")
    assert "the mask of '0.png' is 5 x 5 px, the image 40 x 24" in line and "--drop mask" in line


@pytest.fixture
def refused_line(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one line of a command that fails."""
    def run(*words: object) -> str:
        assert main([str(word) for word in words]) == 2
        return capsys.readouterr().err.splitlines()[-1]
    return run


@pytest.mark.parametrize("nearest", [True, False])
def test_an_enlarged_plane_reaches_to_the_edges_and_no_further(nearest: bool) -> None:
    plane = np.arange(1, 13, dtype=np.uint8).reshape(1, 3, 4)
    large = scaled((3, 4), (9, 12)).plane(plane, nearest=nearest)
    assert large[0, 0, 0] == 1 and large[0, -1, -1] == 12 and large.min() == 1 and large.dtype == np.uint8
    if nearest:
        assert np.array_equal(large[0], plane[0].repeat(3, 0).repeat(3, 1))
    away = Move(np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]]), (3, 4), (3, 8)).plane(plane, nearest=nearest)
    assert not away[0, :, :2].any() and not away[0, :, 6:].any() and np.array_equal(away[0, :, 2:6], plane[0])
