"""metadata.csv as spreadsheets of all countries save it: read where it can mean one thing only, else one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from refusals import message

from migaki.data.sets.metadata import read_metadata, write_metadata

WANTED = [{"file_name": "a.png", "x": 0.5, "n": 1, "t": "ja"}, {"file_name": "b.png", "x": -1.25, "n": None, "t": "é"}]


def read(folder: Path, content: bytes | str) -> list[dict[str, Any]]:
    path = folder / "metadata.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_metadata(path)


@pytest.mark.parametrize("content", [
    "file_name,x,n,t\na.png,0.5,1,ja\nb.png,-1.25,,é\n",
    "file_name;x;n;t\r\na.png;0,5;1;ja\r\nb.png;-1,25;;é\r\n",
    "\ufefffile_name;x;n;t\r\na.png;0,5;1;ja\r\nb.png;-1,25;;é\r\n",
    "sep=;\r\nfile_name;x;n;t\r\na.png;0.5;1;ja\r\nb.png;-1.25;;é\r\n",
    "file_name\tx\tn\tt\na.png\t0,5\t1\tja\nb.png\t-1,25\t\té\n",
    'file_name,x,n,t\na.png,"0,5",1,ja\nb.png,"-1,25",,é\n',
    "file_name; x; n; t;;\r\na.png;0,5;1;ja;;\r\nb.png;-1,25;;é;;\r\n;;;;;\r\n",
])
def test_the_same_table_in_every_country(content: str, tmp_path: Path) -> None:
    assert read(tmp_path, content) == WANTED


@pytest.mark.parametrize(("content", "expected"), [
    ("file_name;x\na.png;0,5\n".encode("utf-16"), "is UTF-16"), ("file_name;x\n".encode("utf-16-le"), "is UTF-16"),
    ("file_name;é\n".encode("cp1252"), "not UTF-8 at byte 10"),
    ("file_name;x\na.png;0,5\nb.png;0.5\n", "'x' has numbers with commas and with points"),
    ("file_name;x\na.png;1.234,5\n", "'x' has numbers with commas and with points"),
    ('file_name,x\na.png,"1,234"\nb.png,"12,500"\n', "'x' has commas that may separate thousands or decimals"),
    ("file_name,x\na.png,inf\n", "'x' is not finite"), ("file_name;x\na.png;1e999\n", "'x' is not finite"),
    ("file_name,x\na.png,[1e999]\n", "'x' is not finite"), ("name;x\na.png;1\n", "no column is called file_name"),
    ('file_name,x\na.png,"[' + "[" * 50 + "]" * 50 + ']"\n', "'x' is nested deeper"),
    ("file_name,image\na.png,1\n", "a column is called 'image'"),
    ("file_name,mask\na.png,1\n", "a column is called 'mask', like a picture: give it another name, or name a file"),
])
def test_what_means_nothing_or_two_things(content: bytes | str, expected: str, tmp_path: Path) -> None:
    line = message(lambda: read(tmp_path, content))
    assert expected in line and "metadata.csv" in line


@pytest.mark.parametrize(("cell", "value"), [
    ("nan", None), ("0x10", "0x10"), ("1e5", 1e5), ("9" * 30, "9" * 30), ("9" * 5000, "not finite"), ("1_000", "1_000"),
    ("-0", 0), ("TRUE", True), ("[1, 2]", [1, 2]), ("{}", "{}"), ("0,5;x", "0,5;x"), ("1,2,3", "1,2,3"),
])
def test_cells(cell: str, value: Any, tmp_path: Path) -> None:
    content = f'file_name,x\na.png,"{cell}"\n'
    if value == "not finite":
        assert value in message(lambda: read(tmp_path, content))
    else:
        found = read(tmp_path, content)[0]["x"]
        assert found == value and type(found) is type(value)


def test_an_empty_name_of_a_mask_is_none(tmp_path: Path) -> None:
    rows = read(tmp_path, "file_name,mask_file_name\na.png,m.png\nb.png,\n")
    assert [row["mask_file_name"] for row in rows] == ["m.png", None]


def test_too_long_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migaki.data.sets.csv_table._MAX_ROWS", 3)
    assert len(read(tmp_path, "file_name\na\nb\n")) == 2
    assert "3 rows of 1 cells" in message(lambda: read(tmp_path, "file_name\na\nb\nc\n"))
    monkeypatch.setattr("migaki.data.sets.csv_table._MAX_BYTES", 2**4)
    assert "write metadata.jsonl or metadata.parquet" in message(lambda: read(tmp_path, "file_name\n" + "a" * 20))


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_names_and_text_like_formulas_come_back_as_they_were(ending: str, tmp_path: Path) -> None:
    """Whatever a spreadsheet might make of them: a file would not be found under another name."""
    rows = [{"file_name": "=1+1.png", "who": "=HYPERLINK(1)", "n": -1}, {"file_name": "-rf.png", "who": "@x", "n": 2},
            {"file_name": "'+a.png", "who": "+1 x", "n": 3}]
    write_metadata(tmp_path / f"metadata.{ending}", rows)
    assert read_metadata(tmp_path / f"metadata.{ending}") == rows
