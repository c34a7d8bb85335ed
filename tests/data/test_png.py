"""PNG without Pillow: Pillow reads what we write, and what we cannot read ourselves is left to it."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from migaki.core.errors import UserError
from migaki.data.files.image_file import read_image
from migaki.data.files.png import decode_png, encode_png

Array = np.ndarray[Any, Any]
MANY = 2**20


def picture(channels: int, height: int, width: int, seed: int = 0, flat: bool = False) -> Array:
    draw = np.random.default_rng(seed)
    if flat:
        return np.tile(draw.integers(0, 256, (channels, 1, width), dtype=np.uint8), (1, height, 1))
    return draw.integers(0, 256, (channels, height, width), dtype=np.uint8)


def by_pillow(data: bytes) -> Array:
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        image.load()
        array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([1, 3, 4]), st.integers(1, 40), st.integers(1, 40), st.integers(0, 99), st.booleans())
def test_pillow_reads_what_we_write_and_so_do_we(channels: int, height: int, width: int, seed: int, flat: bool) -> None:
    pixels = picture(channels, height, width, seed, flat)
    data = encode_png(pixels)
    assert np.array_equal(by_pillow(data), pixels)
    ours = decode_png(data, MANY)
    assert ours is not None and ours.dtype == np.uint8 and np.array_equal(ours, pixels)


def test_large_drawings_stay_small() -> None:
    pixels = picture(3, 200, 200, flat=True)
    data = encode_png(pixels)
    assert np.array_equal(by_pillow(data), pixels) and len(data) < pixels.size / 20


def test_what_is_no_png_is_refused() -> None:
    for bad in (picture(2, 4, 4), picture(1, 4, 4).astype(np.float32), np.empty((1, 0, 4), np.uint8)):
        with pytest.raises(ValueError, match="a PNG has"):
            encode_png(bad)


def test_files_of_others_are_left_to_pillow(tmp_path: Path) -> None:
    ramp = np.add.outer(np.arange(30), np.arange(40) ** 2 % 251).astype(np.uint8)
    kinds = {"filters": (ramp, {}), "two bits": (ramp // 64, {"bits": 2})}
    for name, (pixels, options) in kinds.items():
        path = tmp_path / f"{name}.png"
        Image.fromarray(pixels).save(path, **options)
        ours = decode_png(path.read_bytes(), MANY)
        assert ours is None or np.array_equal(ours[0], pixels)
        assert read_image(path).shape == (1, 30, 40)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def assembled(body: bytes, width: int = 5, height: int = 4, interlace: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_damaged_and_odd_files_are_none() -> None:
    lines = b"".join(b"\1" + bytes(5) for _ in range(4))
    assert decode_png(assembled(zlib.compress(lines)), MANY) is not None  # the frame itself is sound
    whole = bytearray(encode_png(picture(1, 9, 9)))
    broken = [bytes(whole[:cut]) for cut in range(0, len(whole), 7)]
    for place in (17, 30, 45, len(whole) - 14, len(whole) - 2):
        copy = bytearray(whole)
        copy[place] ^= 255
        broken.append(bytes(copy))
    broken += [assembled(zlib.compress(lines + b"\0")), assembled(zlib.compress(lines[:-1])),
               assembled(zlib.compress(lines)[:-4]), assembled(zlib.compress(lines) + b"more"),
               assembled(zlib.compress(lines), interlace=1), assembled(zlib.compress(b"\2" + lines[1:])),
               assembled(zlib.compress(lines), width=0), assembled(zlib.compress(bytes(10**6)))]
    assert [decode_png(data, MANY) for data in broken] == [None] * len(broken)
    assert decode_png(encode_png(picture(1, 9, 9)), 80) is None


def test_a_file_cut_short_is_reported_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    path.write_bytes(encode_png(picture(1, 36, 60))[:-30])
    with pytest.raises(UserError, match=r"cut\.png: damaged or truncated image"):
        read_image(path)
