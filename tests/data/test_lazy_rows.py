"""Rows on the disk are the rows that were written, wherever a block of them ends."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder
from migaki.data.sets import labels
from migaki.data.sets.metadata import write_metadata


def rows(count: int, prefix: str = "") -> list[dict[str, Any]]:
    return [{"file_name": f"{prefix}{n}.png", "a": n / 4, "b": [n, 2.5], "note": f"ä{n}", "c": None if n % 2 else n}
            for n in range(count)]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_from_several_files_in_any_order(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migaki.data.sets.lazy_rows._BLOCK", 2)
    expected = []
    for name, count in (("x", 3), ("y", 1), ("z", 4)):
        (tmp_path / name).mkdir()
        for row in rows(count):
            (tmp_path / name / row["file_name"]).touch()
            expected.append({**row, "file_name": f"{name}/{row['file_name']}"})
        write_metadata(tmp_path / name / f"metadata{suffix}", rows(count))
    folder = ImageFolder(tmp_path)
    assert list(folder.rows) == expected and folder.names == [row["file_name"] for row in expected]
    order = list(range(8))
    random.Random(0).shuffle(order)
    assert [folder.rows[n] for n in order] == [expected[n] for n in order]
    assert folder.rows[-1] == expected[-1] and folder.rows[2:5] == expected[2:5] and folder.rows == expected


def test_blank_lines_and_a_byte_order_mark(tmp_path: Path) -> None:
    for n in range(3):
        (tmp_path / f"{n}.png").touch()
    lines = [json.dumps({"a": n, "file_name": f"./{n}.png"}) for n in range(3)]
    (tmp_path / "metadata.jsonl").write_bytes(b"\xef\xbb\xbf" + "\n\n  \n".join(lines).encode())
    assert list(ImageFolder(tmp_path).rows) == [{"file_name": f"{n}.png", "a": n} for n in range(3)]


def test_a_file_that_changes_is_reported(tmp_path: Path) -> None:
    (tmp_path / "0.png").touch()
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "0.png"}\n')
    folder = ImageFolder(tmp_path)
    (tmp_path / "metadata.jsonl").write_text('{"f')
    with pytest.raises(UserError, match="was changed while it was in use"):
        folder.rows[0]


COLUMNS: dict[str, Callable[[int], Any]] = {
    "int": lambda n: n, "bool": lambda n: n > 3, "int and bool": lambda n: n if n < 4 else True,
    "float": lambda n: n / 3, "int then float": lambda n: n if n < 5 else n / 3, "late": lambda n: n if n > 6 else None,
    "nothing": lambda n: None, "text": lambda n: "x", "text late": lambda n: n if n < 6 else "x",
    "list": lambda n: [n, n / 2], "list of int": lambda n: [[n, 1], [2, 3]],
    "list late": lambda n: [n] if n > 6 else None,
    "ragged": lambda n: [n] if n < 6 else [n, n], "list then number": lambda n: [n] if n < 4 else n,
    "number then list": lambda n: n if n < 4 else [n], "huge": lambda n: 10**30 if n == 7 else n,
    "list of text": lambda n: ["a"], "gaze_pitch": lambda n: None, "absent": lambda n: ...,
    "mask_file_name": lambda n: f"{n}" if n > 6 else ...,
}


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_labels_do_not_depend_on_the_blocks(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    table = [{name: value for name, make in COLUMNS.items() if (value := make(n)) is not ...} for n in range(9)]
    del table[4]["float"]
    whole = labels.gather_columns(table)
    monkeypatch.setattr("migaki.data.sets.labels._BLOCK", size)
    found = labels.gather_columns(table)
    assert found.problems == whole.problems and found.labels.keys() == whole.labels.keys()
    for name, array in whole.labels.items():
        assert found.labels[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found.labels[name], array, err_msg=name)
    assert found.files == {"mask": [f"{n}" if n > 6 else None for n in range(9)]} == whole.files
    assert set(whole.problems) == {"ragged", "list then number", "number then list", "list of text",
                                   "int and bool", "gaze"}
