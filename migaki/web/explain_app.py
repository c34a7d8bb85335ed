"""The server of the page that asks a classifier for its reasons: a picture, a method and a class in, a map out."""

from __future__ import annotations

import base64
import io
from threading import BoundedSemaphore
from typing import Any

from fastapi import APIRouter, HTTPException
from fastapi.responses import JSONResponse, Response
from PIL import Image
from pydantic import Field

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.files.image_file import read_header, read_image
from migaki.report.drawn import as_picture, shown_size
from migaki.stages.explainer import PictureExplainer
from migaki.web import try_app
from migaki.web.guard import Guard
from migaki.web.page_app import build_page

_AT_ONCE = 4
_SIDE = 480  # px of what is shown


class Asked(try_app.Asked):
    """Body of the request: a picture as base64, a method, and a class by name or number (empty: the likeliest)."""

    method: str = Field(max_length=64)
    target: str = Field("", max_length=256)


def build_app(explainer: PictureExplainer, *, host: str, token: str | None = None) -> Guard:
    """Returns the application over a classifier."""
    places = BoundedSemaphore(_AT_ONCE)
    scorer = explainer.scorer

    def routes(router: APIRouter) -> None:
        @router.post("/api/explain")
        def ask(body: Asked) -> Response:
            content = try_app.decoded(body.picture)
            if not places.acquire(timeout=30):
                raise HTTPException(503, "too many pictures at once: wait a few seconds")
            try:
                return JSONResponse(answer(explainer, content, body.method, body.target))
            finally:
                places.release()

    names = [show(scorer.class_name(number)) for number in range(min(scorer.num_classes, 2000))]
    takes = f"that it brings to {scorer.shape[2]} x {scorer.shape[1]} px" if scorer.shape[1] else "of any size"
    return build_page("explain", routes, host=host, token=token, limits=try_app.LIMITS, facts={
        "title": scorer.name, "line": f"{scorer.num_classes} classes; it takes pictures {takes}", "classes": names,
        "methods": list(explainer.methods), "most_bytes": try_app.MOST_BYTES})


def answer(explainer: PictureExplainer, content: bytes, method: str, target: str) -> dict[str, Any]:
    """Returns the picture and its explanation (PNG as base64), and pairs of words.

    The header is checked before anything is decoded. Raises UserError if it is not a picture or too large.
    """
    upload = try_app.Upload(content)
    header = read_header(upload)
    if header.width * header.height > try_app.MOST_PIXELS:
        raise UserError(f"the picture has {header.width} x {header.height} pixels: send one of at most "
                        f"{try_app.MOST_PIXELS // 2**20} megapixels")
    found = explainer.explain(read_image(upload), method, target)
    words = [("explained", show(found.explained)), *((show(name), f"{share:.1%}") for name, share in found.shares)]
    return {"pictures": [_encoded(picture) for picture in (found.picture, found.painted)], "words": words}


def _encoded(picture: Any) -> str:
    image, buffer = as_picture(picture), io.BytesIO()
    image.resize(shown_size(*image.size, _SIDE), Image.Resampling.NEAREST).save(buffer, "PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
