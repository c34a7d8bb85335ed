"""Reads what the files of many images say of their size and channels, with several threads."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from migaki.data.files.image_file import Header, read_header
from migaki.data.files.member import FilePath

_BLOCK = 256  # headers that one thread reads in sequence: a task per image would take a kilobyte each


def headers_of(place: Callable[[int], FilePath], count: int) -> list[Header]:
    """Returns the headers of `count` images, whose files `place` gives; UserError for one that cannot be read."""
    same: dict[Header, Header] = {}  # a million equal headers share one object

    def look(start: int) -> list[Header]:
        found = [read_header(place(index)) for index in range(start, min(start + _BLOCK, count))]
        return [same.setdefault(header, header) for header in found]

    with ThreadPoolExecutor(4) as pool:
        return list(itertools.chain.from_iterable(pool.map(look, range(0, count, _BLOCK))))
