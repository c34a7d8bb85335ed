"""Values that no label can be: each is refused in one line by every reader of rows, or is a value that is missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from refusals import message
from sample_pictures import picture, save

from migaki.data.folder import ImageFolder
from migaki.data.sets.labels import gather_columns
from migaki.data.sets.values import MAX_DEPTH, check_inner, check_line, decode_json

BAD = {
    "Infinity": "not finite", "-Infinity": "not finite", "1e999": "not finite", "-1E+400": "not finite",
    "[1, [2, 1e999]]": "not finite", '{"a": Infinity}': "not finite", "9223372036854775808": "64 bits",
    "-9223372036854775809": "64 bits", "[" + "9" * 400 + "]": "64 bits", '"\\ud800"': "half of a letter",
    '["\\uDFFF"]': "half of a letter", '{"\\udb40": 1}': "half of a letter",
    "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1): "nested deeper", '{"a":' * 40 + "1" + "}" * 40: "nested deeper",
    "[1, true]": "truth values among numbers", "9" * 5000: "not valid JSON",
    "[" * 10**5 + "]" * 10**5: "not valid JSON",
}
GOOD = {"NaN": None, "[NaN, 1]": [None, 1], "9223372036854775807": 2**63 - 1, "1e300": 1e300, '"\\ud83d\\ude00"': "😀",
        "0.00012345678901234567": 0.00012345678901234567, "[" * MAX_DEPTH + "]" * MAX_DEPTH: ..., "true": True,
        '"a\\nb"': "a\nb", "{}": {}, '"Infinity"': "Infinity", "-0.0": -0.0}


def set_of(folder: Path, line: str) -> Path:
    save(folder / "a.png", picture(0))
    (folder / "metadata.jsonl").write_text(line + "\n")
    return folder


@pytest.mark.parametrize("text", BAD, ids=lambda text: text[:20])
def test_bad_values(text: str, tmp_path: Path) -> None:
    line = message(lambda: ImageFolder(set_of(tmp_path, f'{{"file_name": "a.png", "x": {text}}}')))
    assert BAD[text] in line and "line 1" in line and len(line) < 400


@pytest.mark.parametrize("text", GOOD, ids=lambda text: text[:20])
def test_good_values(text: str, tmp_path: Path) -> None:
    folder = ImageFolder(set_of(tmp_path, f'{{"file_name": "a.png", "x": {text}}}'))
    for rows in (list(folder.rows), folder.rows[:1]):
        assert GOOD[text] is ... or rows == [{"file_name": "a.png", "x": GOOD[text]}]
    json.dumps(folder.row(0), allow_nan=False)


@pytest.mark.parametrize("name", ["image", "mask", "depth", "target", "real", "refined"])
def test_labels_that_are_called_like_pictures(name: str, tmp_path: Path) -> None:
    text = message(lambda: ImageFolder(set_of(tmp_path, json.dumps({"file_name": "a.png", name: 3}))))
    assert f"a column is called '{name}'" in text
    (tmp_path / "metadata.jsonl").unlink()
    pyarrow.parquet.write_table(pyarrow.table({"file_name": ["a.png"], name: [3]}), tmp_path / "metadata.parquet")
    assert f"a column is called '{name}'" in message(lambda: ImageFolder(tmp_path))


def test_the_quick_look_finds_what_the_close_look_finds() -> None:
    for text in BAD:
        line = f'{{"file_name": "a.png", "x": {text}}}'
        try:
            row = decode_json(line)
        except (ValueError, RecursionError):
            continue
        message(lambda line=line, row=row: check_line("x", line.encode(), row))


@pytest.mark.parametrize("name", ["", None, 3, "a\0b", "..", ".", "/", "/etc/x", "../x", "a/../../x", "\ud800",
                                  "a" * 5000])
def test_names_that_no_picture_of_a_shard_can_have(name: Any) -> None:
    assert message(lambda: check_inner("0.tar", name)).startswith("0.tar: ")


def test_names_of_shards_are_brought_into_one_form() -> None:
    assert [check_inner("", name) for name in ("./a.png", "a//b.png", "a/../b.png", "..a")] == [
        "a.png", "a/b.png", "b.png", "..a"]


# ------------------------------------------------------------------------------------------------ labels as arrays

Rows = list[dict[str, Any]]


@pytest.mark.parametrize(("key", "rows", "expected"), [
    ("gaze", [{"gaze_pitch": True, "gaze_yaw": 0.1}], "truth values"),
    ("gaze", [{"gaze_pitch": 0.1, "gaze_yaw": "left"}], "'gaze_yaw': holds something else than numbers"),
    ("gaze", [{"gaze_pitch": 0.1}], "'gaze_yaw' is missing beside 'gaze_pitch'"),
    ("gaze", [{"gaze_pitch": [0.1], "gaze_yaw": [0.1]}], "'gaze_pitch': holds"),
    ("label", [{"label": True}, {"label": False}], "truth values"),
    ("label", [{"label": 1}, {"label": False}], "truth values"),
    ("label", [{"label": None}, {"label": True}], "truth values"), ("label", [{"label": [1, 2]}], "not one number"),
    ("x", [{"x": 0.5}, {"x": True}], "truth values among numbers"),
    ("iris_outline", [{"iris_outline": 3}], "it has one number per image, not 16 x 2"),
    ("iris_outline", [{"iris_outline": [[1, 2, 3]]}], "1 x 3 numbers"),
    ("joints", [{"joints": [1, 2, 3]}], "not J x 3 numbers"),
    ("iris_outline", [{"iris_outline": [[True, False]] * 16}], "truth values"),
])
def test_labels_of_another_kind_than_the_glossary_says(key: str, rows: Rows, expected: str) -> None:
    found = gather_columns(rows)
    assert expected in found.problems[key] and key not in found.labels


@pytest.mark.parametrize("row", [
    {"iris_visible": [True, False]}, {"side": True}, {"bad": True}, {"iris_outline": [[1, 2]] * 7}, {"label": 3},
    {"gaze_pitch": 1, "gaze_yaw": 2}, {"gaze": [0.1, 0.2]}, {"x": None},
])
def test_labels_that_the_glossary_allows(row: dict[str, Any]) -> None:
    assert not gather_columns([row]).problems


def test_a_shape_that_would_not_move_is_said(tmp_path: Path) -> None:
    """Positions in px follow a change of size: numbers that are none must not reach that."""
    folder = ImageFolder(set_of(tmp_path, '{"file_name": "a.png", "iris_outline": 3}'), size=(2, 3))
    assert "one number" in message(lambda: folder.require("iris_outline"))
    assert folder.row(0)["iris_outline"] == 3


@pytest.mark.parametrize("read", [ImageFolder, lambda path: ImageFolder(path).labels])
def test_utf16_is_said(read: Callable[[Path], Any], tmp_path: Path) -> None:
    set_of(tmp_path, "")
    (tmp_path / "metadata.jsonl").write_bytes('{"file_name": "a.png"}\n'.encode("utf-16"))
    assert "is UTF-16: save it as UTF-8" in message(lambda: read(tmp_path))
