"""Times the search for the nearest of a million descriptors, against the bare matrix product over the same rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from speed_row import Row, in_turns

from migaki.data.nearest import nearest

NUMBERS, PICTURES, PARTS, BLOCK = 512, 64, 6, 2**14


def measure(folder: Path, quick: bool) -> list[Row]:
    """64 pictures described in six parts each, among a million descriptors (`quick`: 100,000) on disk."""
    count, rounds = (100_000, 2) if quick else (1_000_000, 2)
    rows = _written(folder / "rows.npy", count)
    draw = np.random.default_rng(1)
    wanted = draw.integers(0, count, PICTURES * PARTS)
    queries = _unit(rows[wanted] + 0.02 * draw.standard_normal((len(wanted), NUMBERS), np.float32))
    found = []

    def search() -> None:
        found.append(nearest(queries, rows, 5)[1])

    def bare() -> None:
        """The cosines alone; none is looked at."""
        for start in range(0, count, BLOCK):
            queries @ np.asarray(rows[start : start + BLOCK]).T

    bare()  # the rows are read from disk once, before anything is timed
    pairs = in_turns(search, bare, rounds)
    right = float((found[0][:, 0] == wanted).mean())
    own, other = (min(part) / PICTURES for part in zip(*pairs, strict=True))
    return [Row(what=f"search of a picture in {PARTS} parts among {count:,} descriptors of {NUMBERS} numbers",
                figure=f"{1000 * own:.0f} ms; the row it was made from is found by {100 * right:.0f} %",
                baseline=f"the products alone: {1000 * other:.0f} ms",
                ratios=tuple(slow / fast for slow, fast in pairs), baselines=tuple(other for _, other in pairs))]


def _written(path: Path, count: int) -> np.ndarray:
    """Random descriptors of unit length as a memory map."""
    draw = np.random.default_rng(0)
    rows = np.lib.format.open_memmap(path, "w+", np.float32, (count, NUMBERS))
    for start in range(0, count, BLOCK):
        rows[start : start + BLOCK] = _unit(draw.standard_normal((min(BLOCK, count - start), NUMBERS), np.float32))
    rows.flush()
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)
