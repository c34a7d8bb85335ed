"""What is written reads back, here and in Hugging Face's library; a kill at any image costs nothing."""

from __future__ import annotations

import builtins
import errno
import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from refusals import message

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder
from migaki.data.writers.writer import FolderWriter, batch_rows

INFO: dict[str, Any] = {"command": "make", "config": {"size": [6, 8]}, "seed": 1, "version": "0", "licence": "CC0"}
TOTAL = 7


def batch(count: int = TOTAL) -> Batch:
    """Images on the grid of 8 bits, with a label of every kind."""
    random = torch.Generator().manual_seed(0)
    return {
        "image": torch.randint(0, 256, (count, 1, 6, 8), generator=random) / 255,
        "gaze": torch.randn(count, 2, generator=random),
        "side": torch.arange(count) % 2,
        "iris_outline": torch.randn(count, 16, 2, generator=random) * 10,
        "iris_visible": torch.ones(count, 16, dtype=torch.uint8),
        "pupil_radius_mm": torch.rand(count, generator=random),
        "mask": torch.randint(0, 4, (count, 6, 8), generator=random).to(torch.uint8),
        "depth": torch.rand(count, 6, 8, generator=random) * 900,
        "target": torch.randint(0, 256, (count, 3, 6, 8), generator=random) / 255,
    }


def fill(out: Path, stop: int | None = None, pause: float = 0.0, total: int = TOTAL, **options: Any) -> None:
    """Write the images that are missing; end the process at once after `stop` of them."""
    content = batch(total)
    rows = batch_rows(content)
    with FolderWriter(out, INFO, total, **options) as writer:
        for count, index in enumerate(writer.missing(range(total))):
            if count == stop:
                os._exit(0)
            writer.write(index, f"{index:03}", content["image"][index], rows[index])
            time.sleep(pause)
        if stop is not None:
            os._exit(0)


def in_a_fork(action: Callable[[], None]) -> int:
    """Run `action` in a child process; its id."""
    child = os.fork()
    if child == 0:
        try:
            action()
        finally:
            os._exit(1)
    return child


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("metadata_format", ["jsonl", "parquet", "csv"])
def test_reads_back_to_the_same_bits(tmp_path: Path, metadata_format: str) -> None:
    fill(tmp_path, metadata_format=metadata_format)
    expected = batch()
    found = ImageFolder(tmp_path).read(range(TOTAL))
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(found[key].to(value.dtype), value), key
    manifest = json.loads((tmp_path / "dataset.json").read_text())
    assert manifest == {**INFO, "format": "png", "metadata": f"metadata.{metadata_format}", "num_images": TOTAL}
    assert sorted(path.name for path in tmp_path.iterdir() if path.name[0] == ".") == []


@pytest.mark.parametrize("metadata_format", ["jsonl", "parquet", "csv"])
def test_hugging_face_opens_it(tmp_path: Path, metadata_format: str) -> None:
    fill(tmp_path / "set", metadata_format=metadata_format)
    loaded = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "set"), split="train", cache_dir=str(tmp_path / "cache")
    )
    expected = batch()
    assert len(loaded) == TOTAL
    for index, row in enumerate(loaded):
        assert np.array_equal(np.asarray(row["image"]), (expected["image"][index, 0] * 255).round())
        assert np.array_equal(np.asarray(row["mask"]), expected["mask"][index])
        assert np.array_equal(np.asarray(row["depth"]), expected["depth"][index])
        assert row["target"].size == (8, 6)
        assert np.float32([row["gaze_pitch"], row["gaze_yaw"]]).tolist() == expected["gaze"][index].tolist()
        outline = json.loads(row["iris_outline"]) if metadata_format == "csv" else row["iris_outline"]
        assert np.float32(outline).tolist() == expected["iris_outline"][index].tolist()
        assert row["side"] == index % 2


@pytest.mark.parametrize("stop", range(TOTAL + 1))
def test_killed_at_any_image(tmp_path: Path, stop: int) -> None:
    fill(tmp_path / "straight")
    os.waitpid(in_a_fork(lambda: fill(tmp_path / "killed", stop)), 0)
    assert stop == TOTAL or "is not finished" in message(lambda: ImageFolder(tmp_path / "killed"))
    fill(tmp_path / "killed")
    assert tree(tmp_path / "killed") == tree(tmp_path / "straight")


def test_killed_at_random_moments(tmp_path: Path) -> None:
    moments = random.Random(0)
    for _ in range(5):
        child = in_a_fork(lambda: fill(tmp_path / "killed", total=60, pause=0.001))
        time.sleep(moments.uniform(0, 0.08))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    fill(tmp_path / "killed", total=60)
    fill(tmp_path / "straight", total=60)
    assert tree(tmp_path / "killed") == tree(tmp_path / "straight")


