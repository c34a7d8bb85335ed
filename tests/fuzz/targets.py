"""What is fuzzed: bytes in, the refusal out ("" where they were read); any other exception is a crash.

The first byte of a case says what kind of file the rest is.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import layouts
import numpy as np
import safetensors.torch
import torch
from PIL import Image

from migaki.core.errors import UserError
from migaki.core.trained import load_system
from migaki.data.files.image_file import MAX_PIXELS, read_header, read_image
from migaki.data.sets.labels import gather_columns
from migaki.data.sets.left_out import LeftOut
from migaki.data.sets.rows import metadata_rows

METADATA = ("jsonl", "csv", "parquet")
IMAGES = ("png", "jpg", "gif", "bmp", "tif", "webp", "ppm", "npy", "jp2", "avif", "tga")
MODELS = ("config.json", "model.safetensors")

_MEMORY = Path("/dev/shm")


def _scratch() -> Path:
    """A folder of this process, in memory where the system has such a place."""
    folder = Path(tempfile.mkdtemp(dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


_folders: dict[tuple[int, str], Path] = {}


def _folder(kind: str) -> Path:
    """The scratch folder of this process for one kind of case."""
    key = (os.getpid(), kind)
    if key not in _folders:
        _folders[key] = _scratch()
        if kind == "metadata":
            Image.new("L", (3, 2)).save(_folders[key] / "a.png")
            Image.new("L", (3, 2)).save(_folders[key] / "b.png")
        if kind == "model":
            write_model(_folders[key])
    return _folders[key]


def _refused(action: Callable[[], Any]) -> tuple[Any, str]:
    """What `action` returns and "", or None and its refusal in one line."""
    try:
        return action(), ""
    except UserError as error:
        assert "\n" not in str(error) and 0 < len(str(error)) < 2000, str(error)[:3000]
        return None, str(error)


def metadata(data: bytes) -> str:
    """Rows and labels of a metadata file."""
    if not data:
        return ""
    folder, name = _folder("metadata"), f"metadata.{METADATA[data[0] % len(METADATA)]}"
    path = folder / name
    path.write_bytes(data[1:])
    try:
        rows, refusal = _refused(lambda: metadata_rows(folder, [name], ["a.png", "b.png"], LeftOut()))
        if rows is not None:
            assert all(row["file_name"] in ("a.png", "b.png") for row in rows)
            arrays = gather_columns(rows).labels
            assert all(len(array) == len(rows) for array in arrays.values())
        return refusal
    finally:
        path.unlink()


def image(data: bytes) -> str:
    """Header and pixels of an image file, which must agree."""
    if not data:
        return ""
    path = _folder("image") / f"a.{IMAGES[data[0] % len(IMAGES)]}"
    path.write_bytes(data[1:])
    try:
        header, _ = _refused(lambda: read_header(path))
        pixels, refusal = _refused(lambda: read_image(path))
        if pixels is not None:
            assert pixels.ndim == 3 and 0 < pixels.size <= 4 * MAX_PIXELS and pixels.dtype.kind in "buif"
        if pixels is not None and header is not None:
            assert (header.channels, header.height, header.width) == pixels.shape
            assert header.dtype == pixels.dtype
        return refusal
    finally:
        path.unlink()


def model(data: bytes) -> str:
    """A model's folder of which one file is replaced."""
    if not data:
        return ""
    folder, name = _folder("model"), MODELS[data[0] % len(MODELS)]
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(data[1:])
    try:
        system, refusal = _refused(lambda: load_system(folder))
        if system is not None:
            assert sum(value.numel() for value in system.state_dict().values()) < 2**30
        return refusal
    finally:
        (folder / name).write_bytes(whole)


def _layout(name: str, read: Callable[[bytes, Path, Callable[..., Any]], str]) -> Callable[[bytes], str]:
    """A target of `layouts`, in a scratch folder of its own."""
    return lambda data: read(data, _folder(name), _refused) if data else ""


