"""Every kind of image file comes in upright, in its own depth, or is refused in one line."""

from __future__ import annotations

import struct
import tempfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageOps

from migaki.core.errors import UserError
from migaki.data.files.image_file import MAX_PIXELS, read_header, read_image


def check(path: Path, expected: np.ndarray) -> None:
    """The file is `expected` (C, H, W), type included, and its header says so."""
    array, header = read_image(path), read_header(path)
    assert (header.channels, header.height, header.width) == array.shape
    assert header.dtype == array.dtype == expected.dtype
    np.testing.assert_array_equal(array, expected)


def refused(path: Path) -> str:
    """The one-line message with which both reader and header refuse a file."""
    with pytest.raises(UserError) as caught:
        read_image(path)
    with pytest.raises(UserError):
        read_header(path)
    message = str(caught.value)
    assert "\n" not in message and path.name in message
    return message


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA"])
def test_eight_bits(tmp_path: Path, random: np.random.Generator, mode: str) -> None:
    size = (5, 7) if mode == "L" else (5, 7, len(mode))
    array = random.integers(0, 256, size, dtype=np.uint8)
    Image.fromarray(array, mode=mode).save(tmp_path / "a.png")
    check(tmp_path / "a.png", array[None] if array.ndim == 2 else array.transpose(2, 0, 1))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bits_keep_all_bits(tmp_path: Path, random: np.random.Generator, channels: int, ending: str) -> None:
    array = random.integers(0, 65536, (channels, 5, 7), dtype=np.uint16)
    path = tmp_path / f"a.{ending}"
    if ending == "png":
        cv2.imwrite(str(path), array[[2, 1, 0, 3][:channels] if channels > 1 else [0]].transpose(1, 2, 0))
    else:
        tifffile.imwrite(path, array[0] if channels == 1 else array.transpose(1, 2, 0),
                         photometric="minisblack" if channels == 1 else "rgb")  # fmt: skip
    check(path, array)


def test_palette_bilevel_and_cmyk(tmp_path: Path, random: np.random.Generator) -> None:
    rgb = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    palette = rgb.quantize(16)
    palette.save(tmp_path / "p.png")
    check(tmp_path / "p.png", np.asarray(palette.convert("RGB")).transpose(2, 0, 1))
    palette.save(tmp_path / "t.png", transparency=3)
    assert read_image(tmp_path / "t.png").shape == (4, 8, 8)
    assert read_header(tmp_path / "t.png").has_alpha
    bilevel = rgb.convert("1")
    bilevel.save(tmp_path / "b.png")
    check(tmp_path / "b.png", np.asarray(bilevel.convert("L"))[None])
    rgb.convert("CMYK").save(tmp_path / "c.jpg")
    check(tmp_path / "c.jpg", np.asarray(Image.open(tmp_path / "c.jpg").convert("RGB")).transpose(2, 0, 1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(tmp_path: Path, random: np.random.Generator, orientation: int) -> None:
    pixels = random.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = pixels
    for ending in ("png", "jpg", "tif", "webp"):
        path = tmp_path / f"a.{ending}"
        Image.fromarray(pixels).save(path, exif=exif, **({"lossless": True} if ending == "webp" else {}))
        expected = np.asarray(ImageOps.exif_transpose(Image.open(path)))
        check(path, expected.transpose(2, 0, 1))
    wide = tmp_path / "wide.tif"
    tifffile.imwrite(wide, pixels.astype(np.uint16), photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    lossless = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")))
    check(wide, lossless.transpose(2, 0, 1).astype(np.uint16))


def test_bands_and_pages_of_tiff(tmp_path: Path, random: np.random.Generator) -> None:
    bands = random.random((6, 9, 8)).astype(np.float32)
    tifffile.imwrite(tmp_path / "planes.tif", bands, photometric="minisblack", planarconfig="separate")
    check(tmp_path / "planes.tif", bands)
    tifffile.imwrite(tmp_path / "pages.tif", bands)
    check(tmp_path / "pages.tif", bands)
    small = (bands * 255).astype(np.uint8)
    tifffile.imwrite(tmp_path / "pixels.tif", small.transpose(1, 2, 0), photometric="minisblack",
                     planarconfig="contig", compression="zlib")  # fmt: skip
    check(tmp_path / "pixels.tif", small)


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16, np.float32, np.bool_]),
        st.one_of(st.tuples(st.integers(1, 9), st.integers(1, 9)), st.tuples(*[st.integers(1, 9)] * 3)),
    )
)
def test_arrays_of_any_shape(array: np.ndarray) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.npy"
        np.save(path, array)
        image = read_image(path)
        header = read_header(path)
    assert image.shape == (header.channels, header.height, header.width) and image.dtype == header.dtype
    assert image.size == array.size
    if array.ndim == 3 and array.shape[0] <= array.shape[2]:
        assert image.shape == array.shape
    if array.dtype == np.bool_:
        assert set(np.unique(image)) <= {0, 255}


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["png", "jpg", "tif", "npy", "gif", "webp", "bmp"]))
def test_rubbish_is_refused_in_one_line(data: bytes, ending: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a.{ending}"
        path.write_bytes(data)
        assert path.name in refused(path)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_files_never_raise_anything_else(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ending = data.draw(st.sampled_from(["png", "jpg", "tif", "npy", "webp"]))
        path = Path(folder) / f"a.{ending}"
        pixels = np.arange(12 * 10 * 3, dtype=np.uint8).reshape(12, 10, 3)
        if ending == "npy":
            np.save(path, pixels)
        else:
            Image.fromarray(pixels).save(path)
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
        try:
            assert read_image(path).ndim == 3
        except UserError as error:
            assert "\n" not in str(error)


def test_text_called_png(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("hello")
    assert "not an image" in refused(tmp_path / "a.png")


def test_truncated_jpeg(tmp_path: Path, random: np.random.Generator) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-800])
    with pytest.raises(UserError, match=r"a\.jpg: damaged or truncated"):
        read_image(path)


def test_one_pixel_and_wide_images(tmp_path: Path) -> None:
    for shape in ((1, 1), (3, 20_000)):
        Image.fromarray(np.full(shape, 7, np.uint8)).save(tmp_path / "a.png")
        check(tmp_path / "a.png", np.full((1, *shape), 7, np.uint8))


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises `width` x `height` grey pixels and whose data are empty."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(20_000, 20_000), (2**31 - 1, 2**31 - 1), (MAX_PIXELS + 1, 1)])
def test_bombs_are_refused_by_their_header(tmp_path: Path, size: tuple[int, int]) -> None:
    (tmp_path / "a.png").write_bytes(bomb(*size))
    assert "megapixels" in refused(tmp_path / "a.png")


def test_array_headers_that_lie(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((4, 4), np.uint8))
    path.write_bytes(path.read_bytes().replace(b"(4, 4)", b"(9, 9)"))
    assert "shorter than its header" in refused(path)


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert "plain numbers" in refused(tmp_path / "a.npy")