def test_a_torn_journal_and_empty_files(tmp_path: Path) -> None:
    fill(tmp_path / "straight")
    os.waitpid(in_a_fork(lambda: fill(tmp_path / "killed", total=40, stop=40)), 0)
    os.waitpid(in_a_fork(lambda: fill(tmp_path / "torn", stop=7, workers=1)), 0)
    journal = tmp_path / "torn" / ".journal"
    rows = batch_rows(batch())[:3]
    heading = journal.read_text().splitlines()[0]  # how many rows came before the end is a matter of luck
    assert json.loads(heading)["format"] == "png"
    with open(journal, "w") as file:
        file.write(heading + "\n")
        for index, row in enumerate(rows):
            plain = {key: value for key, value in row.items() if not isinstance(value, torch.Tensor)}
            file.write(json.dumps({"index": index, "row": {"file_name": f"{index:03}.png", **plain}}) + "\n")
        file.write('{"index": 3, "row": {"file')
    (tmp_path / "torn" / "001.png").write_bytes(b"")
    (tmp_path / "torn" / ".004.png.99.partial").write_bytes(b"half")
    with FolderWriter(tmp_path / "torn", INFO, TOTAL) as writer:
        assert 1 not in writer.done and 3 not in writer.done
        raise_nothing = writer.missing(range(TOTAL))
        assert 1 in raise_nothing
    assert not list((tmp_path / "torn").glob(".*.partial"))


def test_an_exception_keeps_what_is_done(tmp_path: Path) -> None:
    content = batch()
    with pytest.raises(KeyError), FolderWriter(tmp_path / "a", INFO, TOTAL) as writer:
        writer.write(2, "002", content["image"][2], batch_rows(content)[2])
        raise KeyError
    with FolderWriter(tmp_path / "a", INFO, TOTAL) as writer:
        assert writer.done == {2} and writer.missing(range(4)) == [0, 1, 3]
    fill(tmp_path / "a")
    fill(tmp_path / "b")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_a_finished_folder(tmp_path: Path) -> None:
    fill(tmp_path)
    before = tree(tmp_path)
    fill(tmp_path)
    assert tree(tmp_path) == before
    assert "holds 7 images already" in message(lambda: fill(tmp_path, total=3))
    assert "exists already" in message(lambda: fill(tmp_path, resume=False))
    with FolderWriter(tmp_path, {**INFO, "command": "make it again"}, TOTAL) as writer:
        assert len(writer.done) == TOTAL


def test_a_finished_folder_may_grow(tmp_path: Path) -> None:
    content = {key: value for key, value in batch(9).items() if key in ("image", "side")}
    rows = batch_rows(content)
    for out, totals in (("grown", (4, 9)), ("straight", (9,))):
        for total in totals:
            with FolderWriter(tmp_path / out, INFO, total) as writer:
                for index in writer.missing(range(total)):
                    writer.write(index, f"{index}", content["image"][index], rows[index])
    assert tree(tmp_path / "grown") == tree(tmp_path / "straight")


def test_other_settings_are_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    text = message(lambda: FolderWriter(tmp_path, {**INFO, "seed": 2}, TOTAL))
    assert "was made with another seed (1, now 2)" in text
    assert "another format" in message(lambda: FolderWriter(tmp_path, INFO, TOTAL, image_format="jpg"))
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("")
    assert "holds other files" in message(lambda: FolderWriter(other, INFO, TOTAL))
    assert "not known" in message(lambda: FolderWriter(tmp_path, INFO, TOTAL, image_format="gif"))


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with FolderWriter(tmp_path, INFO, TOTAL):
        assert "another process is writing" in message(lambda: FolderWriter(tmp_path, INFO, TOTAL))
    fill(tmp_path)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("victim", ["003.png", "metadata.jsonl", ".journal"])
