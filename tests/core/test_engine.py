"""Workers: every chunk once, whatever dies; errors come back as they are; Ray does the same."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from migaki.core import engine
from migaki.core.errors import UserError

pytestmark = pytest.mark.usefixtures("warm_processes")
CHUNKS = [[start, start + 1] for start in range(0, 20, 2)]


@dataclass(frozen=True, kw_only=True)
class Squares(engine.Task[tuple[int, list[int]]]):
    """Squares of a chunk, and who made them; a marked chunk kills the worker, the first time or always."""

    folder: Path
    fatal: int = -1
    always: bool = False
    wrong: int = -1

    def open(self) -> Callable[[list[int]], tuple[int, list[int]]]:
        (self.folder / f"opened.{os.getpid()}").touch(exist_ok=False)
        return self.squares

    def squares(self, chunk: list[int]) -> tuple[int, list[int]]:
        if self.fatal in chunk:
            died = self.folder / "died"
            if self.always or not died.exists():
                died.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        if self.wrong in chunk:
            raise UserError("image 7 is wrong: mend it")
        return os.getpid(), [number**2 for number in chunk]


class Parts(Squares):
    noun = "blocks"


def expected() -> list[tuple[list[int], list[int]]]:
    return [(chunk, [number**2 for number in chunk]) for chunk in CHUNKS]


def made(task: Squares, **more: object) -> list[tuple[list[int], list[int]]]:
    """What came back, in the chunks' order: each exactly once."""
    found = list(engine.work(task, CHUNKS, **more))  # type: ignore[arg-type]
    return sorted((chunk, values) for chunk, (_, values) in found)


def test_every_chunk_once_by_two_workers(tmp_path: Path) -> None:
    found = list(engine.work(Squares(folder=tmp_path), CHUNKS, workers=2))
    assert sorted((chunk, values) for chunk, (_, values) in found) == expected()
    workers = {worker for _, (worker, _) in found}
    assert len(workers) == 2 == len(list(tmp_path.glob("opened.*"))) and os.getpid() not in workers


def test_the_work_of_a_dead_worker_is_done_again(tmp_path: Path) -> None:
    assert made(Squares(folder=tmp_path, fatal=7), workers=2) == expected()
    assert (tmp_path / "died").exists() and len(list(tmp_path.glob("opened.*"))) >= 2


def test_a_chunk_that_kills_every_worker_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"died 3 times on images 6 to 7 .*fewer --workers"):
        made(Squares(folder=tmp_path, fatal=7, always=True), workers=1)


def test_one_block_that_kills_its_worker_is_called_a_block(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"died 3 times on block 7 "):
        list(engine.work(Parts(folder=tmp_path, fatal=7, always=True), [[7]], workers=1))


def test_a_users_error_comes_back_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^image 7 is wrong: mend it$"):
        made(Squares(folder=tmp_path, wrong=7), workers=1)


def test_workers_end_with_the_caller(tmp_path: Path) -> None:
    results = engine.work(Squares(folder=tmp_path), CHUNKS, workers=1)
    _, (worker, _) = next(results)
    results.close()  # type: ignore[attr-defined]
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def test_options_that_do_not_go_together() -> None:
    with pytest.raises(UserError, match="at least 1"):
        engine.check(-1, "local", None)
    with pytest.raises(UserError, match="add --engine ray"):
        engine.check(1, "local", "auto")


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"migaki\[ray\]"):
        made(Squares(folder=tmp_path), engine="ray")
    with pytest.raises(UserError, match=r"migaki\[ray\]"):
        engine.check(1, "ray", None)  # before a folder is made for the result


@pytest.mark.slow
def test_a_cluster_of_two_of_which_one_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="needs the extra migaki[ray]")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # the workers import this file
    found = list(engine.work(Squares(folder=tmp_path, fatal=7), CHUNKS, workers=2, engine="ray"))
    assert sorted((chunk, values) for chunk, (_, values) in found) == expected()
    assert (tmp_path / "died").exists() and len({worker for _, (worker, _) in found}) >= 2
    import ray

    assert not ray.is_initialized()
