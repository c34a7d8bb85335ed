"""The server of the page that paints: a picture, the weights of styles and a map of strokes in, a picture out."""

from __future__ import annotations

import base64
import io
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from threading import BoundedSemaphore
from typing import Annotated, Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from fastapi import APIRouter, HTTPException
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from migaki.changes.stylise import filled
from migaki.core.errors import UserError
from migaki.core.files import open_plain, show
from migaki.data.files import framing
from migaki.data.files.image_file import read_header, read_image
from migaki.data.style_pictures import shorter_side
from migaki.nets.style_net import SMALLEST, StyleNet
from migaki.report.drawn import as_picture
from migaki.web import try_app
from migaki.web.guard import Guard
from migaki.web.page_app import build_page

CONNECTIONS = try_app.CONNECTIONS

GRID: Final = 48
"""Squares on a side of the map of strokes; row by row, 0 = as the sliders say, k = style k."""

RUNTIME: Final = {"ort.wasm.min.js": "text/javascript", "ort-wasm-simd-threaded.mjs": "text/javascript",
                  "ort-wasm-simd-threaded.wasm": "application/wasm"}
"""Files of ONNX Runtime Web, and what they are."""

_MOST_RUNTIME = 2**25  # bytes of one of them
_AT_ONCE = 2  # pictures that are painted at a time
_MOST_STYLES = 256


class Asked(BaseModel):
    """Body of the request: a picture as base64, the weight of each style, and the map of strokes (empty: none)."""

    model_config = ConfigDict(extra="forbid")
    picture: str = Field(max_length=try_app._TEXT)
    weights: list[Annotated[float, Field(ge=0, le=1)]] = Field(max_length=_MOST_STYLES)
    strokes: list[Annotated[int, Field(ge=0, le=_MOST_STYLES)]] = Field(default=[], max_length=GRID * GRID)


def build_app(net: StyleNet, styles: tuple[str, ...], run: Path, *, side: int, host: str,
              token: str | None = None, browser: InBrowser | None = None) -> Guard:
    """Returns the application over a style network; with `browser` the page can compute by itself."""
    places = BoundedSemaphore(_AT_ONCE)

    def routes(router: APIRouter) -> None:
        @router.post("/api/paint")
        def paint(body: Asked) -> Response:
            content = try_app.decoded(body.picture)
            if len(body.weights) != len(styles) or len(body.strokes) not in (0, GRID * GRID) or (
                    max(body.strokes, default=0) > len(styles)):
                raise HTTPException(422, f"give {len(styles)} weights, and a map of {GRID} x {GRID} strokes or none")
            if not places.acquire(timeout=30):
                raise HTTPException(503, "too many pictures at once: wait a few seconds")
            try:
                return JSONResponse(painted(net, content, body.weights, body.strokes, side))
            finally:
                places.release()

        @router.get("/api/model.onnx")
        def give_model() -> Response:
            if browser is None:
                raise HTTPException(404, "the page computes on the server: start it with --ort")
            return Response(browser.model, media_type="application/octet-stream")

    return build_page("style", routes, host=host, token=token, limits=try_app.LIMITS, camera=True, facts={
        "title": show(run.resolve().name), "styles": [show(name) for name in styles], "side": side, "grid": GRID,
        "most_bytes": try_app.MOST_BYTES, "local": 0 if browser is None else browser.side},
        scripts=None if browser is None else browser.scripts)


@dataclass(frozen=True, kw_only=True, slots=True)
class InBrowser:
    """What a page needs to compute by itself: a model (ONNX) for squares of `side` px, and a runtime for it."""

    model: bytes
    side: int  # px
    scripts: dict[str, tuple[bytes, str]]  # name -> content and media type


def in_browser(run: Path, runtime: Path, side: int) -> InBrowser:
    """Exports a run for squares of `side` px, and reads the runtime. UserError for a side that cannot be exported."""
    from migaki.stages.export import export  # only who asks for it needs the extra

    scripts = open_runtime(runtime)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "style.onnx"
        export(run, path, (side, side))
        return InBrowser(model=path.read_bytes(), side=side, scripts=scripts)


