"""simulate: renders labelled images into a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import torch

from migaki import __version__
from migaki.core import engine
from migaki.core.batch import Batch
from migaki.core.config import to_dict
from migaki.core.errors import UserError
from migaki.core.files import write_alone
from migaki.core.progress import Bar
from migaki.core.simulator import Simulator
from migaki.data.sets.contents import all_contents
from migaki.data.sets.labels import batch_rows
from migaki.data.walk import OutputJob
from migaki.data.writers.formats import open_writer
from migaki.data.writers.record import Plan, Record, plan

_CHUNK = 128  # images rendered at once: enough to keep every core busy, few enough to save memory
_SHARE = 64  # the same for several processes: smaller, so that none waits long for the last one


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulateJob(OutputJob):
    """How many images to render, and into which folder."""

    GROUPS: ClassVar[dict[str, str]] = {"usual": "count seed"}

    count: int = 1000  # images
    seed: int = 0  # image i of a seed is always the same


@dataclass(frozen=True, kw_only=True, slots=True)
class Render(engine.Task[list[tuple[int, Record]]]):
    """Renders the images of given indices with their rows, encoded: processes exchange file contents, not pixels."""

    kind: Callable[[Any], Simulator]
    config: Any
    seed: int
    threads: int  # of PyTorch; limited, so that several processes do not each claim all cores

    def open(self) -> Callable[[list[int]], list[tuple[int, Record]]]:
        """Build the simulator."""
        torch.set_num_threads(self.threads)
        simulator = self.kind(self.config)
        return lambda indices: [(index, planned.encode("png")) for index, planned in _planned(
            simulator, self.seed, indices, simulator.render(self.seed, indices))]


def simulate(name: str, simulator: Simulator, job: SimulateJob, *, command: str = "", quiet: bool = False) -> Path:
    """Render `job.count` images of `simulator` (called `name`) with their labels into the folder `job.out`.

    An interrupted run continues where it stopped and yields the same files, with any number of workers. Raises
    UserError if the folder holds something else.
    """
    if job.count < 1:
        raise UserError(f"--count {job.count}: give the number of images, at least 1")
    engine.check(job.workers, job.engine, job.address)
    info: dict[str, Any] = {
        "command": command, "simulator": name, "config": portable(to_dict(simulator.config)), "seed": job.seed,
        "version": __version__, "licence": "made by migaki; textures under the licence of their assets, if any",
        **simulator.names,
    }
    if held := _held(simulator.config):
        info["contents"] = held
    alone = job.workers == 1 and job.engine == "local"
    with open_writer(job.format, job.out, info, job.count, resume=job.resume, shard=job.shard) as writer:
        left = writer.missing(range(job.count))
        size = _CHUNK if alone else _SHARE
        chunks = [left[start : start + size] for start in range(0, len(left), size)]
        with Bar(f"simulate {name}", job.count, job.count - len(left), quiet) as bar:
            if alone:
                for indices, batch in _ahead(simulator, job.seed, chunks):
                    writer.write_all(_planned(simulator, job.seed, indices, batch))
                    bar.advance(len(indices))
            else:
                threads = max(1, engine.cores() // (job.workers or engine.cores()))
                task = Render(kind=type(simulator), config=simulator.config, seed=job.seed, threads=threads)
                for chunk, records in engine.work(task, chunks, workers=job.workers, engine=job.engine,
                                                  address=job.address):
                    writer.write_all(records)
                    bar.advance(len(chunk))
    for file, content in simulator.files(job.seed, job.count).items():
        write_alone(job.out / file, content)
    return job.out


def _ahead(simulator: Simulator, seed: int, chunks: Iterable[list[int]]) -> Iterator[tuple[list[int], Batch]]:
    """Yield the images of each chunk, while a thread renders the next chunk (renderers release Python's lock)."""
    waiting: tuple[list[int], Future[Batch]] | None = None
    with ThreadPoolExecutor(1) as pool:
        for indices in chunks:
            following = indices, pool.submit(simulator.render, seed, indices)
            if waiting is not None:
                yield waiting[0], waiting[1].result()
            waiting = following
        if waiting is not None:
            yield waiting[0], waiting[1].result()


def _planned(simulator: Simulator, seed: int, indices: list[int], batch: Batch) -> list[tuple[int, Plan]]:
    """Returns the images of a batch with their names and rows."""
    images = batch.pop("image")
    rows = batch_rows(batch) if batch else [{} for _ in indices]  # a stand-in camera may have no labels
    texts = simulator.texts(seed, indices)
    return [(index, plan(f"{index:06d}", image, row | words, "png"))
            for index, image, row, words in zip(indices, images, rows, texts, strict=True)]


def _held(config: Any) -> dict[str, str]:
    """Returns digests of the files and folders that a simulator's configuration names, such as its assets."""
    places = {field.name: getattr(config, field.name) for field in fields(config)}
    return {name: all_contents(path) for name, path in places.items() if isinstance(path, Path) and path.exists()}


def portable(config: dict[str, Any]) -> dict[str, Any]:
    """Returns a simulator's configuration without the fields that only affect how it is computed."""
    return {key: value for key, value in config.items() if key != "threads"}
