"""Numbers of a column that something needs must be such as can be: cameras, sensors, vectors of pixels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from refusals import message

from migaki.changes.parts.posed_colours import camera_of
from migaki.data.folder import ImageFolder
from migaki.data.sets.optional import columns_of
from migaki.data.sets.raw_columns import require_levels

TURN = [[0.0, -1.0, 0.0, 3.0], [1.0, 0.0, 0.0, 4.0], [0.0, 0.0, 1.0, 5.0]]
ROW: dict[str, Any] = {
    "camera_to_world": TURN, "intrinsics": [9.0, 9.0, 3.0, 3.0], "mosaic": [0, 1, 1, 2], "black_level": 64.0,
    "white_level": 1023.0, "shutter": 0.5, "white_balance": [2.0, 1.0, 1.5], "colour_matrix": np.eye(3).tolist(),
    "preview_gain": 4.0, "shot_noise": 0.01, "read_noise": 0.0}

Written = Callable[..., ImageFolder]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """A set of three pictures with all columns of a camera, whose second row is changed."""

    def made(**changes: Any) -> ImageFolder:
        lines = []
        for number in range(3):
            Image.new("RGB", (6, 4)).save(tmp_path / f"{number}.png")
            lines.append({"file_name": f"{number}.png"} | ROW | (changes if number == 1 else {}))
        (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return ImageFolder(tmp_path)

    return made


def test_numbers_that_can_be_are_taken(written: Written) -> None:
    folder = written()
    folder.require(*ROW)
    assert columns_of(folder, *ROW, "noise_level") == tuple(ROW)


@pytest.mark.parametrize(("column", "value"), [
    ("camera_to_world", [[0.0] * 4] * 3), ("camera_to_world", [[-value for value in TURN[0]], *TURN[1:]]),
    ("camera_to_world", [[2 * value for value in row] for row in TURN]),
    ("camera_to_world", [[*row[:3], 1e12] for row in TURN]),
    ("intrinsics", [0.0, 9.0, 3.0, 3.0]), ("intrinsics", [9.0, -9.0, 3.0, 3.0]),
    ("mosaic", [0, 0.5, 1, 2]), ("mosaic", [0, 1, 1, 1]), ("mosaic", [0, 1, 2, 3]), ("black_level", -1.0),
    ("white_level", 1e30), ("shutter", 0.0), ("white_balance", [1.0, 0.0, 1.0]),
    ("colour_matrix", [[1.0, 1.0, 1.0]] * 3), ("preview_gain", 0.0), ("shot_noise", -0.1), ("read_noise", 7.0)])
def test_numbers_that_cannot_be_are_refused_with_their_row(written: Written, column: str, value: Any) -> None:
    folder = written(**{column: value})
    said = message(lambda: folder.require(column))
    assert f"'{column}' cannot be" in said and "for 1 of 3 images, first for 1.png (row 2)" in said
    assert message(lambda: columns_of(folder, column)) == said


@pytest.mark.parametrize("value", [[*TURN, [0.0, 0.0, 0.0, 1.0]], [row[:3] for row in TURN]])
def test_poses_of_other_shapes_are_refused_by_their_shape(tmp_path: Path, value: Any) -> None:
    Image.new("RGB", (6, 4)).save(tmp_path / "a.png")
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": "a.png", "camera_to_world": value}))
    assert f"{len(value)} x {len(value[0])} numbers per image, not 3 x 4" in message(
        lambda: ImageFolder(tmp_path).require("camera_to_world"))


def test_a_column_that_is_there_and_unusable_is_not_passed_over(written: Written) -> None:
    assert "white_balance" in message(lambda: columns_of(written(white_balance=None), "white_balance"))
    assert "'preview_gain'" in message(lambda: columns_of(written(preview_gain="bright"), "preview_gain"))


def test_levels_are_compared_row_by_row(written: Written, tmp_path: Path) -> None:
    for number in range(3):
        Image.fromarray(np.zeros((4, 6), np.uint16)).save(tmp_path / f"raw_{number}.png")
    own = {key: value for key, value in ROW.items() if key in ("mosaic", "black_level", "white_level")}
    lines = [own | {"file_name": f"{number}.png", "raw_file_name": f"raw_{number}.png"} for number in range(3)]
    lines[1]["black_level"] = 2000.0
    written()
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "black_level of 1.png (row 2)" in message(lambda: require_levels(ImageFolder(tmp_path)))
    Image.fromarray(np.zeros((8, 12), np.uint16)).save(tmp_path / "raw_2.png")
    assert "raw_2.png is 12 x 8 px, its picture 6 x 4" in message(lambda: require_levels(ImageFolder(tmp_path)))


def test_the_camera_of_a_row_is_held_to_the_same_rules() -> None:
    camera_of(ROW, "a")
    assert "focal" in message(lambda: camera_of(ROW | {"intrinsics": [0.0, 9.0, 3.0, 3.0]}, "a"))
    assert "rotation" in message(lambda: camera_of(ROW | {"camera_to_world": [[-v for v in TURN[0]], *TURN[1:]]}, "a"))


@pytest.mark.parametrize(("shape", "reason"), [
    ((3, 4, 5), "5 x 4 px, the image 6 x 4"), ((1, 4, 6), "1 channel, not 3"), ((3, 4, 6), "")])
def test_vectors_have_the_channels_of_their_key_and_the_size_of_their_picture(
        tmp_path: Path, shape: tuple[int, ...], reason: str) -> None:
    Image.new("RGB", (6, 4)).save(tmp_path / "a.png")
    (tmp_path / "v").mkdir()
    np.save(tmp_path / "v/a.npy", np.ones(shape, np.float32))
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": "a.png", "radiance_file_name": "v/a.npy"}))
    folder = ImageFolder(tmp_path)
    if not reason:
        assert folder.read_label("radiance", [0]).shape == (1, *shape)
    else:
        assert reason in message(lambda: folder.read_label("radiance", [0]))
