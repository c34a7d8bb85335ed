"""The server of the page about a printed patch: its sheet, and what a classifier says of photographs."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from migaki.core.errors import UserError
from migaki.data.files import framing
from migaki.data.files.image_file import read_header, read_image
from migaki.judges.patches import sheet_of
from migaki.nets.scorer import Scorer
from migaki.report.print_sheet import as_pdf, as_png
from migaki.systems.patch import Patch
from migaki.web.guard import Guard
from migaki.web.page_app import build_page
from migaki.web.try_app import LIMITS, MOST_BYTES, MOST_PIXELS, Asked, Upload, decoded

_SHOWN = 5  # classes


def build_app(patch: Patch, scores: Scorer, print_cm: float, *, host: str, token: str | None = None) -> Guard:
    """Returns the application over a patch and the classifier that is asked."""
    page = sheet_of(patch, scores, print_cm)
    files = {"sheet.pdf": (as_pdf(page), "application/pdf"), "sheet.png": (as_png(page), "image/png")}
    turn = Lock()  # one picture at a time: each uses all cores

    def routes(router: APIRouter) -> None:
        @router.post("/api/read")
        def read(body: Asked) -> Response:
            content = decoded(body.picture)
            with turn:
                return JSONResponse(answer(patch, scores, content))

        @router.get("/api/sheet.pdf")
        def pdf() -> Response:
            return Response(files["sheet.pdf"][0], media_type=files["sheet.pdf"][1])

        @router.get("/api/sheet.png")
        def png() -> Response:
            return Response(files["sheet.png"][0], media_type=files["sheet.png"][1])

    return build_page("patch", routes, host=host, token=token, limits=LIMITS, camera=True, facts={
        "target": scores.class_name(patch.target), "most_bytes": MOST_BYTES, "share": patch.config.share,
        "centimetres": print_cm})


def answer(patch: Patch, scores: Scorer, content: bytes) -> dict[str, Any]:
    """Returns what the classifier says of a photograph: the likeliest classes with their shares, and whether the first
    is the patch's target.

    The photograph is scaled to cover the frame of the patch's training and cut around its middle. Raises UserError if
    it is no picture, or too large.
    """
    upload = Upload(content)
    header = read_header(upload)
    if header.width * header.height > MOST_PIXELS:
        raise UserError(f"the picture has {header.width} x {header.height} pixels: send one of at most "
                        f"{MOST_PIXELS // 2**20} megapixels")
    config, where = patch.config, Path("the picture")
    array = framing.check_values(read_image(upload), None, where)
    array = framing.convert_channels(array, config.channels, has_alpha=array.shape[0] in (2, 4), path=where)
    unit = framing.to_unit(framing.resize(array, (config.height, config.width)))
    with torch.inference_mode():
        shares = torch.softmax(scores(torch.from_numpy(np.ascontiguousarray(unit))[None])[0], 0)
    best = torch.argsort(-shares, stable=True)[:_SHOWN].tolist()
    return {"classes": [[scores.class_name(place), float(shares[place])] for place in best],
            "target": float(shares[patch.target]), "success": best[0] == patch.target}
