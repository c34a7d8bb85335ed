"""What stands in a file beside its pixels: texts do no harm, XMP turns, packed data stay small, no file is named."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from refusals import message
from sample_pictures import picture

from migaki.data.files.array_file import turn
from migaki.data.files.image_file import read_header, read_image
from migaki.data.files.mask_file import read_mask
from migaki.data.files.restored_file import read_original

XMP = '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" %s/>'
FORMS = ('tiff:Orientation="6"', "tiff:Orientation = '6'", "><tiff:Orientation>6</tiff:Orientation><x")
PIXELS = picture(0, 4, 6, 3)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(array: np.ndarray = PIXELS, info: PngInfo | None = None, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array.transpose(1, 2, 0)).save(file, "PNG", pnginfo=info, **options)
    return file.getvalue()


def holds(path: Path, expected: np.ndarray) -> bool:
    """Whether the file has these pixels, and its header says their shape."""
    header, array = read_header(path), read_image(path)
    return (header.channels, header.height, header.width) == array.shape and np.array_equal(array, expected)


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt", b"iCCP"])
@pytest.mark.parametrize("where", ["before", "after"])
def test_much_text_beside_the_pixels(kind: bytes, where: str, tmp_path: Path) -> None:
    """Editors keep their settings in a picture, megabytes of them; the pixels are whole."""
    text = b"settings\0" + {b"tEXt": b"", b"zTXt": b"\0", b"iTXt": b"\1\0\0\0", b"iCCP": b"\0"}[kind]
    text += b"x" * 3_000_000 if kind == b"tEXt" else zlib.compress(b"x" * 200_000_000)
    data = png()
    at = 33 if where == "before" else data.index(b"IEND") - 4
    (tmp_path / "a.png").write_bytes(data[:at] + chunk(kind, text) + data[at:])
    assert holds(tmp_path / "a.png", PIXELS)
    assert read_original(tmp_path / "a.png", 3).pixels.shape == PIXELS.shape


def test_sixteen_bits_with_much_text(tmp_path: Path) -> None:
    lines = b"".join(b"\0" + bytes(range(18)) for _ in range(2))
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 2, 16, 2, 0, 0, 0))
        + chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(3_000_000))) + chunk(b"IDAT",
                                                                             zlib.compress(lines)) + chunk(b"IEND",
                                                                                                           b""))
    assert read_image(tmp_path / "a.png").dtype == np.uint16


def test_exif_and_profile_of_a_picture_with_much_text(tmp_path: Path) -> None:
    info, exif = PngInfo(), Image.Exif()
    info.add_text("settings", "x" * 3_000_000, zip=True)
    exif[0x010F] = "maker"
    (tmp_path / "a.png").write_bytes(png(info=info, exif=exif, icc_profile=b"profile" * 20))
    original = read_original(tmp_path / "a.png", 3)
    assert original.profile == b"profile" * 20 and b"maker" in original.exif


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ending", ["jpg", "png", "packed.png", "webp", "tif", "planes.tif"])
def test_xmp_turns_as_exif_does(ending: str, form: str, tmp_path: Path) -> None:
    text, path = XMP % form, tmp_path / f"a.{ending}"
    image = Image.fromarray(PIXELS.transpose(1, 2, 0))
    if ending.endswith("png"):
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", text, zip=ending.startswith("packed"))
        info.add_text("settings", "x" * 3_000_000, zip=True)
        image.save(path, pnginfo=info)
    elif ending == "tif":
        image.save(path, tiffinfo={700: text.encode()})
    elif ending == "planes.tif":
        tifffile.imwrite(path, PIXELS.astype(np.uint16), photometric="minisblack", planarconfig="separate",
                         extratags=[(700, 1, len(text), text.encode(), True)], metadata=None)
    else:
        image.save(path, xmp=text.encode(), **({"lossless": True} if ending == "webp" else {"quality": 100}))
    if ending == "jpg":
        assert read_image(path).shape == (3, 6, 4) and (read_header(path).height, read_header(path).width) == (6, 4)
    else:
        assert holds(path, turn(PIXELS.astype(read_header(path).dtype), 6))


def test_exif_goes_before_xmp(tmp_path: Path) -> None:
    exif, info = Image.Exif(), PngInfo()
    exif[0x0112] = 3
    info.add_itxt("XML:com.adobe.xmp", XMP % FORMS[0])
    (tmp_path / "a.png").write_bytes(png(info=info, exif=exif))
    assert holds(tmp_path / "a.png", turn(PIXELS, 3))


@pytest.mark.parametrize("value", ["0", "9", "66", "x", ""])
def test_an_orientation_that_is_none(value: str, tmp_path: Path) -> None:
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP % f'tiff:Orientation="{value}"')
    (tmp_path / "a.png").write_bytes(png(info=info))
    assert holds(tmp_path / "a.png", PIXELS)


@pytest.mark.parametrize("kind", ["EPS", "PDF", "PCX", "ICNS", "SGI"])
def test_kinds_of_pictures_that_are_not_ours(kind: str, tmp_path: Path) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png", kind)
    for read in (read_header, read_image, read_mask):
        assert "not an image that can be read" in message(lambda read=read: read(tmp_path / "a.png"))


@pytest.mark.parametrize(("compression", "code"), [("zlib", 8), ("lzma", 34925)])
def test_a_tiff_that_unpacks_to_more_than_it_says(compression: str, code: int, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "big.tif", np.zeros((5, 2000, 2000), np.uint16), photometric="minisblack",
                     planarconfig="separate", compression=compression, rowsperstrip=2000, metadata=None)
    with tifffile.TiffFile(tmp_path / "big.tif") as big:
        tags = big.pages[0].tags
        data = bytearray((tmp_path / "big.tif").read_bytes())
        for name, value in (("ImageWidth", 4), ("ImageLength", 4), ("RowsPerStrip", 4)):
            tag = tags[name]
            data[tag.valueoffset : tag.valueoffset + (4 if tag.dtype == 4 else 2)] = value.to_bytes(
                4 if tag.dtype == 4 else 2, "little")
        assert int(big.pages[0].compression) == code
    (tmp_path / "a.tif").write_bytes(data)
    assert "unpacks to more than its size says" in message(lambda: read_image(tmp_path / "a.tif"))
    assert read_image(tmp_path / "big.tif").shape == (5, 2000, 2000)


def test_a_tiff_that_names_another_file(tmp_path: Path) -> None:
    """OME-TIFF may keep its planes in other files."""
    (tmp_path / "set").mkdir()
    tifffile.imwrite(tmp_path / "secret.tif", np.full((4, 6), 1000, np.uint16), ome=True)
    plane = ('<TiffData FirstC="%d" PlaneCount="1" IFD="0"><UUID FileName="../secret.tif">urn:uuid:2</UUID></TiffData>')
    ome = ('<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:1">'
           '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="6" SizeY="4" '
           f'SizeC="2" SizeZ="1" SizeT="1">{plane % 0}{plane % 1}</Pixels></Image></OME>')
    tifffile.imwrite(tmp_path / "set" / "a.tif", np.zeros((2, 4, 6), np.uint16), description=ome, metadata=None,
                     photometric="minisblack")
    assert read_image(tmp_path / "set" / "a.tif").max() == 0


@pytest.mark.parametrize("head", [b"(" * 9000, b"{'descr': '|O', 'fortran_order': False, 'shape': (2, 2)}",
                                  b"[" * 200 + b"]" * 200,
                                  b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000)}",
                                  b"\xff" * 50,
                                  b"{'descr': '<f4', 'fortran_order': False, 'shape': (-4, 4)}", b"9" * 9000,
                                  b"{'descr': '<f4', 'fortran_order': False, 'shape': (True, 4)}"])
def test_arrays_of_strangers(head: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + bytes(64))
    for read in (read_header, read_image, read_mask):
        try:
            read(path)
        except Exception as error:
            assert type(error).__name__ == "UserError" and "\n" not in str(error), error
        else:
            assert b"True" in head
