"""The server of a run's page: the run's state as server-sent events, and its report when that has changed."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Final

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from migaki.core.errors import UserError
from migaki.core.files import digest, open_plain, show
from migaki.core.log import read_rows
from migaki.core.trained import read_record
from migaki.report.run_report import run_page
from migaki.web.guard import Guard
from migaki.web.page_app import build_page

STREAM_SECONDS: Final = 40.0
"""Seconds after which a stream ends and the page opens the next one; the server cuts connections after 60 s."""

_EVERY = 1.0  # s between two readings of the folder
_MOST_STREAMS = 32
_QUIET = 60.0  # an unfinished run counts as stopped after this many seconds without a row
_MAX_LINE = 4096  # bytes of a row of timing.jsonl


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """The progress of a run. `version` changes whenever its report does."""

    state: str  # training, finished, stopped
    step: int
    steps: int
    per_second: float  # steps per second over the last rows; 0 if unknown
    seconds_left: float | None
    version: str


def state_of(run: Path, now: Callable[[], float] = time.time) -> State:
    """Returns the progress of the run in a folder. Raises UserError if the folder is not, or no longer, a run."""
    record, rows = read_record(run), read_rows(run / "metrics.jsonl")
    steps = record.get("config", {}).get("steps", 0)
    steps, step = (steps if isinstance(steps, int) else 0), (rows[-1]["step"] if rows else 0)
    is_whole = (run / "model.safetensors").is_file()
    pace, interval = _pace(run)
    changed = max(_changed(run / name) for name in ("metrics.jsonl", "config.json"))
    alive = now() - changed < max(_QUIET, 3 * interval) and (run / ".lock").exists()
    files = [run / "metrics.jsonl", run / "config.json", run / "model.safetensors", *sorted(run.glob("samples/*.png"))]
    version = digest("\n".join(f"{file.name} {_changed(file)} {_size(file)}" for file in files))
    state = "finished" if is_whole else "training" if alive else "stopped"
    left = (steps - step) / pace if pace and state == "training" and steps >= step else None
    return State(state=state, step=step, steps=steps, per_second=pace, seconds_left=left, version=version)


def _pace(run: Path, last: int = 20) -> tuple[float, float]:
    """Returns the steps per second and the seconds between two rows, from the last rows of timing.jsonl."""
    try:
        with open_plain(run / "timing.jsonl") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - last * 64))
            lines = file.read(last * _MAX_LINE).splitlines()[-last:]
    except (OSError, UserError):
        return 0.0, 0.0
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
            rows.append((int(row["step"]), float(row["seconds"])))
        except (ValueError, TypeError, KeyError, RecursionError):
            continue  # the first row may be cut off, the last half written
    if len(rows) < 2:
        return 0.0, 0.0
    spent = sum(seconds for _, seconds in rows[1:])
    return ((rows[-1][0] - rows[0][0]) / spent if spent > 0 else 0.0), spent / (len(rows) - 1)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


class Watched:
    """A run that many pages follow and that is read once for all of them."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self._turn = Lock()
        self._state: tuple[float, dict[str, Any]] | None = None
        self._report: tuple[str, str] | None = None

    def state(self) -> dict[str, Any]:
        """Returns the state, at most `_EVERY` old; it is `error` if the folder cannot be read."""
        with self._turn:
            if self._state is None or time.monotonic() - self._state[0] > _EVERY / 2:
                try:
                    found: dict[str, Any] = asdict(state_of(self.run))
                except UserError as error:
                    found = {"state": "gone", "error": show(str(error))}
                self._state = (time.monotonic(), found)
            return self._state[1]

    def report(self) -> dict[str, str]:
        """Returns the report's body; it is made again only if something has changed."""
        version = str(self.state().get("version", ""))
        with self._turn:
            if self._report is None or self._report[0] != version:
                self._report = (version, run_page(self.run).body())
            return {"version": self._report[0], "body": self._report[1]}


def build_app(run: Path, *, host: str, token: str | None = None) -> Guard:
    """Returns the application over a run's folder."""
    watched, streams = Watched(run), [0]

    def routes(router: APIRouter) -> None:
        @router.get("/api/report")
        def report() -> Response:
            return JSONResponse(watched.report())

        @router.get("/api/events")
        async def events(request: Request) -> Response:
            if streams[0] >= _MOST_STREAMS:
                raise HTTPException(503, "too many pages follow this run: close some")
            return StreamingResponse(_events(watched, streams, request), media_type="text/event-stream")

    return build_page("run", routes, host=host, token=token, facts={"title": show(run.resolve().name)})


async def _events(watched: Watched, streams: list[int], request: Request) -> AsyncIterator[str]:
    """Yields an event whenever the state has changed, for `STREAM_SECONDS`."""
    streams[0] += 1
    try:
        end, before = time.monotonic() + STREAM_SECONDS, ""
        while time.monotonic() < end and not await request.is_disconnected():
            now = json.dumps(await asyncio.to_thread(watched.state))
            if now != before:
                yield f"event: state\ndata: {now}\n\n"
            before = now
            await asyncio.sleep(_EVERY)
    finally:
        streams[0] -= 1
