"""Batches are a function of (seed, step), whatever the memory, the workers and the processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_pictures import picture, save

from migaki.core.batch import Batch
from migaki.core.errors import UserError
from migaki.data.batches.source import FolderSource, PairedSource
from migaki.data.folder import ImageFolder


def equal(a: Batch, b: Batch) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) and a[key].dtype == b[key].dtype for key in a)


def test_pure_in_seed_and_step(labelled: Path) -> None:
    folder = ImageFolder(labelled)
    source = FolderSource(folder, 5, seed=1)
    forward = [source.batch(step) for step in range(7)]
    fresh = FolderSource(ImageFolder(labelled), 5, seed=1)
    for step in (6, 0, 3, 3):
        assert equal(fresh.batch(step), forward[step])
    assert not equal(FolderSource(folder, 5, seed=2).batch(0), forward[0])


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_streaming_gives_the_same_bits(labelled: Path, workers: int) -> None:
    memory = FolderSource(ImageFolder(labelled), 5, seed=1)
    stream = FolderSource(ImageFolder(labelled), 5, seed=1, memory_limit=0, workers=workers)
    assert all(equal(memory.batch(step), stream.batch(step)) for step in (0, 1, 2, 9, 8, 0))


def test_mixed_depths_give_the_same_bits(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(24, dtype=np.uint16).reshape(4, 6) * 2000)
    save(tmp_path / "b.png", picture(1))
    for name in ("c.npy", "d.npy"):
        memory = FolderSource(ImageFolder(tmp_path), 3, seed=0)
        stream = FolderSource(ImageFolder(tmp_path), 3, seed=0, memory_limit=0)
        assert equal(memory.batch(0), stream.batch(0))
        np.save(tmp_path / name, np.random.default_rng(0).random((4, 6)))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 2**40))
def test_every_epoch_holds_every_image_once(count: int, batch_size: int, seed: int) -> None:
    class Names(ImageFolder):
        def __init__(self) -> None:
            self.names = ["x"] * count

        keys = ()

    source = FolderSource(Names(), batch_size, seed, keys=())
    steps = -(-3 * count // batch_size)
    order = np.concatenate([source.indices(step) for step in range(steps)])
    for epoch in range(3):
        assert sorted(order[epoch * count : (epoch + 1) * count]) == list(range(count))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(1, 10), st.integers(1, 3), st.integers(0, 2**40))
def test_a_distinct_batch_holds_no_image_twice(count: int, batch_size: int, world: int, seed: int) -> None:
    """Nor does that of all processes; an epoch leaves out what fills no batch, and no image twice before its end."""
    class Names(ImageFolder):
        def __init__(self) -> None:
            self.names = ["x"] * count

        keys = ()

    def opened(rank: int) -> FolderSource:
        return FolderSource(Names(), batch_size, seed, keys=(), shard=(rank, world), distinct=True)

    per_epoch = count // (batch_size * world)
    if not per_epoch:
        with pytest.raises(ValueError, match="do not fill a batch"):
            opened(0)
        return
    parts = [opened(rank) for rank in range(world)]
    steps = [np.concatenate([part.indices(step) for part in parts]) for step in range(3 * per_epoch)]
    for epoch in range(3):
        seen = np.concatenate(steps[epoch * per_epoch : (epoch + 1) * per_epoch])
        assert len(set(seen.tolist())) == len(seen) == per_epoch * batch_size * world
    last = len(steps) - 1
    assert opened(0).indices(last).tolist() == steps[last][:batch_size].tolist()  # of a source that comes back


def test_shards_make_the_global_batch(labelled: Path) -> None:
    folder = ImageFolder(labelled)
    whole = FolderSource(folder, 6, seed=3)
    parts = [FolderSource(folder, 2, seed=3, shard=(rank, 3)) for rank in range(3)]
    for step in range(5):
        assert np.concatenate([part.indices(step) for part in parts]).tolist() == whole.indices(step).tolist()


def test_keys_rename_and_pairs(labelled: Path) -> None:
    folder = ImageFolder(labelled)
    real = FolderSource(folder, 4, 0, keys=["image"], rename={"image": "real"})
    both = PairedSource(FolderSource(folder, 4, 1, keys=["image", "gaze"]), real)
    batch = both.batch(2)
    assert list(batch) == ["image", "gaze", "real"] and equal({"real": batch["real"]}, real.batch(2))
    with pytest.raises(ValueError, match="two sources deliver 'real'"):
        PairedSource(real, real).batch(0)
    with pytest.raises(UserError, match="has no label 'joints'"):
        FolderSource(folder, 4, 0, keys=["image", "joints"])
    with pytest.raises(UserError, match="no 'gaze' to rename"):
        FolderSource(folder, 4, 0, keys=["image"], rename={"gaze": "target"})


def test_a_damaged_image_is_named(labelled: Path) -> None:
    (labelled / "4.png").write_bytes((labelled / "4.png").read_bytes()[:60])
    with pytest.raises(UserError, match=r"4\.png: damaged"):
        FolderSource(ImageFolder(labelled, size=(4, 6), channels=1), 4, 0)
    with pytest.raises(UserError, match=r"4\.png: damaged"):
        FolderSource(ImageFolder(labelled), 12, 0, memory_limit=0, workers=2).batch(0)