def open_runtime(folder: Path) -> dict[str, tuple[bytes, str]]:
    """Returns the files of ONNX Runtime Web that a page needs, from the folder `dist` of its npm package.

    UserError if one is missing, no plain file, or too large.
    """
    found = {}
    for name, kind in RUNTIME.items():
        path = folder / name
        try:
            with open_plain(path) as file:
                content = file.read(_MOST_RUNTIME + 1)
        except OSError as error:
            raise UserError(f"--ort {show(folder)}: no {name} there: give the folder dist of the npm package "
                            "onnxruntime-web (1.20)") from error
        if len(content) > _MOST_RUNTIME:
            raise UserError(f"{show(path)}: is larger than {_MOST_RUNTIME:,} bytes: give that of onnxruntime-web")
        found[name] = (content, kind)
    return found


def painted(net: StyleNet, content: bytes, weights: list[float], strokes: list[int], side: int) -> dict[str, Any]:
    """Returns the painted picture (PNG as base64), its size, and the milliseconds that the network took.

    The header is checked before anything is decoded. Raises UserError if it is no picture, too large or too small.
    """
    picture = opened(content, side)
    began = time.perf_counter()
    shares, cover = weights_of(weights, strokes, (picture.shape[2], picture.shape[3]))
    with torch.inference_mode():
        made = net(picture, shares)
        if cover is not None:
            made = torch.where(cover > 0, picture + cover * (made - picture), picture)
    spent = 1000 * (time.perf_counter() - began)
    buffer = io.BytesIO()
    as_picture((made[0].numpy() * 255).round().astype(np.uint8)).save(buffer, "PNG", compress_level=1)
    return {"picture": base64.b64encode(buffer.getvalue()).decode("ascii"), "ms": round(spent, 1),
            "width": picture.shape[3], "height": picture.shape[2]}


def opened(content: bytes, side: int) -> Tensor:
    """Returns what was sent as (1, 3, H, W) in [0, 1], its longer side `side` px at most."""
    upload = try_app.Upload(content)
    header = read_header(upload)
    if header.width * header.height > try_app.MOST_PIXELS:
        raise UserError(f"the picture has {header.width} x {header.height} pixels: send one of at most "
                        f"{try_app.MOST_PIXELS // 2**20} megapixels")
    array = read_image(upload)
    unit = framing.to_unit(framing.convert_channels(array, 3, has_alpha=array.shape[0] in (2, 4), path=upload,
                                                    opaque=False))
    picture = torch.from_numpy(np.ascontiguousarray(unit))[None].float()
    longest, shortest = max(picture.shape[2:]), min(picture.shape[2:])
    if longest > side:
        picture = shorter_side(picture, max(1, round(shortest * side / longest)))
    if min(picture.shape[2:]) < SMALLEST:
        raise UserError(f"the picture is too narrow: send one whose sides are from {SMALLEST} px on")
    return picture


def weights_of(weights: list[float], strokes: list[int], size: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
    """Returns the styles' shares, (1, S) or with strokes (1, S, H, W), and how much of each place is painted or None.

    Sliders that are all at 0 leave the picture as it is, but for the strokes.
    """
    sliders = torch.tensor(weights)
    shares = sliders / sliders.sum().clamp_min(1)
    if not strokes and float(shares.sum()) > 0:
        total = float(shares.sum())
        return (shares / total)[None], None if total >= 1 else torch.full((1, 1, 1, 1), total)
    numbers = torch.tensor(strokes or [0] * GRID**2).view(GRID, GRID)
    laid = torch.where(numbers > 0, 0.0, shares[:, None, None])
    for number in range(len(weights)):
        laid[number][numbers == number + 1] = 1.0
    return filled(F.interpolate(laid[None], size=size, mode="bilinear", align_corners=False))
