"""Cases that once crashed a reader, a few random ones, and attacks by hand. In full: `fuzz.py TARGET --cases N`."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from all_targets import TARGETS, seeds
from fuzz import CRASHES, mutate
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from refusals import message
from targets import IMAGES, METADATA

from migaki.cli import main
from migaki.data.files.image_file import read_header, read_image
from migaki.data.folder import ImageFolder
from migaki.data.sets.metadata import read_metadata

EVERY = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def _no_noise(capfd: pytest.CaptureFixture[str]) -> object:
    """Every refusal and notice is one line of migaki; no library prints anything."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    assert not [line for line in capfd.readouterr().err.splitlines() if not line.startswith("migaki: ")]


@pytest.mark.parametrize("path", sorted(CRASHES.glob("*.bin")), ids=lambda path: path.stem)
def test_what_crashed_once(path: Path) -> None:
    began = time.process_time()
    refusal = TARGETS[path.stem.split("_")[0]](path.read_bytes())
    assert time.process_time() - began < 5 and "\n" not in refusal


@pytest.mark.parametrize(("target", "cases"), [("metadata", 300), ("image", 300), ("model", 12), ("import", 120),
                                               ("shards", 90), ("values", 120), ("names", 60), ("mask", 150),
                                               ("video", 40)])
def test_mutations(target: str, cases: int) -> None:
    """What is whole is read; what is damaged is refused (seldom it is read all the same)."""
    draw, valid = random.Random(cases), seeds(target)
    foreign = [refusal for refusal in (TARGETS[target](case) for case in valid) if refusal]
    assert ["another model" in refusal for refusal in foreign] == [True] * (target == "model")
    refusals = [TARGETS[target](mutate(draw.choice(valid), draw)) for _ in range(cases)]
    assert target == "names" or sum(map(bool, refusals)) > cases / 10  # any name is a name


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
                    max_leaves=8)


@EVERY
@given(st.lists(st.dictionaries(st.sampled_from(["file_name", "gaze_pitch", "gaze_yaw", "side", "x_file_name", ""]),
                                JSON | st.just("a.png"), max_size=5), max_size=3))
def test_any_json_in_metadata(rows: list[dict[str, object]]) -> None:
    text = "\n".join(json.dumps(row) for row in rows)
    refusal = TARGETS["metadata"](b"\0" + text.encode())
    assert not refusal or "metadata.jsonl" in refusal


@EVERY
@given(st.lists(st.lists(st.text(max_size=6) | st.sampled_from(["a.png", "1e999", "nan", "[[1]]", '"'] ), max_size=4),
                max_size=4))
def test_any_table_in_metadata(rows: list[list[str]]) -> None:
    lines = [",".join(row) for row in [["file_name", "a", "b", "c"], *rows]]
    refusal = TARGETS["metadata"](b"\1" + "\n".join(lines).encode("utf-8", "surrogatepass"))
    assert not refusal or "metadata.csv" in refusal


@EVERY
@given(st.sampled_from(range(len(IMAGES))), st.binary(max_size=200))
def test_any_bytes_as_an_image(kind: int, data: bytes) -> None:
    assert f"a.{IMAGES[kind]}" in TARGETS["image"](bytes([kind]) + data)


# ------------------------------------------------------------------------------------------------ attacks by hand


def quick_message(action: Callable[[], object]) -> str:
    began = time.process_time()
    line = message(action)
    assert time.process_time() - began < 10 and len(line) < 1000
    return line


def wide(path: Path, columns: int) -> None:
    """Metadata of so many columns, in the format that the path's ending says."""
    if path.suffix == ".jsonl":
        path.write_text('{"file_name": "a.png"' + "".join(f', "c{n}": 1' for n in range(columns)) + "}\n")
    elif path.suffix == ".csv":
        path.write_text("file_name" + "".join(f",c{n}" for n in range(columns)) + "\na.png" + ",1" * columns + "\n")
    else:
        names = ["file_name", *(f"c{n}" for n in range(columns))]
        table = pyarrow.table([pyarrow.array(["a.png"])] * len(names), names=names)
        pyarrow.parquet.write_table(table, path)


@pytest.mark.parametrize(("ending", "columns"), [("jsonl", 10**7), ("csv", 10**7), ("jsonl", 20_000), ("csv", 20_000),
                                                 ("parquet", 20_000)])
def test_too_many_columns(ending: str, columns: int, tmp_path: Path) -> None:
    """Ten million are refused by the line's length, thousands by their number."""
    path = tmp_path / f"metadata.{ending}"
    if columns == 10**7:
        head = b'{"file_name": "a.png", ' if ending == "jsonl" else b"file_name,"
        path.write_bytes(head + (b'"c": 1,' if ending == "jsonl" else b"c,") * columns + b"\n")
    else:
        wide(path, columns)
    text = quick_message(lambda: read_metadata(path))
    assert "longer than" in text or f"{columns + 1} columns are more than the limit" in text


