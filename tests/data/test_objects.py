"""Columns with an entry for each object: any number an image, in batches filled up, moved and cut with the pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from migaki.core.batch import KEYS
from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder
from migaki.data.sets.carry import Move, carried
from migaki.data.sets.labels import batch_rows
from migaki.data.sets.objects import filled, inside, together

ROWS = [
    {"boxes": [[0.5, 2, 10, 8], [20.5, 3, 4, 5]], "classes": ["dog", "cat"], "labels": ["wet"]},
    {"boxes": [], "classes": [], "labels": []},
    {"boxes": [[30, 0, 8, 20]], "classes": ["cat"], "labels": ["wet", "far"]},
]


def folder(path: Path, rows: list[dict[str, object]], size: tuple[int, int] = (40, 20), **made: object) -> Path:
    path.mkdir()
    lines = []
    for number, row in enumerate(rows):
        Image.new("L", size, 60 * number).save(path / f"{number}.png")
        lines.append(json.dumps({"file_name": f"{number}.png", **row}))
    (path / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    if made:
        (path / "dataset.json").write_text(json.dumps(made))
    return path


def test_lists_of_any_length_are_filled_up_and_named(tmp_path: Path) -> None:
    found = ImageFolder(folder(tmp_path / "set", ROWS))
    batch = found.read([0, 1, 2])
    assert batch["boxes"].shape == (3, 2, 4) and batch["boxes"].dtype == torch.float32
    assert batch["boxes"][2].tolist() == [[30, 0, 8, 20], [0, 0, 0, 0]]
    assert batch["classes"].tolist() == [[1, 0], [-1, -1], [0, -1]]
    assert found.class_names("classes") == ("cat", "dog")
    assert batch["labels"].tolist() == [[1, -1], [-1, -1], [1, 0]] and found.class_names("labels") == ("far", "wet")


def test_declared_names_give_the_numbers(tmp_path: Path) -> None:
    rows = [{key: row[key] for key in ("boxes", "classes")} for row in ROWS]
    found = ImageFolder(folder(tmp_path / "set", rows, classes=["dog", "emu", "cat"]))
    assert found.labels["classes"].tolist() == [[0, 2], [-1, -1], [2, -1]]
    numbers = [{"boxes": [[0, 0, 1, 1]], "classes": [1]}]
    assert ImageFolder(folder(tmp_path / "n", numbers, classes=["a", "b"])).class_names("classes") == ("a", "b")


def test_rows_are_written_without_the_filling(tmp_path: Path) -> None:
    batch = ImageFolder(folder(tmp_path / "set", ROWS)).read([0, 1, 2], ("boxes", "classes"))
    rows = batch_rows(batch)
    assert [row["boxes"] for row in rows] == [row["boxes"] for row in ROWS]
    assert [row["classes"] for row in rows] == [[1, 0], [], [0]]
    spoken = batch_rows({"object_keypoints": torch.tensor([[[[1.0, 2, 2]], [[-1, -1, -1]]]])})
    assert spoken == [{"object_keypoints": [[[1.0, 2.0, 2.0]]]}]


def test_many_blocks_of_rows_have_one_length() -> None:
    key = KEYS["boxes"]
    first, second = filled([[[1, 2, 3, 4]]], key)[0], filled([[], [[1, 2, 3, 4], [5, 6, 7, 8]]], key)[0]
    assert first is not None and second is not None
    whole = together([first, second, filled([None], key)[0]], key)  # type: ignore[list-item]
    assert whole.shape == (4, 2, 4) and whole[0].tolist() == [[1, 2, 3, 4], [0, 0, 0, 0]] and not whole[3].any()


def test_boxes_move_with_the_picture_and_objects_outside_leave(tmp_path: Path) -> None:
    path = folder(tmp_path / "set", ROWS)
    found = ImageFolder(path, size=(40, 40))  # 40 x 20 is scaled to 80 x 40 and cut to its middle: x from 20 to 60
    batch = found.read([0, 1, 2])
    assert batch["boxes"][0].tolist() == [[20 * 2 + 1 - 20, 6, 8, 10]]  # 1 of the dog's 20 px is left
    assert batch["classes"].tolist() == [[0], [-1], [-1]]
    assert found.row(0)["classes"] == ["cat"] and found.row(0)["boxes"] == [[21.0, 6.0, 8.0, 10.0]]
    assert found.row(2)["boxes"] == [] and found.row(2)["labels"] == ["wet", "far"]
    chosen = found.select([2, 0])
    assert chosen.labels["classes"].tolist() == [[-1], [0]]


def test_points_of_objects_move_and_keep_their_flags() -> None:
    move = Move(np.array([[2.0, 0, 0.5], [0, 2, 0.5]]), (10, 10), (20, 20))
    row = {"boxes": [[1, 1, 4, 4]], "object_keypoints": [[[1, 2, 2], [0, 0, 0]]], "crowd": [0]}
    assert carried(row, move, "x") == {"boxes": [[2.0, 2.0, 8.0, 8.0]], "crowd": [0],
                                       "object_keypoints": [[[2.5, 4.5, 2.0], [0.5, 0.5, 0.0]]]}


def test_a_kept_column_is_left_alone() -> None:
    move = Move(np.array([[1.0, 0, -50], [0, 1, 0]]), (10, 60), (10, 10))
    row = {"boxes": [[1, 1, 4, 4]], "classes": [3]}
    assert carried(row, move, "x") == {"boxes": [], "classes": []}
    assert carried(row, move, "x", keep=["boxes"]) == row


def test_boxes_are_cut_at_the_edges() -> None:
    cut, seen = inside(np.array([[-5, 0, 10, 10], [95, 0, 100, 10], [10, 10, 5, 0]]), (50, 100))
    assert cut[0].tolist() == [0, 0, 5, 10] and seen.tolist() == [True, False, False]


@pytest.mark.parametrize(("boxes", "why"), [
    ([[1, 2, 3]], "row 2 holds no list of 4 numbers"), (7, "row 2 holds no list"),
    ([[1, 2, 3, 4], [1]], "differing lengths"), ([[1, 2, None, 4]], "something else than numbers"),
])
def test_what_is_no_list_of_boxes_is_said(tmp_path: Path, boxes: object, why: str) -> None:
    path = folder(tmp_path / "set", [{"boxes": [[0, 0, 1, 1]]}, {"boxes": boxes}])
    with pytest.raises(UserError, match=why):
        ImageFolder(path).require("boxes")


def test_names_and_numbers_do_not_mix(tmp_path: Path) -> None:
    path = folder(tmp_path / "set", [{"classes": ["a"]}, {"classes": [3]}])
    with pytest.raises(UserError, match="row 2 does not hold a list of names"):
        ImageFolder(path).require("classes")
