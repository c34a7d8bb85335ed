"""The server of the page that changes materials: regions from clicks, boxes or masks, and results as they come."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Annotated, Any, Final, Literal

import numpy as np
import torch
import torch.nn.functional as F
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from migaki.changes.material import Material
from migaki.changes.parts.restyling import Restyling
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.files import framing
from migaki.data.files.image_file import read_header, read_image
from migaki.data.folder import ImageFolder
from migaki.ops.cutout import cut_out
from migaki.report.sheets import picture as as_rgb
from migaki.web.connections import ConnectionLimits
from migaki.web.guard import Guard, Limits
from migaki.web.page_app import build_page
from migaki.web.try_app import Upload, decoded

MOST_BYTES: Final = 3 * 2**20
"""Size of a picture's file; the page reduces larger pictures before it sends them."""

MOST_PIXELS: Final = 2**20
"""Size of a decoded picture: every step computes on all of it."""

_TEXT = 4 * (MOST_BYTES // 3 + 2)  # characters of its base64
LIMITS: Final = Limits(body_bytes=2 * _TEXT + 4096, burst=60, per_second=10)
CONNECTIONS: Final = ConnectionLimits(per_address=16, request_seconds=60, request_bytes=2 * _TEXT + 2**14, total=32)

_THUMB = 72  # px
_WAIT = 0.1  # s between two looks for news
_MOST_MATERIALS = 200

Place = Annotated[float, Field(ge=0, le=1e5)]


class Region(BaseModel):
    """Body of the request for a region: a picture, and a click (x y) or a box (x y width height) in its px."""

    model_config = ConfigDict(extra="forbid")
    picture: str = Field(max_length=_TEXT)
    click: tuple[Place, Place] | None = None
    box: tuple[Place, Place, Place, Place] | None = None


class Asked(BaseModel):
    """Body of the request for a change: a picture, a mask of its size, and the material."""

    model_config = ConfigDict(extra="forbid")
    picture: str = Field(max_length=_TEXT)
    mask: str = Field(max_length=_TEXT)
    material: str = Field(max_length=300)
    light: Literal["style", "shading", "content"] = "style"
    colour: Literal["style", "content"] = "style"
    highlights: bool = False


class Materials:
    """The materials of a folder of words, opened as they are asked for and kept."""

    def __init__(self, config: Material.Config) -> None:
        self.config = config
        assert config.words is not None
        folder = ImageFolder(config.words)
        self.names = list(folder.class_names("label")) or [folder.lone_subfolder]
        if not self.names[0] or len(self.names) > _MOST_MATERIALS:
            raise UserError(f"{show(config.words)}: has {len(self.names) if self.names[0] else 'no'} words: give a "
                            f"folder of 1 to {_MOST_MATERIALS} folders of pictures")
        self._opened: dict[Material.Config, Restyling] = {}
        self._turn = Lock()
        self._thumbs = [_thumb(folder, number) for number in range(len(self.names))]

    def listed(self) -> list[dict[str, str]]:
        """Returns name and a picture (PNG as base64) of each material."""
        return [{"name": name, "picture": thumb} for name, thumb in zip(self.names, self._thumbs, strict=True)]

    def open(self, asked: Asked) -> Restyling:
        """Returns the material with these options. Raises UserError for one that there is not."""
        wanted = replace(self.config, to=asked.material, light=asked.light, colour=asked.colour,
                         highlights=asked.highlights)
        with self._turn:
            if wanted not in self._opened:
                while len(self._opened) >= 8:
                    self._opened.pop(next(iter(self._opened)))
                self._opened[wanted] = Restyling(wanted)
            return self._opened[wanted]


class Job:
    """One change on a thread: its news, its end, and a way to stop it. It gives `turn` back when it has ended."""

    def __init__(self, materials: Materials, asked: Asked, image: Tensor, region: Tensor, turn: Lock) -> None:
        self._turn = turn
        self.news: dict[str, Any] = {"step": 0, "steps": materials.config.steps}
        self.stopped, self.done = Event(), Event()
        self._materials, self._asked, self._image, self._region = materials, asked, image, region
        Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        try:
            found = self._materials.open(self._asked).change(self._image, self._region, 0, self._follow)
            self.news = self.news | {"step": self.news["steps"], "picture": _encoded(found.image), "end": True,
                                     "style_left": round(found.style, 4), "content_lost": round(found.content, 4)}
        except (UserError, FloatingPointError) as error:
            self.news = {"error": show(str(error))}
        except _Stopped:
            pass
        except Exception:
            self.news = {"error": "the change failed: see the server's messages"}
            raise
        finally:
            self.done.set()
            self._turn.release()

    def _follow(self, step: int, image: Tensor) -> None:
        if self.stopped.is_set():
            raise _Stopped
        self.news = self.news | {"step": step, "picture": _encoded(image)}


class _Stopped(Exception):
    """Nobody waits for the result any more."""


def build_app(materials: Materials, *, host: str, token: str | None = None) -> Guard:
    """Returns the application over a folder of words."""
    turn = Lock()  # one change at a time: each uses all cores

    def routes(router: APIRouter) -> None:
        @router.get("/api/materials")
        def listed() -> Response:
            return JSONResponse(materials.listed())

        @router.post("/api/region")
        def region(body: Region) -> Response:
            if (body.click is None) == (body.box is None):
                raise HTTPException(422, "give a click or a box")
            image = picture_of(body.picture)
            x, y = (body.click or body.box or (0.0, 0.0))[:2]
            if x >= image.shape[3] or y >= image.shape[2]:
                raise HTTPException(422, "that place lies outside of the picture")
            found = cut_out(image, body.box, body.click)
            if not bool(found.any()):
                raise HTTPException(422, "nothing stands out there: click elsewhere, draw a box, or give a mask")
            return JSONResponse({"mask": _encoded(found[None, None].float()), "share": float(found.float().mean())})

        @router.post("/api/change")
        async def change(body: Asked, request: Request) -> Response:
            image, chosen = await asyncio.to_thread(lambda: (picture_of(body.picture), mask_of(body.mask)))
            if chosen.shape != image.shape[2:]:
                raise HTTPException(422, f"the mask has {chosen.shape[1]} x {chosen.shape[0]} px, the picture "
                                         f"{image.shape[3]} x {image.shape[2]}: give one of the same size")
            if not bool(chosen.any()):
                raise HTTPException(422, "the mask is empty: click on a thing, or give another mask")
            if body.material not in materials.names:
                raise HTTPException(422, "there is no such material")
            if turn.locked():
                raise HTTPException(503, "another picture is being changed: wait until it is done")
            return StreamingResponse(_events(lambda: Job(materials, body, image, chosen, turn), turn, request),
                                     media_type="text/event-stream")

    return build_page("material", routes, host=host, token=token, limits=LIMITS, facts={"most_bytes": MOST_BYTES})


async def _events(start: Callable[[], Job], turn: Lock, request: Request) -> AsyncIterator[str]:
    """Yields the news of a job until its end; stops it when the page is closed."""
    # Taken here and not before: of a page that is closed at once nothing is ever asked for.
    if not turn.acquire(blocking=False):
        yield _event({"error": "another picture is being changed: wait until it is done"})
        return
    job = start()
    try:
        before: dict[str, Any] = {}
        while True:
            ended, now = job.done.is_set(), job.news
            if now is not before:
                yield _event(now)
            before = now
            if ended or await request.is_disconnected():
                return
            await asyncio.sleep(_WAIT)
    finally:
        job.stopped.set()


def _event(news: dict[str, Any]) -> str:
    return f"event: news\ndata: {json.dumps(news)}\n\n"


def picture_of(text: str) -> Tensor:
    """Returns a picture (1, 3, H, W) in [0, 1] that a client sent. Raises UserError if it is none, or too large."""
    upload = Upload(decoded(text))
    header = read_header(upload)
    if header.width * header.height > MOST_PIXELS or min(header.width, header.height) < 32:
        raise UserError(f"the picture has {header.width} x {header.height} px: send one of at least 32 px and at most "
                        f"{MOST_PIXELS:,} pixels")
    where = Path("the picture")
    array = framing.check_values(read_image(upload), None, where)
    array = framing.convert_channels(array, 3, has_alpha=array.shape[0] in (2, 4), path=where)
    return torch.from_numpy(np.ascontiguousarray(framing.to_unit(array)))[None]


def mask_of(text: str) -> Tensor:
    """Returns a mask (H, W) bool that a client sent: white is the region."""
    upload = Upload(decoded(text))
    header = read_header(upload)
    if header.width * header.height > MOST_PIXELS:
        raise UserError(f"the mask has {header.width} x {header.height} px: send one of at most {MOST_PIXELS:,} pixels")
    unit = framing.to_unit(framing.check_values(read_image(upload), None, Path("the mask")))
    return torch.from_numpy(np.ascontiguousarray(unit[: 3 if unit.shape[0] >= 3 else 1].mean(0) > 0.5))


def _encoded(image: Tensor) -> str:
    """A picture (1, 1 or 3, H, W) as PNG in base64."""
    buffer = io.BytesIO()
    as_rgb(image[0]).save(buffer, "PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _thumb(folder: ImageFolder, number: int) -> str:
    """The first picture of a material, small."""
    rows = np.flatnonzero(folder.labels["label"] == number) if "label" in folder.labels else np.arange(1)
    if not len(rows):
        return _encoded(torch.ones(1, 3, _THUMB, _THUMB))
    path = folder.file(int(rows[0]))
    unit = framing.to_unit(framing.check_values(read_image(path), None, path))
    image = torch.from_numpy(np.ascontiguousarray(unit[: 3 if unit.shape[0] >= 3 else 1]))[None]
    return _encoded(F.interpolate(image, size=(_THUMB, _THUMB), mode="bilinear", align_corners=False,
                                  antialias=True).clamp(0, 1))


