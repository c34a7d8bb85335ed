"""Shards of strangers: names and indices stay inside, false sizes take no memory, bad values are refused."""

from __future__ import annotations

import datetime
import decimal
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from PIL import Image
from refusals import message
from test_shards import png, tar_of_others

from migaki.data.folder import ImageFolder
from migaki.data.writers.formats import open_writer
from migaki.data.writers.record import plan

PICTURE = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])


def indexed(folder: Path, row: dict[str, Any]) -> Path:
    tar_of_others(folder / "0.tar", {"a.png": png(7)})
    (folder / "index.jsonl").write_text(json.dumps(row) + "\n")
    return folder


@pytest.mark.parametrize("row", [
    {"file_name": "SECRET", "where": {}}, {"file_name": "../secret.png", "where": {}},
    {"file_name": "a.png", "where": {"file_name": ["../0.tar", 0, 1]}}, {"file_name": "a.png"},
    {"file_name": "a.png", "where": {"file_name": ["0.tar", 512.0, 9]}}, {"file_name": "a.png", "where": 3},
    {"file_name": "a.png", "where": {"file_name": ["0.tar", True, 9]}}, {"file_name": "a.png", "where": None},
    {"file_name": "a.png", "where": {"file_name": ["0.tar", -1, 9]}}, {"where": {"file_name": ["0.tar", 512, 9]}},
    {"file_name": "a.png", "where": {"file_name": ["0.tar", 10**30, 9]}}, {}, {"file_name": "", "where": {}},
    {"file_name": "a.png", "where": {"file_name": ["0.tar", 512]}}, {"file_name": 3, "where": {"file_name": []}},
    {"file_name": "a.png", "mask_file_name": "", "where": {"file_name": ["0.tar", 512, 9]}},
    {"file_name": "a.png", "mask_file_name": 3, "where": {"file_name": ["0.tar", 512, 9]}},
    {"file_name": "a.png", "x": 1, "where": {"file_name": ["0.tar", 512, 9], "x": ["0.tar", 512, 9]}},
    {"file_name": "a.png", "x": float("inf"), "where": {"file_name": ["0.tar", 512, 9]}},
])
def test_an_index_of_strangers(row: dict[str, Any], tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(200))
    if row.get("file_name") == "SECRET":
        row = {**row, "file_name": str(secret)}
    assert "index.jsonl: line 1" in message(lambda: list(ImageFolder(indexed(tmp_path / "set", row)).rows))


