"""Work on the chunks of a job: in this process's machine, or on a Ray cluster, with the same results.

Workers compute; only the calling process writes. If a worker dies, nothing is left half-done: its chunks go to another
worker, and no result arrives twice.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import itertools
import multiprocessing
import os
import signal
import traceback
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, ClassVar, Generic, Literal, TypeVar

from migaki.core import notices
from migaki.core.discovery import extend_shelves
from migaki.core.errors import UserError

T = TypeVar("T")
Chunk = list[int]
Engine = Literal["local", "ray"]
_NO_RAY = "--engine ray needs an extra: pip install 'migaki[ray]'"

_MAX_WORKERS = 2**12  # processes
_MAX_DEATHS = 3  # workers that may die on one chunk before the job is given up
_IN_FLIGHT = 2  # chunks per worker at a time: the next one is ready while the last results are sent


class Task(ABC, Generic[T]):
    """The work done on each chunk. It is sent to other processes, so its fields are plain values."""

    noun: ClassVar[str] = "images"  # what the numbers of a chunk count

    @abstractmethod
    def open(self) -> Callable[[Chunk], T]:
        """Called once in each worker; loads what is needed and returns the function that processes one chunk."""


def cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def check(workers: int, engine: Engine, address: str | None) -> None:
    """UserError for options that exclude each other."""
    if workers < 0:
        raise UserError(f"--workers {workers}: at least 1, or 0 for one per core")
    if workers > _MAX_WORKERS:
        raise UserError(f"--workers {workers:.0e}: at most {_MAX_WORKERS:,}, or 0 for one per core")
    if address is not None and engine != "ray":
        raise UserError("--address names a Ray cluster: add --engine ray")
    if engine == "ray" and importlib.util.find_spec("ray") is None:
        raise UserError(_NO_RAY)


def work(task: Task[T], chunks: Sequence[Chunk], *, workers: int = 1, engine: Engine = "local",
         address: str | None = None) -> Iterator[tuple[Chunk, T]]:
    """Yields each chunk once with its result, in the order of completion.

    Args:
        task: The work to do.
        chunks: Lists of indices.
        workers: Number of processes; 0 for one per core of this machine (or of the cluster).
        engine: `local` (processes of this machine) or `ray`.
        address: Of a running Ray cluster (`auto`, `ray://host:port`); None starts one on this machine.

    Raises:
        UserError: from a worker, unchanged; if workers keep dying on a chunk; if Ray is not installed.
    """
    check(workers, engine, address)
    if not chunks:
        return iter(())
    if engine == "ray":
        return _on_ray(task, chunks, workers, address)
    count = min(workers or cores(), len(chunks))
    return _in_processes(task, chunks, count)


def _given_up(task: Task[Any], chunk: Chunk) -> UserError:
    many = f"{task.noun} {chunk[0]} to {chunk[-1]}" if len(chunk) > 1 else f"{task.noun.removesuffix('s')} {chunk[0]}"
    return UserError(f"workers died {_MAX_DEATHS} times on {many} (killed, or out of memory?): run again with fewer "
                     "--workers; finished work is kept")


# ---------------------------------------------------------------------------------------------- this machine

@dataclass(eq=False)
class _Worker:
    process: Any
    pipe: Connection
    chunks: deque[int] = field(default_factory=deque)  # numbers of its chunks, the oldest first


def _in_processes(task: Task[T], chunks: Sequence[Chunk], count: int) -> Iterator[tuple[Chunk, T]]:
    """A pool of processes that replaces workers that die."""
    todo, deaths = deque(range(len(chunks))), [0] * len(chunks)
    crew: list[_Worker] = []
    try:
        while todo or any(worker.chunks for worker in crew):
            while len(crew) < min(count, len(crew) + len(todo)):
                crew.append(_start_worker(task, max(1, cores() // count)))
            while todo and (worker := min(crew, key=lambda one: len(one.chunks))) and len(worker.chunks) < _IN_FLIGHT:
                _send_chunk(worker, todo.popleft(), chunks)
            ready = wait([worker.pipe for worker in crew])
            for worker in [one for one in crew if one.pipe in ready]:
                try:
                    kind, value = worker.pipe.recv()
                except (EOFError, OSError):  # it has died: its chunks go to the front of the queue
                    crew.remove(worker)
                    worker.process.join()
                    for number in reversed(worker.chunks):
                        todo.appendleft(number)
                    for number in itertools.islice(worker.chunks, 1):
                        deaths[number] += 1
                        if deaths[number] >= _MAX_DEATHS:
                            raise _given_up(task, chunks[number]) from None
                    continue
                if kind == "user error":
                    raise UserError(value)
                if kind == "error":
                    raise RuntimeError(f"in a worker:\n{value}")
                yield chunks[worker.chunks.popleft()], value
    finally:
        for worker in crew:
            worker.pipe.close()
        for worker in crew:
            worker.process.terminate()
            worker.process.join()


def _start_worker(task: Task[Any], threads: int) -> _Worker:
    # A fork of this process would copy locks that threads of PyTorch hold. A fork server that has only imported
    # modules holds no locks, and all workers share its imports.
    context = multiprocessing.get_context("forkserver")
    kinds: list[Any] = [getattr(task, item.name) for item in fields(task)] if is_dataclass(task) else []
    context.set_forkserver_preload([type(task).__module__, *(k.__module__ for k in kinds if isinstance(k, type))])
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(_OwnShelves(), task, theirs, threads), daemon=True)
    process.start()
    theirs.close()  # so that the pipe closes when the worker dies
    return _Worker(process, ours)


def _send_chunk(worker: _Worker, number: int, chunks: Sequence[Chunk]) -> None:
    worker.chunks.append(number)
    with contextlib.suppress(OSError):  # it has died; `wait` will report that for its pipe
        worker.pipe.send(chunks[number])


class _OwnShelves:
    """Sent before the task: unpickling it in a worker makes the user's own modules importable (MIGAKI_PATH)."""

    def __reduce__(self) -> tuple[Callable[[str], str], tuple[str]]:
        return _open_shelves, (os.environ.get("MIGAKI_PATH", ""),)


