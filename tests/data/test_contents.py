"""Digits that tell whether a folder still holds what it held."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from toy_folders import write_folder

from migaki.data.sets.contents import contents, contents_of
from migaki.data.writers.writer import FolderWriter


def test_they_change_with_what_is_there_and_with_nothing_else(tmp_path: Path) -> None:
    labelled = write_folder(tmp_path / "labelled", 3, (8, 8))
    bare = write_folder(tmp_path / "bare", 3, (8, 8), labels=())
    before = contents(labelled), contents(bare)
    assert before == (contents(labelled), contents(bare)) and before[0] != before[1]
    metadata = labelled / "metadata.jsonl"
    metadata.write_text(metadata.read_text().replace('"label": 1', '"label": 2'))  # of the same size
    (bare / "002.png").rename(bare / "003.png")
    assert contents(labelled) != before[0] and contents(bare) != before[1]
    assert contents(metadata) != contents(bare / "001.png")


def test_of_our_own_folders_what_made_them_is_enough(tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("first", "other", "again")]
    for out, seed in zip(places, (0, 1, 1), strict=True):
        with FolderWriter(out, {"seed": seed}, 1) as writer:
            writer.write(0, "a", np.zeros((1, 8, 8), np.uint8), {"x": 1.0})
    first, other, again = map(contents, places)
    assert first != other == again
    metadata = places[2] / "metadata.jsonl"
    metadata.write_text(metadata.read_text().replace("1.0", "2.0"))  # by hand, of the same size
    assert contents(places[2]) != again
    metadata.write_text(metadata.read_text().replace("2.0", "1.0"))
    told = contents_of({"data": places[:2], "real": (places[2],)})
    assert told == {"data": [first, other], "real": [again]}
