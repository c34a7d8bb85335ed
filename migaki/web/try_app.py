"""The server of the page that tries a trained run: it takes a picture and returns the predictions."""

from __future__ import annotations

import base64
import binascii
import io
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, Final

from fastapi import APIRouter, HTTPException
from fastapi.responses import JSONResponse, Response
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.trained import read_record
from migaki.data.files.image_file import read_header, read_image
from migaki.data.files.member import Member
from migaki.report.drawn import as_picture, draw_labels, in_words, joined
from migaki.stages.predict import Predictor, Reading
from migaki.web.connections import ConnectionLimits
from migaki.web.guard import Guard, Limits
from migaki.web.page_app import build_page

MOST_BYTES: Final = 6 * 2**20
"""Size of a picture's file. The page reduces larger pictures before it sends them."""

MOST_PIXELS: Final = 2**24
"""Size of a decoded picture. It is limited too, since a small file may hold a huge picture."""

_TEXT = 4 * (MOST_BYTES // 3 + 2)  # characters of its base64
LIMITS: Final = Limits(body_bytes=_TEXT + 1024, burst=60, per_second=10)
CONNECTIONS: Final = ConnectionLimits(per_address=16, request_seconds=60, request_bytes=_TEXT + 2**14, total=32)

_AT_ONCE = 4  # pictures that are decoded at a time
_SIDE = 480  # px of what is shown


class Asked(BaseModel):
    """Body of the request: a picture as base64."""

    model_config = ConfigDict(extra="forbid")
    picture: str = Field(max_length=_TEXT)


class Upload(Member):
    """A picture that a client sent: its bytes only. The name of the client's file is not used."""

    def __init__(self, content: bytes) -> None:
        super().__init__(Path("upload"), "the picture")
        self.content = content

    def __fspath__(self) -> str:
        return "the picture"

    __str__ = __fspath__

    def read_bytes(self) -> bytes:
        """Its content."""
        return self.content


def build_app(predictor: Predictor, run: Path, *, host: str, token: str | None = None) -> Guard:
    """Returns the application over a trained run."""
    record = read_record(run)
    classes = tuple(record.get("config", {}).get("classes") or ())
    places = BoundedSemaphore(_AT_ONCE)

    def routes(router: APIRouter) -> None:
        @router.post("/api/read")
        def read(body: Asked) -> Response:
            content = decoded(body.picture)
            if not places.acquire(timeout=30):
                raise HTTPException(503, "too many pictures at once: wait a few seconds")
            try:
                return JSONResponse(answer(predictor, content, classes))
            finally:
                places.release()

    shape = predictor.system.shape
    takes = "of any size" if shape is None or 0 in shape else f"that it brings to {shape[2]} x {shape[1]} px"
    return build_page("try", routes, host=host, token=token, limits=LIMITS, camera=True, facts={
        "title": show(run.resolve().name), "line": f"{record['system']}; it takes pictures {takes}",
        "most_bytes": MOST_BYTES})


def decoded(text: str) -> bytes:
    """Returns the bytes that a client sent. Raises HTTPException if they are not base64, or too many."""
    try:
        content = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise HTTPException(422, "the picture is not sent as base64") from error
    if len(content) > MOST_BYTES:
        raise HTTPException(413, f"the picture is larger than {MOST_BYTES >> 20} MB")
    return content


def answer(predictor: Predictor, content: bytes, classes: tuple[str, ...]) -> dict[str, Any]:
    """Returns the run's predictions for a picture: pictures to show (PNG as base64) and pairs of words.

    The header is checked before anything is decoded. Raises UserError if it is not a picture or too large.
    """
    upload = Upload(content)
    header = read_header(upload)
    if header.width * header.height > MOST_PIXELS:
        raise UserError(f"the picture has {header.width} x {header.height} pixels: send one of at most "
                        f"{MOST_PIXELS // 2**20} megapixels")
    pixels = read_image(upload)
    reading = predictor.read(pixels[: 3 if pixels.shape[0] == 4 else 1 if pixels.shape[0] == 2 else None])
    shown = [base64.b64encode(_png(picture)).decode("ascii") for picture in _shown(pixels, reading, classes)]
    return {"pictures": shown, "words": words(reading, classes)}


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)  # pictures of a camera must be encoded fast
    return buffer.getvalue()


def words(reading: Reading, classes: tuple[str, ...]) -> list[tuple[str, str]]:
    """Returns the predictions as pairs of name and text."""
    said = [(name, text) for name, text in in_words(joined(reading.values), classes)]
    return said + [(show(str(name)), f"{share:.1%}") for name, share in reading.shares]


def _shown(pixels: Any, reading: Reading, classes: tuple[str, ...]) -> list[Any]:
    shown = [] if reading.image is None else [draw_labels(as_picture(reading.image), {}, side=_SIDE)]
    return [*shown, draw_labels(as_picture(pixels), reading.row, mask=reading.planes.get("mask"), names=classes,
                                side=_SIDE)]