def _open_shelves(path: str) -> str:
    if path:
        os.environ["MIGAKI_PATH"] = path
        extend_shelves()
    return path


def _serve(_: str, task: Task[Any], pipe: Connection, threads: int) -> None:
    """The main loop of a worker: receives chunks and sends results until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all processes; the calling process decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.setdefault("NUMBA_NUM_THREADS", str(threads))
    try:
        do = task.open()
        while True:
            pipe.send(("done", do(pipe.recv())))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except UserError as error:
        pipe.send(("user error", str(error)))
    except BaseException:
        pipe.send(("error", traceback.format_exc()))


# ---------------------------------------------------------------------------------------------- Ray

def _on_ray(task: Task[T], chunks: Sequence[Chunk], workers: int, address: str | None) -> Iterator[tuple[Chunk, T]]:
    """Runs Ray tasks, a few more in flight than there are workers; repeats the chunks of a dead worker."""
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise UserError(_NO_RAY) from error
    ours = not ray.is_initialized()
    if ours:
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            ray.init(address=address, num_cpus=None if address else workers or cores(), include_dashboard=False,
                     log_to_driver=False, logging_level="ERROR")
        except Exception as error:  # Ray also raises plain exceptions
            raise UserError(f"--engine ray: no cluster at {address or 'this machine'}: start one (`ray start --head`) "
                            f"or check --address ({' '.join(str(error).split())[:160]})") from error
    try:
        count = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        place, run = ray.put(task), ray.remote(num_cpus=1, max_retries=_MAX_DEATHS)(_ray_chunk)
        todo, flying = deque(chunks), dict[Any, Chunk]()
        while todo or flying:
            while todo and len(flying) < _IN_FLIGHT * count:
                chunk = todo.popleft()
                flying[run.remote(place, chunk)] = chunk
            (ready,), _ = ray.wait(list(flying), num_returns=1)
            chunk = flying.pop(ready)
            try:
                value = ray.get(ready)
            except ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, UserError):
                    raise UserError(str(error.cause)) from None
                raise
            except ray.exceptions.WorkerCrashedError:
                raise _given_up(task, chunk) from None
            yield chunk, value
    finally:
        if ours:
            ray.shutdown()


_opened: dict[Any, Callable[[Chunk], Any]] = {}


def _ray_chunk(task: Task[T], chunk: Chunk) -> T:
    """Process one chunk in a Ray worker, which keeps the last task open for its next chunk."""
    key = (type(task), repr(task))
    if key not in _opened:
        notices.silence()
        _opened.clear()
        _opened[key] = task.open()
    result: T = _opened[key](chunk)
    return result