TARGETS: dict[str, Callable[[bytes], str]] = {
    "metadata": metadata, "image": image, "model": model, "import": _layout("import", layouts.import_labels),
    "shards": _layout("shards", layouts.shards), "values": _layout("values", layouts.values),
    "names": _layout("names", layouts.names), "mask": _layout("mask", layouts.mask),
    "video": _layout("video", layouts.video),
}


# ------------------------------------------------------------------------------------------------ where to begin


def write_model(folder: Path) -> None:
    """A gaze model that has not learnt anything, as `fit` leaves it."""
    from migaki.core.checkpoint import save_model
    from migaki.core.config import to_dict
    from migaki.systems.gaze import Gaze

    config = Gaze.Config(channels=1, height=24, width=24, features=2)
    (folder / "config.json").write_text(json.dumps({"system": "gaze", "config": to_dict(config), "data": {}}))
    save_model(folder / "model.safetensors", Gaze(config))


def seeds(target: str) -> list[bytes]:
    """Valid cases of every kind, from which mutations begin."""
    ours = {"metadata": _metadata_seeds, "image": _image_seeds, "model": _model_seeds}
    return ours[target]() if target in ours else layouts.seeds(target)


def _metadata_seeds() -> list[bytes]:
    import pyarrow
    import pyarrow.parquet

    rows: list[dict[str, Any]] = [
        {"file_name": "a.png", "gaze_pitch": 0.25, "gaze_yaw": -1.0, "n": 1, "bad": True, "box": [1.5, 2.0], "t": "x"},
        {"file_name": "b.png", "gaze_pitch": 1e-7, "gaze_yaw": None, "n": 2, "bad": False, "box": [3.0, 4.0], "t": ""},
    ]
    parquet = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), parquet, compression="none")
    jsonl = "".join(json.dumps(row) + "\n" for row in rows).encode()
    table = b'file_name,gaze_pitch,n,b,box\na.png,0.5,1,true,"[1, 2]"\r\nb.png,-1e3,,FALSE,"[3, 4]"\n'
    odd = b'{"file_name": "a.png", "x": NaN, "y": 1e99, "z": [[1, 2], [3, 4]], "u": "\\udcff"}\n'
    return [b"\0" + jsonl, b"\0" + odd, b"\1" + table, b"\1file_name\na.png\n", b"\2" + parquet.getvalue()]


def _image_seeds() -> list[bytes]:
    random = np.random.default_rng(0)
    grey = Image.fromarray(random.integers(0, 256, (5, 7), dtype=np.uint8))
    colour = Image.fromarray(random.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    cases = []
    for number, ending in enumerate(IMAGES):
        kind = {"jpg": "JPEG", "tif": "TIFF", "jp2": "JPEG2000"}.get(ending, ending.upper())
        for picture in (grey, colour, colour.quantize(8), colour.convert("CMYK"), Image.fromarray(
                random.integers(0, 65536, (5, 7), dtype=np.uint16))):
            file = io.BytesIO()
            try:
                if ending == "npy":
                    np.save(file, np.asarray(picture))
                else:
                    picture.save(file, kind, **({"exif": exif} if ending in ("jpg", "png", "webp") else {}))
            except (OSError, KeyError, ValueError):
                continue  # this kind of file does not hold that kind of picture
            cases.append(bytes([number]) + file.getvalue())
    cases.append(bytes([IMAGES.index("png")]) + colour_png_of_16_bits())
    cases.append(bytes([IMAGES.index("tif")]) + _pages())
    return cases


def colour_png_of_16_bits() -> bytes:
    """A PNG of 3 x 2 pixels of 48 bits, which Pillow cannot write."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = b"".join(b"\0" + bytes(range(18)) for _ in range(2))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 2, 16, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b""))


def _pages() -> bytes:
    import tifffile

    file = io.BytesIO()
    tifffile.imwrite(file, np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4) / 24)
    return file.getvalue()


def _model_seeds() -> list[bytes]:
    folder = _folder("model")
    deep = safetensors.torch.save({"net.weight": torch.zeros(2, 2)})
    return [b"\0" + (folder / "config.json").read_bytes(), b"\1" + (folder / "model.safetensors").read_bytes(),
            b"\1" + deep]
