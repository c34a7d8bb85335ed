"""Parts of a folder: folds that do not meet, whole groups, classes, sizes, and what cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder
from migaki.importers.part import Part, dealt_groups

ROWS = [{"label": "ab"[index // 7], "person": index // 3, "boxes": [[1, 2, 3, 4]], "classes": ["x"]}
        for index in range(14)]


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """Fourteen pictures of 8 x 12 px: seven of a, seven of b, three of each person."""
    folder = tmp_path / "given"
    folder.mkdir()
    for index in range(14):
        Image.fromarray(np.full((12, 8), index * 10, np.uint8)).save(folder / f"{index:02d}.png")
    (folder / "metadata.jsonl").write_text("\n".join(
        json.dumps({"file_name": f"{index:02d}.png", **row}) for index, row in enumerate(ROWS)))
    return folder


def taken(given: Path, tmp_path: Path, **config: Any) -> tuple[list[int], ImageFolder]:
    """The numbers of the pictures that a part has, and the part."""
    out = tmp_path / f"part{len(list(tmp_path.iterdir()))}"
    Part(Part.Config(**config)).run(given, out)
    folder = ImageFolder(out)
    return [int(name.split(".")[0]) for name in folder.names], folder


def test_blocks_of_each_class(given: Path, tmp_path: Path) -> None:
    first, _ = taken(given, tmp_path, folds=2, by="label")
    second, folder = taken(given, tmp_path, folds=2, fold=1, by="label")
    assert first == [0, 1, 2, 3, 7, 8, 9, 10] and second == [4, 5, 6, 11, 12, 13]
    assert folder.classes == ["a", "b"] and folder.labels["label"].tolist() == [0, 0, 0, 1, 1, 1]


def test_turns_and_the_rest(given: Path, tmp_path: Path) -> None:
    held, _ = taken(given, tmp_path, folds=5, fold=4, order="turns")
    rest, _ = taken(given, tmp_path, folds=5, fold=4, order="turns", rest=True)
    assert held == [4, 9] and sorted(held + rest) == list(range(14))
    assert taken(given, tmp_path, limit=3)[0] == [0, 6, 13] or len(taken(given, tmp_path, limit=3)[0]) == 3


def test_groups_stay_together(given: Path, tmp_path: Path) -> None:
    first, _ = taken(given, tmp_path, folds=2, group="person")
    second, _ = taken(given, tmp_path, folds=2, fold=1, group="person")
    assert sorted(first + second) == list(range(14))
    assert not {ROWS[one]["person"] for one in first} & {ROWS[one]["person"] for one in second}
    assert abs(len(first) - len(second)) <= 3
    assert dealt_groups(np.array([5, 5, 2, 2, 9, 9]), 3).tolist() == [0, 0, 1, 1, 2, 2]


def test_a_size_moves_boxes_and_labels_may_be_left_out(given: Path, tmp_path: Path) -> None:
    _, folder = taken(given, tmp_path, width=16, height=24, channels=3)
    assert folder.shape == (3, 24, 16) and folder.labels["boxes"][0, 0].tolist() == [2, 4, 6, 8]
    _, bare = taken(given, tmp_path, labelled=False)
    assert not bare.labels and len(bare) == 14
    _, less = taken(given, tmp_path, drop=("boxes", "classes"))
    assert "boxes" not in less.labels and "label" in less.labels


def test_classes_of_a_column(given: Path, tmp_path: Path) -> None:
    numbers, folder = taken(given, tmp_path, classes=("b",))
    assert numbers == list(range(7, 14)) and folder.classes == ["b"]
    _, by_person = taken(given, tmp_path, label="person", classes=("0", "2"))
    assert by_person.labels["label"].tolist() == [0, 0, 0, 2, 2, 2]


@pytest.mark.parametrize(("config", "said"), [
    ({"by": "nothing"}, "no column 'nothing'"), ({"classes": ("z",)}, "no picture of z"),
])
def test_what_is_not_there(config: dict[str, Any], said: str, given: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        taken(given, tmp_path, **config)


@pytest.mark.parametrize("config", [{"by": "a", "group": "b"}, {"folds": 2, "fold": 2}, {"width": 5}, {"folds": 0}])
def test_contradictions(config: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="part"):
        Part.Config(**config)
