"""Annotation files with faults that strangers may cause: each must lead to a one-line refusal."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from migaki.core.errors import UserError
from migaki.data.sets.values import check_row
from migaki.importers.importer import Importer, ImportWork

ODD: tuple[Any, ...] = (None, True, -1, 0, 1e30, -0.5, 2**70, 1e308, "", "x", "../../secret.png", "/etc/passwd", "a\0b",
                        "\ud800", [], {}, [[]], [None], {"a": 1}, ["1", 2], "9" * 400, float("nan"), float("inf"))


def picture(path: Path, size: tuple[int, int] = (8, 6), colour: Any = (10, 20, 30)) -> Path:
    """A picture of one colour; `size` is width and height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB" if isinstance(colour, tuple) else "L", size, colour).save(path)
    return path


def paint(path: Path, pixels: np.ndarray[Any, Any]) -> Path:
    """A picture of these pixels (H, W) or (H, W, C)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def read_all(importer: type[Importer], path: Path, **config: Any) -> list[dict[str, Any]]:
    """The rows of all entries, encoded and checked as an import would."""
    work = ImportWork(importer, importer.Config(**config), path)
    rows = []
    for done in work.do(list(range(work.total))):
        assert done.records[0] is not None
        row = done.records[0].row
        check_row("row", {name: value for name, value in row.items() if not name.endswith("file_name")})
        json.dumps(row, allow_nan=False).encode()
        rows.append(row)
    return rows


def survive(importer: type[Importer], path: Path, file: Path, spoilt: Iterator[bytes],
            **config: Any) -> tuple[int, int]:
    """How many spoilt contents of `file` are read and how many refused; anything but a one-line UserError is an error.
    """
    whole, counts = file.read_bytes(), [0, 0]
    try:
        for content in spoilt:
            file.write_bytes(content)
            assert isinstance(importer.recognises(path), str)
            try:
                read_all(importer, path, **config)
                counts[0] += 1
            except UserError as error:
                assert "\n" not in str(error) and len(str(error)) < 700, str(error)
                counts[1] += 1
    finally:
        file.write_bytes(whole)
    return counts[0], counts[1]


def spoilt_json(content: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """JSON with one value replaced, left out or doubled, or with a few bytes changed."""
    draw = random.Random(seed)
    for number in range(count):
        if number % 4 == 3:
            yield spoilt_bytes(content, draw)
            continue
        values = json.loads(content)
        holder, key = draw.choice(list(places(values)))
        action = draw.random()
        if action < 0.15:
            del holder[key]
        elif action < 0.25 and isinstance(holder, list):
            holder.append(holder[key])
        else:
            holder[key] = draw.choice(ODD)
        yield json.dumps(values).encode("utf-8", "surrogatepass")


def spoilt_bytes(content: bytes, draw: random.Random) -> bytes:
    """The content cut off, or with bytes changed, doubled or left out."""
    data = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(data) + 1)
        action = draw.random()
        if action < 0.4 and place < len(data):
            data[place] = draw.randrange(256)
        elif action < 0.6:
            del data[place : place + draw.randint(1, 9)]
        elif action < 0.8:
            data[place:place] = data[place : place + draw.randint(1, 30)]
        elif action < 0.9:
            data[place:place] = draw.choice((b"-1", b"1e999", b"nan", b"../", b"\0", b"9" * 30, b"\xff", b",", b"<"))
        else:
            del data[place:]
    return bytes(data)


def spoilt_texts(content: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """Any file with a few bytes changed."""
    draw = random.Random(seed)
    for _ in range(count):
        yield spoilt_bytes(content, draw)


def places(values: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in nested lists and objects, as (holder, key)."""
    for key, value in list(values.items()) if isinstance(values, dict) else list(enumerate(values)):
        yield values, key
        if isinstance(value, dict | list):
            yield from places(value)


def changed(file: Path, change: Callable[[Any], Any]) -> None:
    """Write what `change` makes of the values of a JSON file; where it returns nothing, the values that it changed."""
    values = json.loads(file.read_text())
    result = change(values)
    file.write_text(json.dumps(values if result is None else result))