def test_further_pictures_come_from_the_shard_alone(tmp_path: Path) -> None:
    """A row may name any file; only what lies in the shard is read."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(200))
    for number, name in enumerate(("../../secret.png", str(secret), "0.tar")):
        tar_of_others(tmp_path / f"{number}" / "0.tar", {
            "a.png": png(7), "a.json": json.dumps({"mask_file_name": name, "label": 1}).encode()})
        refusal = message(lambda number=number: ImageFolder(tmp_path / f"{number}").read([0], ["mask"]))
        assert "leads out of the set" in refusal or "is not in the shards" in refusal


def test_a_label_called_where_stays(tmp_path: Path) -> None:
    with open_writer("webdataset", tmp_path, {}, 2) as writer:
        for index in range(2):
            row = {"where": "kitchen", "where_": index}
            writer.write_plan(index, plan(f"{index}.png", torch.full((1, 3, 4), index / 2), row, "png"))
    for _ in range(2):
        rows = list(ImageFolder(tmp_path).rows)
        assert [(row["where"], row["where_"]) for row in rows] == [("kitchen", 0), ("kitchen", 1)]
        assert (ImageFolder(tmp_path).read([1], ["image"])["image"] * 255).round().unique().tolist() == [128]
        (tmp_path / "index.jsonl").unlink(missing_ok=True)  # and once more by the tar file itself


@pytest.mark.parametrize(("members", "expected"), [
    ({"../x.png": png(1)}, "leads out"), ({"/etc/x.png": png(1)}, "leads out"),
    ({"a.png": png(1), "a.json": b'{"file_name": "../../x.png"}'}, "leads out"),
    ({"a.png": png(1), "a.json": b'{"file_name": ""}'}, "no file name"),
    ({"a.png": png(1), "a.json": b'{"file_name": 3}'}, "no file name"),
    ({"a.png": png(1), "a.json": b'{"x": Infinity}'}, "not finite"), ({"a.png": png(1), "a.json": b'{"mask": 1}'},
                                                                      "'mask'"),
    ({"a.png": png(1), "a.json": b'{"x": "\\ud800"}'}, "half of a letter"), ({"a.png": png(1), "a.json": b"NaN,"},
                                                                             "JSON"),
    ({"a.png": png(1), "a.cls": b"\xff"}, "JSON"), ({"a.png": png(1), "a.json": b"[" * 10**5}, "JSON"),
    ({"a.png": png(1), "a.json": b" " * (2**24 + 1)}, "longer than 16 MB"),
])
def test_tar_files_of_strangers(members: dict[str, bytes], expected: str, tmp_path: Path) -> None:
    line = message(lambda: ImageFolder(tar_of_others(tmp_path / "0.tar", members)))
    assert expected in line and "0.tar" in line


def test_names_as_tar_itself_writes_them(tmp_path: Path) -> None:
    """`tar -cf x.tar .` puts `./` in front of all names, which leads nowhere."""
    folder = ImageFolder(tar_of_others(tmp_path / "0.tar", {"./a.png": png(3), "./a.cls": b"nan"}))
    assert folder.names == ["0/a.png"] and folder.rows[0]["label"] == "nan"


def test_a_name_of_gigabytes(tmp_path: Path) -> None:
    """A member may have a further header with its name, of a length that the header says."""
    for kind in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE):
        info = tarfile.TarInfo("long")
        info.type, info.size = kind, 2**32
        path = tmp_path / "0.tar"
        with open(path, "wb") as file:
            file.write(info.tobuf(tarfile.GNU_FORMAT))
            file.truncate(2**33)  # takes no room on the disk
        assert "damaged tar file (4294967296 bytes for a name)" in message(lambda: ImageFolder(tmp_path))


def links(path: Path, target: Path) -> None:
    with tarfile.open(path, "w") as tar:
        for kind, name in ((tarfile.SYMTYPE, "s.png"), (tarfile.LNKTYPE, "h.png"), (tarfile.FIFOTYPE, "p.png")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(target)
            tar.addfile(info)
        info = tarfile.TarInfo("a.png")
        info.size = len(png(5))
        tar.addfile(info, io.BytesIO(png(5)))


def test_links_in_a_tar_file_are_no_pictures(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png(200))
    (tmp_path / "set").mkdir()
    links(tmp_path / "set" / "0.tar", tmp_path / "secret.png")
    assert ImageFolder(tmp_path / "set").names == ["0/a.png"]


# ------------------------------------------------------------------------------------------------ Parquet


def pictures(*paths: str | None) -> pyarrow.Array:
    return pyarrow.array([{"bytes": png(1), "path": path} for path in paths], PICTURE)


def parquet(folder: Path, table: pyarrow.Table) -> Path:
    folder.mkdir(exist_ok=True)
    pyarrow.parquet.write_table(table, folder / "0.parquet")
    return folder


def inf_list() -> pyarrow.Array:
    return pyarrow.array([[1.0, float("inf")]])


@pytest.mark.parametrize(("columns", "expected"), [
    ({"image": pyarrow.array([None], PICTURE)}, "row 1 has no picture"), ({"image": pictures("../x.png")}, "leads out"),
    ({"image": pictures("/etc/x.png")}, "leads out"), ({"image": pictures("a.png"), "file_name": [3]}, "'file_name'"),
    ({"image": pictures("a.png"), "mask": pictures("../x.png")}, "leads out"),
    ({"image": pictures("a.png"), "mask": [3]}, "'mask'"), ({"image": pictures("a.png"), "mask_file_name": ["/x"]},
                                                            "'mask_f"),
    ({"image": pyarrow.array([{"bytes": png(1), "path": 3}])}, "no column `image`"),
    ({"image": pictures("a.png"), "x": [float("inf")]}, "'x' is not finite"),
    ({"image": pictures("a.png"), "x": inf_list()}, "'x' is not finite"),
    ({"image": pictures("a.png"), "x": pyarrow.array([2**63], pyarrow.uint64())}, "64 bits"),
    ({"image": pictures("a.png"), "x": pyarrow.array([b"\xff"])}, "'x' holds binary"),
    ({"image": pictures("a.png"), "x": pyarrow.array([[b"\xff"]])}, "'x' holds binary"),
    ({"image": pictures("a.png"), "x": pyarrow.array([[("a", 1)]], pyarrow.map_(pyarrow.string(), pyarrow.int8()))},
     "map"),
])
def test_parquet_files_of_strangers(columns: dict[str, Any], expected: str, tmp_path: Path) -> None:
    line = message(lambda: ImageFolder(parquet(tmp_path / "set", pyarrow.table(columns))))
    assert expected in line and "set" in line


def test_parquet_values_become_labels(tmp_path: Path) -> None:
    when = datetime.datetime(2026, 1, 2, 3, 4, 5)
    table = pyarrow.table({
        "image": pictures("a.png", None), "when": pyarrow.array([when, None], pyarrow.timestamp("s")),
        "price": [decimal.Decimal("1.5"), None], "x": [float("nan"), 2.0], "who": pyarrow.array(["b",
                                                                                                 "b"]).dictionary_encode(),
        "box": [[1.0, float("nan")], None], "deep": [{"path": "../x", "n": [float("nan")]}, None],
        "half": pyarrow.array(np.array([0.5, 1.5], np.float16)), "mask": pyarrow.array([None, None], PICTURE),
    })
    folder = ImageFolder(parquet(tmp_path / "set", table))
    first, second = folder.rows
    assert first == {"file_name": "a.png", "when": "2026-01-02 03:04:05.000", "price": 1.5, "x": None, "who": "b",
                     "box": [1.0, None], "deep": {"path": "../x", "n": [None]}, "half": 0.5, "mask_file_name": None}
    assert second["file_name"] == "000000001" and second["when"] is None and second["half"] == 1.5
    json.dumps([first, second], allow_nan=False)


@pytest.mark.parametrize("name", ["metadata.parquet", "0.parquet"])
def test_text_that_is_no_utf8(name: str, tmp_path: Path) -> None:
    text = pyarrow.array([b"\xff\xfe"]).view(pyarrow.string())
    image = {"file_name": ["a.png"]} if name == "metadata.parquet" else {"image": pictures("a.png")}
    pyarrow.parquet.write_table(pyarrow.table({**image, "x": text}), tmp_path / name)
    (tmp_path / "a.txt").write_text("")
    assert "not a valid Parquet file" in message(lambda: ImageFolder(tmp_path))


def test_a_picture_that_is_elsewhere_is_not_fetched(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png(200))
    table = pyarrow.table({"image": pyarrow.array([{"bytes": None, "path": "x.png"}], PICTURE)})
    assert "row 1 has no bytes" in message(lambda: ImageFolder(parquet(tmp_path / "set", table)).read([0]))


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    table = pyarrow.Table.from_arrays([pictures("a.png"), pyarrow.array([1]), pyarrow.array([2])], ["image", "x", "x"])
    assert "a column occurs twice" in message(lambda: ImageFolder(parquet(tmp_path / "set", table)))


def bomb(folder: Path, what: str) -> None:
    """A few kilobytes that say the same megabyte many times."""
    folder.mkdir()
    same = pyarrow.array(np.zeros(20_000, np.int32))
    if what == "text":
        numbers = pyarrow.array([f"{n}.png" for n in range(20_000)])
        table = pyarrow.table({"file_name": numbers, "x": pyarrow.DictionaryArray.from_arrays(same, ["x" * 10**6])})
        pyarrow.parquet.write_table(table, folder / "metadata.parquet", compression="zstd")
    elif what == "rows":
        image = pyarrow.StructArray.from_arrays([pyarrow.array([b""]).take(same), pyarrow.array(["a"]).take(same)],
                                                ["bytes", "path"])
        with pyarrow.parquet.ParquetWriter(folder / "0.parquet", pyarrow.schema([("image", PICTURE)])) as writer:
            whole = pyarrow.table({"image": image.cast(PICTURE)})
            writer.write_table(pyarrow.concat_tables([whole] * 50), row_group_size=10**6)
    else:
        data = pyarrow.array([png(1) + b"\0" * 10**6]).take(same[:1000])
        image = pyarrow.StructArray.from_arrays([data, pyarrow.array([f"{n}" for n in range(1000)])], ["bytes", "path"])
        pyarrow.parquet.write_table(pyarrow.table({"image": image}), folder / "0.parquet", compression="zstd",
                                    dictionary_pagesize_limit=2**30)


@pytest.mark.parametrize(("what", "expected"), [("text", "unpacks to more than"), ("rows", "rows in a few bytes"),
                                                pytest.param("pictures", "", marks=pytest.mark.long)])
def test_parquet_bombs(what: str, expected: str, tmp_path: Path) -> None:
    """In a process of its own, whose memory is looked at: unpacked they would have 1 to 20 GB."""
    bomb(tmp_path / "set", what)
    assert sum(path.stat().st_size for path in (tmp_path / "set").iterdir()) < 3_000_000
    program = ("import sys\nfrom migaki.data.folder import ImageFolder\nfrom migaki.core.errors import UserError\n"
               "try: ImageFolder(sys.argv[1]).read([0], ['image'])\n"
               "except UserError as error: print(error)\n"
               "lines = open('/proc/self/status').read().splitlines()\n"  # getrusage would tell of this process as well
               "print(next(line for line in lines if line.startswith('VmHWM')).split()[1])")
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "set")], capture_output=True, text=True)
    said, memory = ["", *done.stdout.splitlines()][-2:]
    assert expected in said and int(memory) < 1_100_000, done.stdout + done.stderr


def test_damaged_tables_stay_one_line(tmp_path: Path) -> None:
    whole = parquet(tmp_path / "set", pyarrow.table({"image": pictures("a.png", "b.png"), "x": [1.0, 2.0]}))
    data = (whole / "0.parquet").read_bytes()
    random = np.random.default_rng(0)
    for _ in range(60):
        broken = bytearray(data)
        for _ in range(4):
            broken[int(random.integers(4, len(data)))] = int(random.integers(256))
        (whole / "0.parquet").write_bytes(broken)
        try:
            ImageFolder(whole).read([0, 1])
        except Exception as error:
            assert type(error).__name__ == "UserError" and "\n" not in str(error), error


def test_a_real_picture_still_comes_out(tmp_path: Path) -> None:
    folder = ImageFolder(parquet(tmp_path / "set", pyarrow.table({"image": pictures("a.png")})))
    assert Image.open(io.BytesIO(folder.file(0).read_bytes())).size == (5, 4)  # type: ignore[union-attr]
