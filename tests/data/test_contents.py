"""Digits that tell whether a folder still holds what it held: by content, and cheaply."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from toy_folders import write_folder

from migaki.core import hashes
from migaki.core.checkpoint import save_model
from migaki.core.config import to_dict
from migaki.data.files.encoding import encode_image
from migaki.data.folder import ImageFolder
from migaki.data.sets.contents import all_contents, contents, contents_of
from migaki.data.writers.formats import open_writer
from migaki.data.writers.record import plan
from migaki.data.writers.writer import FolderWriter
from migaki.systems.gaze import Gaze

OTHER = encode_image(np.full((1, 8, 8), 77, np.uint8), "png")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, in which every file that was read is remembered, however young and small."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hashes, "_MANY", 1)
    monkeypatch.setattr(hashes, "_FRESH", 0)
    return tmp_path / "cache" / "migaki" / "contents"


def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose content is read from here on."""
    names: list[str] = []
    true_open = hashes.open_plain

    def noted(path: Path) -> object:
        if path.parent.name != "contents":
            names.append(path.name)
        return true_open(path)

    monkeypatch.setattr(hashes, "open_plain", noted)
    return names


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


@pytest.mark.parametrize("change", [
    lambda folder: (folder / "001.png").write_bytes(OTHER),
    lambda folder: (folder / "001.png").rename(folder / "z.png"),
    lambda folder: (folder / "001.png").unlink(),
    lambda folder: (folder / "masks" / "001.png").write_bytes(OTHER),
    lambda folder: (folder / "metadata.jsonl").write_bytes((folder / "metadata.jsonl").read_bytes()[:-2] + b" }"),
    lambda folder: np.save(folder / "a.npy", np.ones((2, 3))),
    lambda folder: shutil.move(folder / "new.png", folder / "masks" / "001.png"),
], ids=["pixels", "name", "gone", "mask", "labels", "array", "further picture"])
def test_what_decides_a_result_counts(change: Callable[[Path], object], tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", 3, (8, 8))
    (folder / "masks").mkdir()
    (folder / "masks" / "001.png").write_bytes((folder / "001.png").read_bytes())
    (folder / "new.png").write_bytes(OTHER)
    np.save(folder / "a.npy", np.zeros((2, 3)))
    before, sizes = contents(folder), ImageFolder(folder).fingerprint
    change(folder)
    assert contents(folder) != before and (folder / "metadata.jsonl").exists()
    assert sizes == before  # one mechanism


def test_what_no_reader_looks_at_does_not_count(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", 3, (8, 8))
    before = contents(folder), all_contents(folder)
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / ".git").mkdir()
    (folder / ".git" / "a.png").write_bytes(OTHER)
    os.utime(folder / "001.png", (1, 1))
    assert (contents(folder), all_contents(folder)) == before
    shutil.copytree(folder, tmp_path / "copy")
    assert (contents(tmp_path / "copy"), all_contents(tmp_path / "copy")) == before
    (folder / "README.md").write_text("about it")
    assert contents(folder) == before[0] and all_contents(folder) != before[1]


def test_a_file_is_read_again_only_if_it_was_touched(tmp_path: Path, cache: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path / "set", 5, (8, 8))
    names = opened(monkeypatch)
    first = contents(folder)
    assert len(names) == 6 and [path.stat().st_mode & 0o777 for path in cache.iterdir()] == [0o600]
    names.clear()
    assert contents(folder) == first and names == []
    os.utime(folder / "001.png", (1, 1))
    names.clear()
    assert contents(folder) == first and names == ["001.png"]
    size, times = (folder / "002.png").stat().st_size, (folder / "002.png").stat()
    data = (folder / "002.png").read_bytes()
    (folder / "002.png").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(folder / "002.png", ns=(times.st_atime_ns, times.st_mtime_ns))  # size and time of change as before
    assert (folder / "002.png").stat().st_size == size and contents(folder) != first


def test_a_cache_that_is_damaged_or_cannot_be_written_is_done_without(tmp_path: Path, cache: Path) -> None:
    folder = write_folder(tmp_path / "set", 5, (8, 8))
    first = contents(folder)
    kept = next(cache.iterdir())
    for data in (b"", b"\0" * 32, kept.read_bytes()[:-24], kept.read_bytes()[:-1] + b"?", os.urandom(32 + 24 * 6)):
        kept.write_bytes(data)
        assert contents(folder) == first
    kept.unlink()
    kept.mkdir()
    assert contents(folder) == first
    shutil.rmtree(cache)
    cache.write_text("a file")
    assert contents(folder) == first


def test_a_file_that_may_still_change_is_not_remembered(tmp_path: Path, cache: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "_FRESH", 2 * 10**9)
    folder = write_folder(tmp_path / "set", 2, (8, 8))
    names = opened(monkeypatch)
    contents(folder)
    names.clear()
    contents(folder)
    assert "001.png" in names


def test_ten_thousand_files_are_looked_at_in_a_moment(tmp_path: Path, cache: Path) -> None:
    for number in range(10_000):
        (tmp_path / f"{number}.png").write_bytes(b"%d" % number)
    first = contents(tmp_path)
    began = time.process_time()
    assert contents(tmp_path) == first
    assert time.process_time() - began < 5.0


def test_of_our_own_folders_the_command_line_does_not_count(tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("first", "other", "again")]
    for out, seed in zip(places, (0, 1, 1), strict=True):
        with FolderWriter(out, {"command": f"migaki into {out}", "seed": seed}, 1) as writer:
            writer.write(0, "a", np.zeros((1, 8, 8), np.uint8), {"x": 1.0})
    first, other, again = map(contents, places)
    assert first != other == again
    metadata = places[2] / "metadata.jsonl"
    metadata.write_text(metadata.read_text().replace("1.0", "2.0"))  # by hand, of the same size
    assert contents(places[2]) != again
    metadata.write_text(metadata.read_text().replace("2.0", "1.0"))
    found = contents_of({"data": places[:2], "real": (places[2],)})
    assert found == {"data": [first, other], "real": [again]}


@pytest.mark.parametrize("form", ["webdataset", "parquet"])
def test_shards_count_by_their_content(tmp_path: Path, form: str) -> None:
    found = []
    for value in (1, 2, 1):
        out = tmp_path / f"{form}_{len(found)}"
        with open_writer(form, out, {"seed": 0}, 2, shard=1) as writer:  # type: ignore[arg-type]
            for index in range(2):
                writer.write_plan(index, plan(f"{index}", np.full((1, 8, 8), value, np.uint8), {}, "png"))
        found.append(ImageFolder(out).fingerprint)
    assert found[0] == found[2] != found[1]


def test_of_a_run_the_model_counts(tmp_path: Path) -> None:
    config = Gaze.Config(channels=1, height=24, width=24, features=2)
    (tmp_path / "config.json").write_text(json.dumps({"system": "gaze", "config": to_dict(config), "data": {}}))
    system = Gaze(config)
    save_model(tmp_path / "model.safetensors", system)
    before = contents(tmp_path)
    (tmp_path / "metrics.jsonl").write_text("{}")
    (tmp_path / "config.json").write_text(json.dumps({"system": "gaze", "config": to_dict(config), "data": {"a": "b"}}))
    assert contents(tmp_path) == before
    next(system.parameters()).data.view(-1)[0] += 1
    save_model(tmp_path / "model.safetensors", system)
    assert contents(tmp_path) != before