def test_a_disk_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, victim: str) -> None:
    true_open = builtins.open

    def failing(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        if victim in str(file) and mode[0] in "wa":
            raise OSError(code, os.strerror(code))
        return true_open(file, mode, *args, **options)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(builtins, "open", failing)
        patch.setattr(Path, "write_bytes", lambda self, data: failing(self, "wb").write(data))
        text = message(lambda: fill(out))
    assert str(out) in text and ("disk is full" in text or "read-only" in text)
    fill(out)
    fill(tmp_path / "straight")
    assert tree(out) == tree(tmp_path / "straight")


def test_out_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "file" in message(lambda: FolderWriter(tmp_path / "file", INFO, 1))
    assert "file" in message(lambda: FolderWriter(tmp_path / "file" / "below", INFO, 1))
    if os.geteuid() != 0:
        tmp_path.chmod(0o500)
        assert "permission" in message(lambda: FolderWriter(tmp_path / "below", INFO, 1))


@pytest.mark.parametrize("name", ["../a", "/a", "a/../b", "a//b", "a\0b", ""])
def test_names_that_climb_out(tmp_path: Path, name: str) -> None:
    with FolderWriter(tmp_path, INFO, 1) as writer, pytest.raises(ValueError):
        writer.write(0, name, torch.zeros(1, 2, 2), {})


def test_two_images_of_one_name(tmp_path: Path) -> None:
    with FolderWriter(tmp_path, INFO, 3) as writer:
        writer.write(0, "a", torch.zeros(1, 2, 2), {})
        assert "both be called 'a.png'" in message(lambda: writer.write(1, "a.png", torch.zeros(1, 2, 2), {}))
        with pytest.raises(ValueError, match="sets the file names"):
            writer.write(2, "b", torch.zeros(1, 2, 2), {"mask_file_name": "a.png"})
    with FolderWriter(tmp_path, INFO, 3) as writer:
        assert "both be called" in message(lambda: writer.write(2, "a", torch.zeros(1, 2, 2), {}))


def test_names_with_newlines(tmp_path: Path) -> None:
    with FolderWriter(tmp_path, INFO, 1) as writer:
        writer.write(0, "a\nb", torch.zeros(1, 2, 2), {"text": "ä\n"})
    assert ImageFolder(tmp_path).rows == [{"file_name": "a\nb.png", "text": "ä\n"}]


@pytest.mark.parametrize(
    "image", [torch.full((1, 2, 2), float("nan")), torch.zeros(2, 2), torch.zeros(2, 2, 2), torch.zeros(1, 2, 2).long()]
)
def test_what_is_no_picture(tmp_path: Path, image: torch.Tensor) -> None:
    with pytest.raises(ValueError), FolderWriter(tmp_path, INFO, 1) as writer:
        writer.write(0, "a", image, {})


@pytest.mark.parametrize(("image_format", "channels", "step"),
                         [("png", 4, 255), ("png16", 1, 65535), ("tiff", 5, 0), ("tiff", 3, 0), ("npy", 13, 0),
                          ("jpg", 3, 20)])  # fmt: skip
def test_formats(tmp_path: Path, image_format: str, channels: int, step: int) -> None:
    images = torch.linspace(0, 1, 2 * channels * 14 * 15).reshape(2, channels, 14, 15)
    with FolderWriter(tmp_path, INFO, 2, image_format=image_format) as writer:
        for index in range(2):
            writer.write(index, f"{index}", images[index], {"side": index})
    found = ImageFolder(tmp_path).read([0, 1])
    torch.testing.assert_close(found["image"], images, rtol=0, atol=0.51 / step if step else 0)


def test_missing_numbers_are_null(tmp_path: Path) -> None:
    rows = batch_rows({"gaze": torch.tensor([[float("nan"), 0.1]]), "side": torch.tensor([True])})
    assert rows == [{"gaze_pitch": None, "gaze_yaw": 0.1, "side": True}]
    with FolderWriter(tmp_path, INFO, 1) as writer:
        writer.write(0, "a", torch.zeros(1, 2, 2), rows[0])
    assert "row 1" in message(lambda: ImageFolder(tmp_path).require("gaze"))


def test_images_that_are_left_out_leave_a_whole_folder(tmp_path: Path) -> None:
    """Interrupted or not, extended or not, the same files; what was left out is not asked for again."""
    content, rows = batch(), batch_rows(batch())

    def go_on(out: Path, indices: list[int], total: int = TOTAL) -> None:
        with FolderWriter(out, INFO, total) as writer:
            for index in writer.missing(indices):
                if index in (0, 3, 6):
                    writer.skip(index)
                else:
                    writer.write(index, f"{index:03}", content["image"][index], rows[index])

    go_on(tmp_path / "a", list(range(TOTAL)))
    for indices in ([0, 1, 5], [3], list(range(TOTAL)), list(range(TOTAL))):
        go_on(tmp_path / "b", indices)
    go_on(tmp_path / "c", list(range(5)), total=5)
    go_on(tmp_path / "c", list(range(TOTAL)))
    for out in (tmp_path / "a", tmp_path / "b", tmp_path / "c"):
        folder = ImageFolder(out)
        assert folder.names == ["001.png", "002.png", "004.png", "005.png"]
        assert len(list(out.glob("*.png"))) == 4
        record = json.loads((out / "dataset.json").read_text())
        assert (record["num_images"], record["dropped"]) == (4, [0, 3, 6])
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / other / name).read_bytes()
               for name in ("metadata.jsonl", "dataset.json") for other in "bc")
    with pytest.raises(UserError, match="every image was left out"), FolderWriter(tmp_path / "d", INFO, 1) as writer:
        writer.skip(0)
