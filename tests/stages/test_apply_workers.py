"""apply by workers, from shards and to shards: the same bits as one process from and to a plain folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_folders import write_folder

from migaki.core.fit import Run
from migaki.data.files.png import decode_png
from migaki.data.folder import ImageFolder
from migaki.data.writers.formats import Format, open_writer
from migaki.data.writers.record import plan
from migaki.stages.apply import ApplyJob, apply
from migaki.stages.system_work import SystemWork
from migaki.stages.train import train
from migaki.systems.gaze import Gaze
from migaki.systems.simgan import SimGAN

pytestmark = pytest.mark.usefixtures("warm_processes")
RUN = Run(device="cpu", precision="fp32", log_every=1, sample_every=0)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A refiner, a gaze model, and the folder they saw: plain and as shards."""
    root = tmp_path_factory.mktemp("apply")
    plain = write_folder(root / "plain", 9, (24, 40))
    config = replace(SimGAN.tiny()[0], channels=0, height=0, width=0, shortcut=False, ema=0.9, steps=2)
    train(SimGAN, SimGAN.Data(synthetic=plain, real=plain), config, RUN, root / "simgan", quiet=True)
    gaze = replace(Gaze.tiny()[0], channels=0, height=0, width=0, steps=2)
    train(Gaze, Gaze.Data(data=(plain,)), gaze, RUN, root / "gaze", quiet=True)
    folder, forms = ImageFolder(plain), list[Format](("webdataset", "parquet"))
    for form in forms:
        with open_writer(form, root / form, {}, len(folder), shard=4) as writer:
            for index in range(len(folder)):
                row = dict(folder.rows[index])
                writer.write_plan(index, plan(row.pop("file_name"), torch.from_numpy(folder.decode(index)), row, "png"))
    return root


def job(root: Path, out: Path, **more: Any) -> ApplyJob:
    return ApplyJob(**{"input": root / "plain", "out": out, "batch_size": 2, "device": "cpu", "precision": "fp32",
                       **more})


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("name", ["simgan", "gaze"])
def test_two_workers_write_the_same_bits(name: str, root: Path, tmp_path: Path) -> None:
    one = apply(root / name, job(root, tmp_path / "one"), quiet=True)
    assert tree(apply(root / name, job(root, tmp_path / "two", workers=2), quiet=True)) == tree(one)


@pytest.mark.parametrize("name", ["simgan", "gaze"])
def test_pieces_of_a_batch_are_the_batch(name: str, root: Path, tmp_path: Path,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU a network is given few images at once, whatever the batch; the last piece may be smaller."""
    wanted, seen = {}, []
    for pixels in (2**30, 2 * 24 * 40):  # 9 images at once, and 2, 2, 2, 2, 1
        monkeypatch.setattr("migaki.stages.system_work._PIECE", pixels)
        work = SystemWork(root / name, job(root, tmp_path, batch_size=9))
        predict = work.system.predict
        work.system.predict = lambda batch, known=predict: seen.append(len(batch["image"])) or known(batch)
        wanted[pixels] = [done.records[0] for done in work.do(list(range(9)))]
    assert seen == [9, 2, 2, 2, 2, 1]
    for whole, cut in zip(*wanted.values(), strict=True):
        assert whole is not None and cut is not None and whole.row.keys() == cut.row.keys()
        first, other = (decode_png(record.files[0][1], 2**20) for record in (whole, cut))
        assert first is not None and other is not None
        assert abs(first.astype(int) - other.astype(int)).max() <= 1
        read = [key for key in whole.row if key.startswith("predicted_")]
        assert bool(read) == (name == "gaze")
        for key in read:
            assert cut.row[key] == pytest.approx(whole.row[key], abs=1e-5)


def test_any_number_of_threads_writes_the_same_bits(root: Path, tmp_path: Path) -> None:
    before, trees = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            trees.append(tree(apply(root / "simgan", job(root, tmp_path / str(threads)), quiet=True)))
            assert torch.get_num_threads() == threads  # the caller's number is put back
    finally:
        torch.set_num_threads(before)
    assert trees[0] == trees[1]


@pytest.mark.parametrize("form", ["webdataset", "parquet"])
def test_from_shards_and_to_shards(form: Format, root: Path, tmp_path: Path) -> None:
    plain = ImageFolder(apply(root / "simgan", job(root, tmp_path / "plain"), quiet=True))
    made = apply(root / "simgan", job(root, tmp_path / form, input=root / form, format=form, shard=5), quiet=True)
    sharded = ImageFolder(made)
    assert sharded.names == plain.names and list(sharded.rows) == list(plain.rows)
    assert torch.equal(sharded.read(range(9), ("image",))["image"], plain.read(range(9), ("image",))["image"])
    record = json.loads((made / "dataset.json").read_text())
    assert record["num_images"] == 9 and record["parent_fingerprint"] == ImageFolder(root / form).fingerprint


def test_interrupted_anywhere_it_is_the_same_bits(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also within a batch: its images are made in the company that they would have had."""
    whole = tree(apply(root / "gaze", job(root, tmp_path / "whole", batch_size=4), quiet=True))
    batches: list[int] = []
    predict = Gaze.predict

    def counted(self: Gaze, batch: Any) -> Any:
        batches.append(len(batch["image"]))
        return predict(self, batch)

    class Stop(Exception):
        pass

    from migaki.data.writers.writer import FolderWriter

    write = FolderWriter.write_all

    def stopping(self: FolderWriter, images: Any) -> None:
        for index, image in images:
            if index == 6:
                raise Stop
            write(self, [(index, image)])

    monkeypatch.setattr(FolderWriter, "write_all", stopping)
    with pytest.raises(Stop):
        apply(root / "gaze", job(root, tmp_path / "out", batch_size=4), quiet=True)
    monkeypatch.setattr(FolderWriter, "write_all", write)
    monkeypatch.setattr(Gaze, "predict", counted)
    apply(root / "gaze", job(root, tmp_path / "out", batch_size=4), quiet=True)
    assert tree(tmp_path / "out") == whole and batches == [4, 1]
