"""The server of the page that collects pictures by a word: states, clicks, orders, ZIP files."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator
from typing import Annotated, Final, Literal

from fastapi import APIRouter, HTTPException, Path, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from migaki.core.files import show
from migaki.data.files.image_file import read_image
from migaki.report.drawn import as_picture
from migaki.web.connections import ConnectionLimits
from migaki.web.guard import Guard, Limits
from migaki.web.page_app import build_page
from migaki.web.word_sets import WordSets

STREAM_SECONDS: Final = 40.0
"""Seconds after which a stream ends and the page opens the next one; the server cuts connections after 60 s."""

LIMITS: Final = Limits(body_bytes=4096, burst=600, per_second=100)
CONNECTIONS: Final = ConnectionLimits(per_address=128, total=512)

_EVERY = 0.3  # s between two looks at a state
_MOST_STREAMS = 64
_SIDE = 256  # px of a thumbnail

Id = Annotated[str, Path(pattern="^[0-9a-f]{16}$")]


class Word(BaseModel):
    """A word to collect."""

    model_config = ConfigDict(extra="forbid")
    word: str = Field(max_length=300)


class Click(BaseModel):
    """A person's answer to one picture."""

    model_config = ConfigDict(extra="forbid")
    rank: int = Field(ge=1, le=10**6)
    mark: Literal["right", "wrong", "none"]


class Nothing(BaseModel):
    """An empty body."""

    model_config = ConfigDict(extra="forbid")


def build_app(words: WordSets, *, host: str, token: str | None = None) -> Guard:
    """Returns the application over a folder of words."""
    streams = [0]

    def routes(router: APIRouter) -> None:
        _word_routes(router, words)

        @router.get("/api/words/{name}/events")
        async def events(name: Id, request: Request) -> Response:
            words.get(name)
            if streams[0] >= _MOST_STREAMS:
                raise HTTPException(503, "too many pages are open: close some")
            return StreamingResponse(_events(words, name, streams, request), media_type="text/event-stream")

    return build_page("words", routes, host=host, token=token, limits=LIMITS, facts={
        "source": show(words.source.name), "count": words.config.count, "duplicates": words.config.duplicates})


def _word_routes(router: APIRouter, words: WordSets) -> None:
    @router.get("/api/words")
    def all_words() -> Response:
        return JSONResponse([one.about() for one in words.all()])

    @router.post("/api/words")
    def start(body: Word) -> Response:
        return JSONResponse(words.start(body.word).about())

    @router.get("/api/words/{name}/pictures")
    def pictures(name: Id) -> Response:
        found = words.get(name)
        return JSONResponse({"about": found.about(), "pictures": found.pictures()})

    @router.get("/api/words/{name}/picture/{rank}")
    def picture(name: Id, rank: Annotated[int, Path(ge=1, le=10**6)]) -> Response:
        image = as_picture(read_image(words.get(name).file(rank))).convert("RGB")
        image.thumbnail((_SIDE, _SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=85)
        return Response(buffer.getvalue(), media_type="image/jpeg")

    @router.post("/api/words/{name}/click")
    def click(name: Id, body: Click) -> Response:
        found = words.get(name)
        found.click(body.rank, body.mark)
        return JSONResponse(found.about())

    @router.post("/api/words/{name}/order")
    def order(name: Id, body: Nothing) -> Response:
        found = words.get(name)
        words.order(found)
        return JSONResponse({"about": found.about(), "pictures": found.pictures()})

    @router.get("/api/words/{name}/zip")
    def zipped(name: Id, best: Annotated[int, Query(ge=1, le=200)]) -> Response:
        return Response(words.get(name).zipped(best), media_type="application/zip")


async def _events(words: WordSets, name: str, streams: list[int], request: Request) -> AsyncIterator[str]:
    """Yields an event whenever the state of a word has changed, for `STREAM_SECONDS`."""
    streams[0] += 1
    try:
        end, before = time.monotonic() + STREAM_SECONDS, ""
        while time.monotonic() < end and not await request.is_disconnected():
            now = json.dumps(await asyncio.to_thread(words.get(name).about))
            if now != before:
                yield f"event: state\ndata: {now}\n\n"
            before = now
            await asyncio.sleep(_EVERY)
    finally:
        streams[0] -= 1
