"""Fetches what a source has found into a collected folder, with threads, processes or a cluster."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from migaki.core import engine
from migaki.importers.collecting.collection import Collection
from migaki.importers.collecting.hosts import Hosts
from migaki.importers.collecting.picture import Picked, Wanted, pick

RETRIED = ("timeout", "dead", "busy", "no_room")
"""The statuses that `--retry failed` tries again: those that may be otherwise tomorrow."""

_CHUNK = 32  # URLs given to another process at a time

Result = tuple[int, Picked]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How fast the fetching goes."""

    threads: int = 16  # URLs at a time, in each process
    per_host: int = 4  # requests to one host at a time, of each process
    delay: float = 0.0  # s between the beginnings of two requests to one host


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchTask(engine.Task[list[Result]]):
    """Fetching in another process: chunks are places in `urls`."""

    urls: tuple[tuple[int, str], ...]  # (rank, URL)
    wanted: Wanted = field(default_factory=Wanted)
    pace: Pace = field(default_factory=Pace)

    def open(self) -> Callable[[list[int]], list[Result]]:
        """Returns the function that fetches a chunk."""
        return lambda chunk: list(fetch_all([self.urls[place] for place in chunk], self.wanted, self.pace))


def fetch_all(urls: Sequence[tuple[int, str]], wanted: Wanted, pace: Pace) -> Generator[Result]:
    """Yields (rank, result) of each (rank, URL) as it is ready. Left early, it starts no further request."""
    hosts, ready = Hosts(urls, pace.per_host, pace.delay), queue.SimpleQueue[Result | BaseException]()
    by_rank = dict(urls)

    def work() -> None:
        while (given := hosts.take()) is not None:
            rank, host = given
            try:
                ready.put((rank, pick(by_rank[rank], wanted)))
            except BaseException as error:
                ready.put(error)
            finally:
                hosts.done(host)

    # Daemons: Ctrl-C must not wait for a slow server.
    for number in range(min(pace.threads, len(urls))):
        threading.Thread(target=work, name=f"fetch-{number}", daemon=True).start()
    try:
        for _ in urls:
            result = ready.get()
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        hosts.close()


def fetch_into(collection: Collection, ranks: Sequence[int], wanted: Wanted, pace: Pace, *, workers: int = 1,
               where: engine.Engine = "local", address: str | None = None, most_bytes: int = 2**63,
               tell: Callable[[dict[str, Any]], None] = lambda line: None) -> None:
    """Fetch these ranks into the folder; `tell` gets each line of its journal.

    At the first picture that would make those of the folder larger than `most_bytes`, fetching ends, and all that is
    left gets the status `no_room`. Only this process writes; a killed worker costs the chunk that it had.
    """
    urls = tuple((rank, collection.found[rank - 1].url) for rank in ranks)
    used = sum((collection.out / state["file_name"]).stat().st_size for state in collection.states.values()
               if state["status"] == "ok")
    left = dict(urls)
    # Closed at once: whoever fetches must not go on while lines are written for what has no room.
    with closing(_results(urls if used < most_bytes else (), wanted, pace, workers, where, address)) as results:
        for rank, picked in results:
            used += len(picked.data)
            if used > most_bytes:
                break
            del left[rank]
            tell(collection.add(rank, picked))
    for rank in left:
        tell(collection.add(rank, Picked(status="no_room", reason="the folder would be larger than --most-mb")))


def _results(urls: tuple[tuple[int, str], ...], wanted: Wanted, pace: Pace, workers: int, where: engine.Engine,
             address: str | None) -> Generator[Result]:
    if workers == 1 and where == "local":
        yield from fetch_all(urls, wanted, pace)
        return
    chunks = [list(range(start, min(start + _CHUNK, len(urls)))) for start in range(0, len(urls), _CHUNK)]
    task = FetchTask(urls=urls, wanted=wanted, pace=pace)
    parts = engine.work(task, chunks, workers=workers, engine=where, address=address)
    for _, results in parts:
        yield from results
