"""Listings: which pictures belong to a set, and the one line that says what was left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from refusals import message
from sample_pictures import picture, save

from migaki.cli import main
from migaki.core import notices
from migaki.data.folder import ImageFolder
from migaki.data.sets.layers import without_layers
from migaki.data.sets.splits import split_of


def filled(folder: Path, *names: str) -> Path:
    """A picture for each name that ends in .png, else a few bytes."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".png"):
            save(path, picture(number))
        else:
            path.write_bytes(b"some bytes")
    return folder


def said(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What opening the folder says on standard error: one line at most."""
    capsys.readouterr()
    ImageFolder(folder)
    text = capsys.readouterr().err
    assert text.count("\n") <= 1
    return text


@pytest.mark.parametrize(("name", "why"), [
    ("IMG_1.HEIC", "1 .heic (not readable: convert them, e.g. `heif-convert IN OUT.jpg`)"),
    ("scan.jxl", "1 .jxl (not readable: convert them to PNG)"),
    ("raw.CR2", "convert them"), ("film.mov", "migaki import film"), ("more.zip", "unpack"),
    ("depth.exr", "TIFF or .npy"),
    ("a.txt", "1 .txt (no pictures)"), (".b.png", "1 hidden: .b.png"), (".old/b.png", "1 hidden: .old/"),
    ("@eaDir/a.png", "1 thumbnail: @eaDir/"), ("__MACOSX/a.png", "__MACOSX/"), ("._a.png", "1 thumbnail: ._a.png"),
    ("Thumbs.db", "Thumbs.db"), (".thumbnails/a.png", "1 thumbnail: .thumbnails/"), ("noending", "without ending"),
    ("a_mask.png", "1 layer: a_mask.png"), ("masks/a.png", "masks/a.png"),
])
def test_what_is_left_out_is_said(tmp_path: Path, name: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = filled(tmp_path / "set", "a.png", name)
    assert why in said(folder, capsys) and ImageFolder(folder).names == ["a.png"]


@pytest.mark.parametrize("name", ["README.md", "LICENSE", ".DS_Store", "dataset.json", ".git/config", "b.png"])
def test_what_nobody_misses_is_not_said(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = filled(tmp_path / "set", "a.png", name)
    (folder / "dataset.json").write_text("{}")
    assert said(folder, capsys) == ""


def test_linked_folders_are_said_and_not_followed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    filled(tmp_path / "disk", "1.png")
    folder = filled(tmp_path / "set", "a.png")
    (folder / "day1").symlink_to(tmp_path / "disk")
    line = said(folder, capsys)
    assert "1 linked folder: day1/" in line and "not followed" in line and len(ImageFolder(folder)) == 1


def test_all_reasons_stand_in_one_line_and_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = filled(tmp_path / "set", "a.png", ".b.png", "c.heic", "@eaDir/a.png", *(f"{n}.heic" for n in range(6)))
    line = said(folder, capsys)
    assert all(word in line for word in ("7 .heic", "1 hidden", "1 thumbnail")) and said(folder, capsys) == ""


def test_the_line_comes_before_a_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = filled(tmp_path / "set", "a.heic", "b.heic")
    assert "no images" in message(lambda: ImageFolder(folder)) and "2 .heic" in capsys.readouterr().err


def test_workers_are_quiet(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "_is_silent", True)
    assert said(filled(tmp_path / "set", "a.png", "b.heic"), capsys) == ""
    monkeypatch.setattr(notices, "_is_silent", False)
    monkeypatch.setenv("RANK", "1")
    assert said(tmp_path / "set", capsys) == ""
    monkeypatch.setenv("RANK", "0")
    assert "1 .heic" in said(tmp_path / "set", capsys)


def test_heic_that_metadata_names_is_to_be_converted(tmp_path: Path) -> None:
    folder = filled(tmp_path / "set", "a.heic")
    (folder / "metadata.jsonl").write_text('{"file_name": "a.heic"}')
    assert "heif-convert" in message(lambda: ImageFolder(folder).shape)


def test_pictures_that_metadata_does_not_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = filled(tmp_path / "set", "a.png", "masks/a.png", "b.png", "c.heic", "notes.txt")
    (folder / "metadata.jsonl").write_text(json.dumps({"file_name": "a.png", "mask_file_name": "masks/a.png"}))
    assert "left out: 2 pictures: b.png, c.heic (the metadata does not name them)" in said(folder, capsys)
    named = filled(tmp_path / "other", "a.png")
    (named / "metadata.jsonl").write_text('{"file_name": "a.png"}')
    assert said(named, capsys) == ""


# ---------------------------------------------------------------------------------------------- layers

@pytest.mark.parametrize(("pictures", "layers"), [
    (["sequence.0/step0.camera.png"], ["sequence.0/step0.camera.semantic segmentation.png",
                                       "sequence.0/step0.camera.instance segmentation.png",
                                       "sequence.0/step0.camera.depth.png", "sequence.0/step0.camera.normal.png"]),
    (["rgb_0001.png"], ["semantic_segmentation_0001.png", "distance_to_camera_0001.npy", "normals_0001.png"]),
    (["rgba_00000.png"], ["segmentation_00000.png", "depth_00000.tiff", "object_coordinates_00000.png"]),
    (["rgb/1.png"], ["depth/1.png", "mask/1.png", "mask_visib/1.png"]),
    (["images/1.jpg"], ["masks/1.png", "labels/1.png"]),
    (["JPEGImages/1.jpg"], ["SegmentationClass/1.png", "SegmentationObject/1.png"]),
    (["leftImg8bit/a/1.png"], ["gtFine/a/1.png"]),
    (["RGB0a1b2c3d-1/rgb_2.png"], ["SemanticSegmentation0a1b2c3d-2/segmentation_2.png"]),
    (["a.png", "b.png"], ["a_mask.png", "b_seg.png"]),
    (["1.png"], ["masks/1.png"]),
])
def test_layers_stand_beside_pictures(pictures: list[str], layers: list[str]) -> None:
    assert without_layers([*layers, *pictures]) == (pictures, layers)


@pytest.mark.parametrize("names", [
    ["depth_1.png", "depth_2.png"],  # a set of depth images
    ["mask/1.jpg", "no_mask/2.jpg"],  # classes
    ["normal/1.png", "pneumonia/1.png"],
    ["normal_1.png", "pneumonia_1.png", "1.png"],
    ["masked.png", "segment_1.png", "depths of the sea.png"],
    ["day/masks.png", "night/a.png"],
])
def test_pictures_that_are_no_layers(names: list[str]) -> None:
    assert without_layers(names) == (names, [])


def test_sequences_are_no_classes(tmp_path: Path) -> None:
    folder = filled(tmp_path / "solo", *(f"sequence.{n}/step0.camera.png" for n in range(3)),
                    *(f"sequence.{n}/step0.camera.semantic segmentation.png" for n in range(3)))
    found = ImageFolder(folder)
    assert len(found) == 3 and not found.classes and not found.labels


# ---------------------------------------------------------------------------------------------- splits

@pytest.mark.parametrize(("name", "split"), [
    ("train", "train"), ("Training", "train"), ("train2017", "train"), ("test", "test"), ("testing", "test"),
    ("val", "val"), ("valid", "val"), ("validation", "val"), ("dev", "val"), ("test_set", "test"),
    ("trains", ""), ("trainer", ""), ("tester", ""), ("valley", ""), ("cat", ""), ("contest", "")])
def test_names_of_splits(name: str, split: str) -> None:
    assert split_of(name) == split


@pytest.mark.parametrize("names", [
    ["train/cat/1.png", "test/cat/1.png"], ["train/1.png", "val/1.png"], ["images/train2017/1.png",
                                                                          "images/val2017/1.png"],
    ["cat/train/1.png", "cat/test/1.png"]])
def test_splits_are_refused(tmp_path: Path, names: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    folder = filled(tmp_path / "set", *names)
    text = message(lambda: ImageFolder(folder))
    assert "are splits of one set" in text
    advised = Path(text.rpartition("such as ")[2])
    assert len(ImageFolder(advised)) == 1 and advised.name.startswith("train")
    assert main(["train", "classifier", "--data", str(folder), "--out", str(tmp_path / "run")]) == 2


def test_one_split_or_a_class_of_trains_is_none(tmp_path: Path) -> None:
    assert ImageFolder(filled(tmp_path / "set", "train/1.png", "bus/1.png")).classes == ["bus", "train"]
    assert len(ImageFolder(filled(tmp_path / "one", "train/1.png"))) == 1


def test_splits_with_metadata(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = filled(tmp_path / "set", "train/1.png", "test/1.png")
    rows = [{"file_name": "train/1.png"}, {"file_name": "test/1.png"}]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "train/ and test/ are read together" in said(folder, capsys)
    (folder / "metadata.jsonl").unlink()
    for split in ("train", "test"):
        (folder / split / "metadata.jsonl").write_text('{"file_name": "1.png"}')
    assert "are splits of one set" in message(lambda: ImageFolder(folder))


@pytest.mark.parametrize("ending", ["tar", "parquet"])
def test_shards_of_splits(tmp_path: Path, ending: str) -> None:
    folder = filled(tmp_path / "set", f"data/train-00000-of-00001.{ending}", f"data/test-00000-of-00001.{ending}")
    assert "shards of several splits" in message(lambda: ImageFolder(folder))
