"""The walk: processes every row of a job once, with any workers, into a folder or shards, and can be resumed.

A `Work` processes rows. The walk does the rest: it finds the missing rows and forms batches; it runs threads,
processes and clusters, the writers, their journals and the progress bar.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch

from migaki.core import engine
from migaki.core.files import refuse_strangers
from migaki.core.progress import Bar
from migaki.data.writers.formats import Format, Writer, open_writer
from migaki.data.writers.record import Record

_MAX_LANES = 8  # batches at a time: each keeps its activations in memory


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputJob:
    """The output folder, its format, and the number of workers."""

    GROUPS: ClassVar[dict[str, str]] = {"usual": "format", "run": "resume shard workers engine address"}

    out: Path  # the folder to write; an unfinished one is continued
    resume: bool = True  # continue an unfinished folder
    format: Format = "folder"  # or shards: tar files (webdataset), Parquet files with the images inside
    shard: int = 1000  # images per shard
    workers: int = 1  # processes; 0 = one per core; any number gives the same bits
    engine: engine.Engine = "local"  # ray: on a cluster (extra migaki[ray])
    address: str | None = None  # of a running Ray cluster; none: one on this machine


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """The result of the row at `place`: one record for each part of the output, or None if the row is left out."""

    place: int
    records: tuple[Record | None, ...]
    notes: tuple[str, ...] = ()  # counted over all rows; `Work.summary` gets the counts


class Work(ABC):
    """The work on the rows of a job. Every process builds its own object from the same arguments."""

    name: str = "apply"  # label of the progress bar
    total: int = 0  # rows
    batch_size: int = 64  # rows processed together
    parts: tuple[str, ...] = ("",)  # folders below OUT, each a data set
    image_format: str = "png"  # used by the writers for pictures that they encode
    lanes: int = 0  # batches at a time in one process; 0 = one per core

    @property
    @abstractmethod
    def info(self) -> dict[str, Any]:
        """The record of what makes the images, for `dataset.json`: everything that decides the bits."""

    @abstractmethod
    def do(self, places: list[int]) -> list[Done]:
        """Read, process and encode the rows at these places; several threads call it at the same time."""

    def announcements(self) -> list[str]:
        """Returns lines to print before the first row."""
        return []

    def summary(self, notes: Counter[str], made: int) -> list[str]:
        """Returns lines to print at the end, from the notes of the `made` rows of this call."""
        return []


@dataclass(frozen=True, kw_only=True, slots=True)
class WalkTask(engine.Task[list[Done]]):
    """A work in another process, which returns encoded files instead of pixels."""

    build: Callable[..., Work]
    arguments: tuple[Any, ...]
    threads: int  # of PyTorch: as many as in the calling process, because sums are split between them
    more: tuple[type[Any], ...] = field(default=())

    def open(self) -> Callable[[list[int]], list[Done]]:
        """Build the work."""
        torch.set_num_threads(self.threads)
        return self.build(*self.arguments).do


def walk(build: Callable[..., Work], arguments: tuple[Any, ...], job: OutputJob, *, command: str = "",
         quiet: bool = False, report: Callable[[int, int], None] | None = None) -> Work:
    """Do the work `build(*arguments)` and write its results to `job.out`; returns the work.

    Batches begin at multiples of `batch_size` even after an interruption, because networks round differently in
    batches of another size. `report` is called with (done, total) after each batch. Raises UserError from the work, and
    for a folder that holds something else.
    """
    engine.check(job.workers, job.engine, job.address)
    work = build(*arguments)
    info = {"command": command, **work.info}
    with ExitStack() as stack:
        if work.parts != ("",):
            stack.enter_context(_in_parts(job.out, {part.split("/")[0] for part in work.parts}))
        writers = [stack.enter_context(open_writer(job.format, job.out / part, info, work.total, resume=job.resume,
                                                   shard=job.shard, image_format=work.image_format))
                   for part in work.parts]
        chunks, left = _chunks(writers, work)
        notes: Counter[str] = Counter()
        bar = stack.enter_context(Bar(work.name, work.total, work.total - sum(left.values()), quiet))
        if report is not None:
            report(bar.done, work.total)
        for line in work.announcements():
            bar.message(line)
        for chunk, results in _results(build, arguments, work, job, chunks):
            for number, writer in enumerate(writers):
                writer.write_all([(done.place, done.records[number]) for done in results])
            notes.update(note for done in results for note in done.notes)
            bar.advance(left[chunk[0]])
            if report is not None:
                report(bar.done, work.total)
        for line in work.summary(notes, sum(map(len, chunks))) if not quiet else ():
            bar.message(line)
    return work


@contextmanager
def _in_parts(out: Path, parts: set[str]) -> Iterator[None]:
    """UserError if `out` holds anything but these folders; it is removed again if it is left empty."""
    was_there = out.exists()
    refuse_strangers(out, parts)
    try:
        yield
    finally:
        if not was_there:
            with suppress(OSError):
                out.rmdir()


def _chunks(writers: list[Writer], work: Work) -> tuple[list[list[int]], dict[int, int]]:
    """Returns the batches with missing rows, and the number of missing rows by first place of a batch."""
    missing = set[int]().union(*(writer.missing(range(work.total)) for writer in writers))
    chunks = [list(range(start, min(start + work.batch_size, work.total)))
              for start in range(0, work.total, work.batch_size)]
    left = {chunk[0]: sum(place in missing for place in chunk) for chunk in chunks}
    return [chunk for chunk in chunks if left[chunk[0]]], left


def _results(build: Callable[..., Work], arguments: tuple[Any, ...], work: Work, job: OutputJob,
             chunks: list[list[int]]) -> Iterator[tuple[list[int], list[Done]]]:
    """Yields the results of each batch, from threads of this process or from workers."""
    lanes, threads = _lanes(work.lanes)
    if job.workers != 1 or job.engine != "local":
        task = WalkTask(build=build, arguments=arguments, threads=threads)
        yield from engine.work(task, chunks, workers=job.workers, engine=job.engine, address=job.address)
        return
    with _torch_threads(threads):
        yield from _in_threads_ahead(work.do, chunks, lanes)


def _lanes(wanted: int) -> tuple[int, int]:
    """Returns the number of batches to process at a time, and PyTorch's threads for each.

    With one thread per batch, from reading to encoding, all cores are busy. Threads that share a batch would wait for
    each other at every layer, especially while others decode. One thread also gives the same bits on all machines of up
    to `_MAX_LANES` cores, because PyTorch's sums may depend on the number of threads.
    """
    threads = torch.get_num_threads()
    lanes = min(threads, wanted or _MAX_LANES)
    return lanes, threads // lanes


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    """Set the number of threads for each operation of PyTorch, also in threads started inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _in_threads_ahead(do: Callable[[list[int]], list[Done]], chunks: list[list[int]],
                  lanes: int) -> Iterator[tuple[list[int], list[Done]]]:
    """Yields the chunks in order with the result of `do`, with `lanes` threads that each work at most one ahead."""
    pool = ThreadPoolExecutor(lanes, thread_name_prefix="walk")
    try:
        ahead: deque[tuple[list[int], Future[list[Done]]]] = deque()
        for chunk in chunks:
            ahead.append((chunk, pool.submit(do, chunk)))
            if len(ahead) > 2 * lanes:
                first, future = ahead.popleft()
                yield first, future.result()
        for first, future in ahead:
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)
