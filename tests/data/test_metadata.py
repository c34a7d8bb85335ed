"""Metadata in three formats: the same rows from each, and errors that name the line."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_pictures import picture, save

from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder
from migaki.data.sets.labels import gather_columns
from migaki.data.sets.metadata import read_metadata, write_metadata

ROWS: list[dict[str, Any]] = [
    {"file_name": "a.png", "gaze_pitch": 0.25, "gaze_yaw": -1.0, "side": 1, "bad": True, "box": [1.5, 2], "who": "x"},
    {"file_name": "b,c.png", "gaze_pitch": 0.5, "gaze_yaw": 2e-7, "side": 2, "bad": False, "box": [3, 4], "who": None},
]  # fmt: skip


def write(folder: Path, ending: str, rows: list[dict[str, Any]]) -> Path:
    path = folder / f"metadata.{ending}"
    write_metadata(path, rows)
    return path


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_the_three_formats_agree(tmp_path: Path, ending: str) -> None:
    assert read_metadata(write(tmp_path, ending, ROWS)) == ROWS
    for row in ROWS:
        save(tmp_path / row["file_name"], picture(0))
    labels = ImageFolder(tmp_path).labels
    assert {name: array.dtype.name for name, array in labels.items()} == {
        "side": "int64", "bad": "bool", "box": "float32", "gaze": "float32",
    }  # fmt: skip
    np.testing.assert_array_equal(labels["gaze"], np.array([[0.25, -1.0], [0.5, 2e-7]], np.float32))


def test_two_formats_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "jsonl", ROWS)
    write(tmp_path, "csv", ROWS)
    with pytest.raises(UserError, match=r"several formats \(metadata\.csv, metadata\.jsonl\): keep one"):
        ImageFolder(tmp_path)


def test_metadata_in_subfolders(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save(tmp_path / name / "a.png", picture(0))
        (tmp_path / name / "metadata.csv").write_text(f"file_name,side\na.png,{len(name)}\n")
    folder = ImageFolder(tmp_path)
    assert sorted(folder.names) == ["one/a.png", "two/a.png"] and len(folder.labels["side"]) == 2


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("metadata.jsonl", b'{"file_name": "a"}\n\n{"file_name": \n', "line 3 is not valid JSON"),
        ("metadata.jsonl", b"[1]\n", "line 1 is not an object"),
        ("metadata.jsonl", b'{"file_name": "\xff"}\n', "line 1 is not valid JSON"),
        ("metadata.jsonl", b'{"name": "a"}\n', "row 1 has no 'file_name'"),
        ("metadata.jsonl", b"[" * 100_000, "line 1 is not valid JSON"),
        ("metadata.csv", b"", "is empty"),
        ("metadata.csv", b"file_name,side\na.png\n", "line 2 has 1 cells"),
        ("metadata.csv", b'file_name\n"a.png\n', "is not valid CSV"),
        ("metadata.csv", b"file_name,x,x\na,1,2\n", "occurs twice"),
        ("metadata.csv", b"file_name\n\xff\n", "not UTF-8 at byte 10"),
        ("metadata.csv", b"side\n1\n", "no column is called file_name"),
        ("metadata.parquet", b"PAR1 rubbish", "not a valid Parquet file"),
    ],
)
def test_broken_metadata(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_metadata(tmp_path / name)
    assert expected in str(caught.value) and str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_csv_cells_stay_what_they_say(tmp_path: Path) -> None:
    path = tmp_path / "metadata.csv"
    path.write_text('file_name,a,b,c,d,e\r\n1,1_0,,true,"[1, 2]",x\r\n2,2,0.5,FALSE,"[3, 4]",3\r\n')
    assert read_metadata(path) == [
        {"file_name": "1", "a": "1_0", "b": None, "c": True, "d": [1, 2], "e": "x"},
        {"file_name": "2", "a": "2", "b": 0.5, "c": False, "d": [3, 4], "e": "3"},
    ]


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.one_of(st.none(), st.integers(-9, 9), st.floats(width=32), st.text(max_size=2)), max_size=3),
    st.lists(st.lists(st.floats(width=32), min_size=2, max_size=2), min_size=2, max_size=2),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["a", "b", "gaze_pitch", "gaze_yaw"]), VALUES), min_size=1, max_size=4))
def test_any_columns_give_arrays_or_a_reason(rows: list[dict[str, Any]]) -> None:
    found = gather_columns([{"file_name": "x", **row} for row in rows])
    arrays, problems = found.labels, found.problems
    for name, array in arrays.items():
        assert len(array) == len(rows) and array.dtype in (np.bool_, np.int64, np.float32)
        assert name not in problems
        for value, row in zip(array, rows, strict=True):
            if name in row and row[name] is not None and not isinstance(row[name], list):
                with np.errstate(over="ignore"):
                    same = np.float32(row[name]) if array.dtype == np.float32 else row[name]
                assert value == same or (math.isnan(value) and math.isnan(same))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=80), st.sampled_from(["jsonl", "csv", "parquet"]))
def test_rubbish_is_refused_in_one_line(data: bytes, ending: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"metadata.{ending}"
        path.write_bytes(data)
        try:
            assert all(row["file_name"] for row in read_metadata(path))
        except UserError as error:
            assert "\n" not in str(error)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-3, 3, width=32), st.integers(-5, 5), st.booleans()), min_size=1, max_size=5),
    st.sampled_from(["jsonl", "csv", "parquet"]),
)
def test_labels_read_back_exactly(values: list[tuple[float, int, bool]], ending: str) -> None:
    rows = [{"file_name": f"{i}.png", "x": float(np.float32(x)), "n": n, "b": b} for i, (x, n, b) in enumerate(values)]
    with tempfile.TemporaryDirectory() as folder:
        found = gather_columns(read_metadata(write(Path(folder), ending, rows)))
    arrays = found.labels
    assert not found.problems
    np.testing.assert_array_equal(arrays["x"].astype(np.float32), np.array([v[0] for v in values], np.float32))
    assert arrays["n"].tolist() == [v[1] for v in values] and arrays["b"].tolist() == [v[2] for v in values]
