"""Names of files: whatever a picture or a folder is called, it is read, and what is made of it is stored."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sample_pictures import picture, save

from migaki.cli import main
from migaki.core.files import atomic_write, read_json, write_json
from migaki.data.files.names import MAX_BYTES, fit_name
from migaki.data.folder import ImageFolder
from migaki.data.writers.writer import FolderWriter

ODD = [b"caf\xe9", b"a\\b", b"new\nline", "写".encode() * 83, b"b" * 251, b"-rf", b"two..dots.", b" ", b"%FF", b"\xff"]


@given(st.lists(st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=300), min_size=1, max_size=3))
def test_a_fitted_name_can_be_stored(parts: list[str]) -> None:
    name = fit_name("/".join(parts))
    for part in name.split("/"):
        assert 0 < len(part.encode()) <= MAX_BYTES and "\\" not in part and (not part.startswith(".") or part in "..")
    assert fit_name(name) == name


def test_usual_names_stay() -> None:
    for name in ("a.png", "ä/写.tar.gz", "a" * 251 + ".png", "x" * 255, "with space/%41.png"):
        assert fit_name(name) == name


def test_different_names_stay_different() -> None:
    more = ["a" * 300 + "1.png", "a" * 300 + "2.png", "%E9.png", "é.png"]
    names = [os.fsdecode(name) + ".png" for name in ODD] + more
    assert len({fit_name(name) for name in names}) == len(names)
    assert fit_name("a" * 300 + ".png")[:-4] == fit_name("a" * 300 + ".jpg")[:-4]  # of one picture


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    folder = tmp_path / os.fsdecode(b"d\xe9p\xf4t\n1")
    folder.mkdir()
    for number, name in enumerate(ODD):
        save(tmp_path / "x.png", picture(number, 24, 24))
        os.rename(tmp_path / "x.png", os.fsencode(folder) + b"/" + name + b".png")
    return folder


def test_odd_names_are_imported_and_framed(odd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / os.fsdecode(b"\xfcber")
    assert main(["import", "photos", str(odd), "--out", str(out), "--width", "24", "--height", "24"]) == 0
    assert "\\udcfc" in capsys.readouterr().out
    before, after = ImageFolder(odd), ImageFolder(out)
    assert torch.equal(after.read(range(len(ODD)))["image"], before.read(range(len(ODD)))["image"])
    assert read_json(out / "dataset.json")["parent"]["path"] == str(odd)
    assert all(len(name.encode()) <= MAX_BYTES for name in after.names)
    framed = tmp_path / "framed"
    assert main(["frame", "--input", str(odd), "--out", str(framed)]) == 0
    assert len(ImageFolder(framed)) == len(ODD)
    again = tmp_path / "again"
    assert main(["frame", "--input", str(framed), "--out", str(again)]) == 0
    assert ImageFolder(again).names == ImageFolder(framed).names


def test_a_folder_that_is_no_utf8_is_gone_on_with(tmp_path: Path) -> None:
    info = {"parent": os.fsdecode(b"/caf\xe9")}
    for stop in (1, 3):
        with FolderWriter(tmp_path / "out", info, 3) as writer:
            for index in writer.missing(range(stop)):
                writer.write(index, f"{index}", torch.zeros(1, 2, 2), {})
    assert json.loads((tmp_path / "out" / "dataset.json").read_text(encoding="utf-8"))["parent"] == info["parent"]


def test_long_names_are_written_whole(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 250 + ".json")
    write_json(path, [os.fsdecode(b"\xe9")])
    assert read_json(path) == [os.fsdecode(b"\xe9")] and os.listdir(tmp_path) == [path.name]
    with pytest.raises(ZeroDivisionError), atomic_write(path):
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == [path.name]


def test_letters_composed_in_two_ways(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    for number, name in enumerate((composed, apart, "A", "a")):
        save(tmp_path / "both" / f"{name}.png", picture(number))
    assert set(ImageFolder(tmp_path / "both").names) == {f"{name}.png" for name in (composed, apart, "A", "a")}
    save(tmp_path / "mac" / f"{apart}.png", picture(0))
    Image.fromarray(np.ones((4, 6), np.uint8)).save(tmp_path / "mac" / f"m{apart}.png")
    row = {"file_name": f"{composed}.png", "mask_file_name": f"m{composed}.png"}
    (tmp_path / "mac" / "metadata.jsonl").write_text(json.dumps(row))
    folder = ImageFolder(tmp_path / "mac")
    assert folder.names == [f"{apart}.png"] == [folder.rows[0]["file_name"]] and folder.read([0])["mask"].min() == 1
    for name, number in ((composed, 0), (apart, 1)):
        (tmp_path / "both" / "metadata.jsonl").write_text(json.dumps({"file_name": f"{name}.png"}))
        assert np.array_equal(ImageFolder(tmp_path / "both").decode(0), picture(number))


def test_control_characters_are_shown_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "in" / "a.png", picture(0, 24, 24))
    assert main(["frame", "--input", str(tmp_path / "in"), "--out", str(tmp_path / "o\x1b[31m\nt")]) == 0
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err and "\\x1b[31m\\nt" in shown.out
