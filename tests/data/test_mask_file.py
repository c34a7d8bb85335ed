"""Masks: whatever the file, the numbers of the classes; the trainer and the exporter read the same."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from refusals import message
from sample_pictures import picture, save

from migaki.cli import main
from migaki.data.files.encoding import encode_plane
from migaki.data.files.mask_file import ignored, read_mask
from migaki.data.folder import ImageFolder

CLASSES = np.array([[0, 1, 2, 3, 2, 1], [1, 1, 0, 0, 3, 3], [2, 2, 2, 1, 0, 0], [3, 0, 1, 2, 3, 0]], np.uint8)
COLOURS = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]  # of PASCAL VOC; grey, all are different


def paletted(indices: np.ndarray) -> Image.Image:
    image = Image.fromarray(indices)
    image.putpalette(COLOURS)
    return image


@pytest.mark.parametrize("ending", ["png", "gif", "tif", "bmp"])
def test_a_palette_holds_classes(tmp_path: Path, ending: str) -> None:
    paletted(CLASSES).save(tmp_path / f"m.{ending}")
    assert read_mask(tmp_path / f"m.{ending}").tolist() == CLASSES.tolist()


@pytest.mark.parametrize("transparency", [0, b"\0\xff\xff\xff"])
def test_a_palette_with_transparency_and_few_bits(tmp_path: Path, transparency: int | bytes) -> None:
    paletted(CLASSES).save(tmp_path / "m.png", bits=2, transparency=transparency)
    assert read_mask(tmp_path / "m.png").tolist() == CLASSES.tolist()


def test_grey_and_bits_stay_numbers(tmp_path: Path) -> None:
    Image.fromarray(CLASSES).save(tmp_path / "grey.png")
    Image.fromarray(CLASSES.astype(np.uint16) * 300).save(tmp_path / "deep.png")
    Image.fromarray(CLASSES > 1).save(tmp_path / "bit.png")
    Image.fromarray(np.repeat(CLASSES[..., None], 3, 2)).save(tmp_path / "rgb.png")
    Image.fromarray(np.dstack([CLASSES] * 3 + [CLASSES * 0])).save(tmp_path / "rgba.png")
    Image.fromarray(CLASSES.astype(np.int32)).save(tmp_path / "wide.tif")
    for name in ("grey", "rgb", "rgba"):
        assert read_mask(tmp_path / f"{name}.png").tolist() == CLASSES.tolist(), name
    assert read_mask(tmp_path / "deep.png").tolist() == (CLASSES.astype(int) * 300).tolist()
    assert read_mask(tmp_path / "bit.png").tolist() == (CLASSES > 1).astype(int).tolist()
    assert read_mask(tmp_path / "wide.tif").tolist() == CLASSES.tolist()


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_of_few_bits_is_not_stretched(tmp_path: Path, bits: int) -> None:
    values = CLASSES.astype(np.uint8)
    per_byte = 8 // bits
    rows = b""
    for row in values:
        padded = np.concatenate([row, np.zeros(-len(row) % per_byte, np.uint8)])
        packed = [int("".join(f"{v:0{bits}b}" for v in padded[k : k + per_byte]), 2)
                  for k in range(0, len(padded), per_byte)]
        rows += b"\0" + bytes(packed)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 6, 4, bits, 0, 0, 0, 0)), (b"IDAT", zlib.compress(rows)),
              (b"IEND", b"")]
    (tmp_path / "m.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks))
    assert read_mask(tmp_path / "m.png").tolist() == CLASSES.tolist()


@pytest.mark.parametrize("array", [CLASSES, CLASSES[None], CLASSES[..., None], CLASSES > 0, CLASSES.astype(np.int64),
                                   CLASSES.astype(np.float32)], ids=lambda a: f"{a.dtype}{a.ndim}")
def test_arrays(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "m.npy", array)
    assert read_mask(tmp_path / "m.npy").tolist() == array.reshape(CLASSES.shape).astype(int).tolist()


@pytest.mark.parametrize(("array", "why"), [
    (CLASSES.astype(np.int16) - 1, "whole numbers from 0 to 65535"), (CLASSES + 0.5, "whole numbers"),
    (np.stack([CLASSES] * 5), "one class index per pixel"), (np.full((4, 6), np.nan), "whole numbers"),
    (CLASSES.astype(np.int64) * 70000, "whole numbers from 0 to 65535")])
def test_arrays_that_hold_no_classes(tmp_path: Path, array: np.ndarray, why: str) -> None:
    np.save(tmp_path / "m.npy", array)
    assert why in message(lambda: read_mask(tmp_path / "m.npy"))


def test_colours_and_jpeg_are_refused_with_advice(tmp_path: Path) -> None:
    paletted(CLASSES).convert("RGB").save(tmp_path / "m.png")
    assert "save class indices as grey or palette PNG" in message(lambda: read_mask(tmp_path / "m.png"))
    Image.fromarray(CLASSES).save(tmp_path / "m.jpg")
    assert "save it as PNG" in message(lambda: read_mask(tmp_path / "m.jpg"))


def test_a_turned_palette_is_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    paletted(CLASSES).save(tmp_path / "m.png", exif=exif)
    assert read_mask(tmp_path / "m.png").tolist() == np.rot90(CLASSES, -1).tolist()


def test_ignore_needs_other_classes() -> None:
    assert ignored({0, 255}) == ignored({255}) == ignored({0, 1, 2}) == set()
    assert ignored({0, 1, 255}) == {255} and ignored({7, 255, 65535}) == {255, 65535}


def masked(folder: Path, *masks: np.ndarray | Image.Image) -> Path:
    rows = []
    for number, mask in enumerate(masks):
        save(folder / f"{number}.png", picture(number))
        (folder / "masks").mkdir(exist_ok=True)
        (mask if isinstance(mask, Image.Image) else Image.fromarray(mask)).save(folder / f"masks/{number}.png")
        rows.append({"file_name": f"{number}.png", "mask_file_name": f"masks/{number}.png"})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_what_is_trained_on_is_what_is_exported(tmp_path: Path) -> None:
    big = np.where(CLASSES == 3, np.uint16(1000), CLASSES.astype(np.uint16))
    bordered = np.where(CLASSES == 1, 255, CLASSES).astype(np.uint8)
    folder = masked(tmp_path / "set", paletted(CLASSES), big, bordered)
    batch = ImageFolder(folder).read([0, 1, 2])["mask"]
    assert batch.dtype == torch.int64 and batch.tolist() == [CLASSES.tolist(), big.tolist(), bordered.tolist()]
    assert ImageFolder(folder).read([0])["mask"].dtype == torch.uint8
    half = ImageFolder(folder, size=(2, 3)).read([1])["mask"]
    assert set(half.unique().tolist()) <= {0, 1, 2, 1000}
    (folder / "dataset.json").write_text(json.dumps({"mask_classes": ["ground", "cat", "dog"]}))
    assert main(["export", str(folder), "--format", "coco", "--out", str(tmp_path / "c.json")]) == 0
    found = json.loads((tmp_path / "c.json").read_text())
    names = {c["id"]: c["name"] for c in found["categories"]}
    assert list(names.values()) == ["cat", "dog", "class_3", "class_1000"]  # 255 means "ignore" here
    areas = {(a["image_id"], names[a["category_id"]]): a["area"] for a in found["annotations"]}
    for number, mask in enumerate((CLASSES, big, bordered), 1):
        for value, name in ((1, "cat"), (2, "dog"), (3, "class_3"), (1000, "class_1000")):
            assert areas.get((number, name), 0) == (mask == value).sum()


def test_a_mask_of_black_and_white_is_one_class(tmp_path: Path) -> None:
    folder = masked(tmp_path / "set", (CLASSES > 1).astype(np.uint8) * 255)
    assert main(["export", str(folder), "--format", "coco", "--out", str(tmp_path / "c.json")]) == 0
    (only,) = json.loads((tmp_path / "c.json").read_text())["annotations"]
    assert only["area"] == (CLASSES > 1).sum()


def test_a_mask_of_another_size_is_exported_in_that_of_its_image(tmp_path: Path) -> None:
    folder = masked(tmp_path / "set", np.kron(CLASSES, np.ones((2, 2), np.uint8)))
    assert main(["export", str(folder), "--format", "coco", "--out", str(tmp_path / "c.json")]) == 0
    for annotation in json.loads((tmp_path / "c.json").read_text())["annotations"]:
        assert annotation["segmentation"]["size"] == [4, 6]


def test_classes_above_255_are_written(tmp_path: Path) -> None:
    (tmp_path / "m.png").write_bytes(encode_plane(CLASSES.astype(np.int64) * 300, "png"))
    assert read_mask(tmp_path / "m.png").tolist() == (CLASSES.astype(int) * 300).tolist()