def test_a_parquet_file_of_millions_of_columns(tmp_path: Path) -> None:
    """Its description alone would be read for minutes: a footer of 100 MB."""
    (tmp_path / "metadata.parquet").write_bytes(b"PAR1" + bytes(1000) + (10**8).to_bytes(4, "little") + b"PAR1")
    assert "millions of columns" in quick_message(lambda: read_metadata(tmp_path / "metadata.parquet"))


def test_a_parquet_file_of_many_rows_in_few_bytes(tmp_path: Path) -> None:
    path = tmp_path / "metadata.parquet"
    names = pyarrow.DictionaryArray.from_arrays(pyarrow.array(np.zeros(2_000_000, np.int8)), ["a.png"])
    pyarrow.parquet.write_table(pyarrow.table({"file_name": names}), path, compression="zstd")
    assert path.stat().st_size < 10_000
    assert "rows in a few bytes" in quick_message(lambda: read_metadata(path))


@pytest.mark.parametrize("ending", METADATA)
def test_as_many_columns_as_labels_may_need(ending: str, tmp_path: Path) -> None:
    wide(tmp_path / f"metadata.{ending}", 2000)
    assert len(read_metadata(tmp_path / f"metadata.{ending}")[0]) == 2001


@pytest.mark.parametrize("ending", ["jpg", "png", "gif", "bmp", "tif", "ppm"])
def test_a_hundred_megapixels(ending: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Refused by the header in one line, by the program as well; nothing is decoded."""
    path = tmp_path / "photos" / f"a.{ending}"
    path.parent.mkdir()
    Image.new("1" if ending in ("tif", "png", "bmp", "ppm") else "L", (10_000, 10_000)).save(path)
    for read in (read_header, read_image):
        assert "megapixels" in quick_message(lambda read=read: read(path))
    words = ["simulate", "rain", "--input", str(path.parent), "--out", str(tmp_path / "out")]
    capfd.readouterr()
    assert main(words) == 2
    complaint = capfd.readouterr().err
    assert complaint.count("\n") == 1 and "megapixels" in complaint


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links here")
def test_loops_of_links(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (3, 2)).save(tmp_path / "a.png")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "up").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    assert "a loop of links" in quick_message(lambda: ImageFolder(tmp_path))
    (tmp_path / "self").unlink()
    assert ImageFolder(tmp_path).names == ["a.png"]
    assert "links to folders are not followed" in capfd.readouterr().err


@pytest.mark.parametrize("name", [b"a\nb.png", b"\xff\xfe.png", b"\x1b[31mred.png", "ä\u202e.png".encode(), b"-rf.png"])
def test_odd_names(name: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """They are read like any other name; messages escape them."""
    (tmp_path / "photos").mkdir()
    folder = os.fsencode(tmp_path / "photos")
    data = io.BytesIO()
    Image.new("L", (3, 2), 255).save(data, "PNG")
    with open(os.path.join(folder, name), "wb") as file:
        file.write(data.getvalue())
    assert ImageFolder(tmp_path / "photos").read([0])["image"].shape == (1, 1, 2, 3)
    with open(os.path.join(folder, name), "wb") as file:
        file.write(b"this is no picture")
    capfd.readouterr()
    assert main(["simulate", "rain", "--input", str(tmp_path / "photos"), "--out", str(tmp_path / "out")]) == 2
    complaint = capfd.readouterr().err
    assert complaint.count("\n") == 1 and complaint[:-1].isprintable() and "not an image" in complaint


def test_deep_nesting(tmp_path: Path) -> None:
    for ending, text in (("jsonl", '{"file_name": ' + "[" * 10**6), ("jsonl", '{"a":' * 10**5)):
        path = tmp_path / f"metadata.{ending}"
        path.write_text(text)
        assert path.name in quick_message(lambda path=path: read_metadata(path))
    (tmp_path / "metadata.csv").write_text("file_name,a\na.png," + "[" * 10**6 + "\n")
    assert read_metadata(tmp_path / "metadata.csv")[0]["a"][:2] == "[["  # no list, so it is text


def test_the_fuzzer_finds_what_crashes(tmp_path: Path) -> None:
    """A reader with a mistake in it: the fuzzer ends with an error and keeps the case."""
    program = ("import sys; sys.path.insert(0, sys.argv[1]); import fuzz, targets\n"
               "from pathlib import Path; fuzz.CRASHES = Path(sys.argv[2])\n"
               "targets.TARGETS['metadata'] = lambda data: 1 // (data[1:2] == b'{' or len(data) < 3)\n"
               "fuzz.mutations('metadata', 500, 0)")
    here = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", program, here, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr and len(list(tmp_path.iterdir())) == 1
