"""Trains the blocks of a scene, each a run of its own, in one process or several, to the same bits."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from migaki.core.engine import Task, cores, work
from migaki.core.errors import Interrupted, UserError
from migaki.core.files import make_folder
from migaki.core.fit import Run, fit
from migaki.core.log import read_rows
from migaki.core.notices import notice
from migaki.core.progress import Bar
from migaki.core.seeds import fold
from migaki.core.system import data_paths
from migaki.data.sets.contents import contents_of
from migaki.systems.parts.posed_views import PosedPictures
from migaki.systems.voxel_block import VoxelBlock

_LOOKS = 2.0  # seconds between looks at the logs of blocks that other processes train


def train_blocks(configs: Sequence[VoxelBlock.Config], data: Any, run: Run, out: Path, quiet: bool) -> None:
    """Train block k into `out`/k, or go on where it was stopped; `data` says where the pictures are and who trains.

    Raises Interrupted when asked to stop; what blocks have learned is kept in their checkpoints.
    """
    run = replace(run, logger=(), tensorboard=False, keep_every=0, sample_every=0)
    make_folder(out)
    pictures = PosedPictures(data=data.data)
    if data.workers == 1 and data.engine == "local":
        for number, config in enumerate(configs):
            if not quiet:
                notice(f"block {number + 1} of {len(configs)}, {out / str(number)}")
            train_block(config, pictures, run, out / str(number), quiet)
        return
    count = min(len(configs), data.workers or cores())
    task = Blocks(configs=tuple(configs), data=pictures, run=run, out=out, threads=max(1, cores() // count))
    chunks = [[number] for number in range(len(configs))]
    with _asked_to_stop(), _told(configs, out, quiet):
        for (number,), finished in work(task, chunks, workers=data.workers, engine=data.engine, address=data.address):
            if not finished:
                raise Interrupted(f"block {number} was stopped: run the same command again to go on")


def train_block(config: VoxelBlock.Config, data: PosedPictures, run: Run, out: Path, quiet: bool) -> None:
    """Train one block into `out`, or go on; as `migaki train voxel_block` does, without the report."""
    config, source = VoxelBlock.open(data, config, run.seed)
    torch.manual_seed(fold(run.seed, 0))
    system = VoxelBlock(config)
    system.prepare(data)
    fit(system, source, run, make_folder(out), data=data, contents=contents_of(data_paths(data)), quiet=quiet)


@dataclass(frozen=True, kw_only=True)
class Blocks(Task[bool]):
    """The trainings, for other processes."""

    noun = "blocks"

    configs: tuple[VoxelBlock.Config, ...]
    data: PosedPictures
    run: Run
    out: Path
    threads: int  # of each process; they change no bit

    def open(self) -> Callable[[list[int]], bool]:
        """Returns what trains the one block of a chunk; false where it was asked to stop."""
        torch.set_num_threads(self.threads)
        return self._train

    def _train(self, chunk: list[int]) -> bool:
        try:
            train_block(self.configs[chunk[0]], self.data, self.run, self.out / str(chunk[0]), quiet=True)
        except Interrupted:
            return False
        return True


@contextmanager
def _asked_to_stop() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that other processes are stopped and waited for."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted("stopped while blocks were trained: run the same command again to go on") from error
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _told(configs: Sequence[VoxelBlock.Config], out: Path, quiet: bool) -> Iterator[None]:
    """Show how far the blocks are, by their logs, while other processes train them."""
    total, done = sum(config.steps for config in configs), _steps_done(len(configs), out)
    stop = threading.Event()
    with Bar(f"train {len(configs)} blocks", total, done, quiet) as bar:
        def look() -> None:
            while not stop.wait(_LOOKS):
                bar.advance(max(0, _steps_done(len(configs), out) - bar.done))

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            bar.advance(max(0, _steps_done(len(configs), out) - bar.done))


def _steps_done(count: int, out: Path) -> int:
    """The updates that blocks have logged."""
    done = 0
    for number in range(count):
        path = out / str(number) / "metrics.jsonl"
        if os.path.lexists(path):
            try:
                rows = read_rows(path)
            except (OSError, UserError):  # being written
                continue
            done += int(rows[-1]["step"]) if rows else 0
    return done
