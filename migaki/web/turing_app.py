"""The web server of the visual Turing test: the page, the image to be judged, the answers, the results."""

from __future__ import annotations

import hmac
import sqlite3
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Header, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, StrictBool, StrictInt
from starlette.exceptions import HTTPException as StarletteHTTPException

from migaki.web.binomial import Confusion
from migaki.web.guard import Buckets, Guard, Limits, client_key, page_policy
from migaki.web.sittings import Record, Sittings, State
from migaki.web.stimuli import encode_png
from migaki.web.turing_report import PAPER, html_report

MAX_SITTINGS = 10_000
"""More sittings than any study needs. The limit keeps a stranger from filling the disk."""

PAGE = Path(__file__).with_name("turing.html")


class NewSitting(BaseModel):
    """Body of the request that begins a sitting: empty."""

    model_config = ConfigDict(extra="forbid")


class NewAnswer(BaseModel):
    """Body of the request that judges an image."""

    model_config = ConfigDict(extra="forbid")
    position: StrictInt
    real: StrictBool


Key = Annotated[str, Header(alias="x-sitting", max_length=64)]
Access = Annotated[str, Header(alias="x-access", max_length=256)]


def build_app(sittings: Sittings, *, host: str, token: str | None = None, limits: Limits | None = None) -> Guard:
    """Returns the application over an open test. Its only routes are those below: it serves no file or folder."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    # All images are encoded at the start, so that sending any of them takes the same time.
    pictures = [encode_png(stimulus.pixels) for stimulus in sittings.stimuli().stimuli]
    page = PAGE.read_text(encoding="utf-8")
    page_headers = {"content-security-policy": page_policy(page)}
    newcomers = Buckets(burst=40, per_second=0.5, addresses=4096)

    @app.get("/")
    def show_page() -> Response:
        return HTMLResponse(page, headers=page_headers)

    @app.post("/api/sittings")
    def begin(_: NewSitting, request: Request, access: Access = "") -> dict[str, Any]:
        if not newcomers.take(client_key(request.client.host if request.client else "?")):
            raise HTTPException(429, "too many people at once: wait a few seconds")
        if token is not None and not hmac.compare_digest(access.encode(), token.encode()):
            raise HTTPException(401, "this test needs the complete link that you were given")
        if sittings.num_sittings() >= MAX_SITTINGS:
            raise HTTPException(503, "this test takes no more people")
        key, state = sittings.begin()
        return {"key": key, **_state_json(state)}

    @app.get("/api/sitting")
    def stand(sitting: Key) -> dict[str, Any]:
        state = _known(sittings.state(sitting))
        record = sittings.record(sitting) if state.position == state.total else None
        return {**_state_json(state), "result": _own_result(record) if record else None}

    @app.get("/api/image/{position}")
    def show_image(position: int, sitting: Key) -> Response:
        number = sittings.image_at(sitting, position)
        if number is None:
            raise HTTPException(404, "this is not the image to be judged now")
        return Response(pictures[number], media_type="image/png")

    @app.post("/api/answers")
    def answer(body: NewAnswer, sitting: Key) -> dict[str, Any]:
        return _state_json(_known(sittings.answer(sitting, body.position, body.real)))

    @app.get("/results")
    def results(key: Annotated[str, Query(max_length=64)] = "") -> Response:
        if not hmac.compare_digest(key.encode(), sittings.settings["results_key"].encode()):
            raise HTTPException(404, "Not Found")  # as for any other address: a guess learns nothing
        report = html_report(sittings)
        return HTMLResponse(report, headers={"content-security-policy": page_policy(report)})

    _explain_errors(app)
    # The guard surrounds the whole application, so that even the answer to an unexpected error passes it.
    return Guard(app, host=host, limits=limits)


def _explain_errors(app: FastAPI) -> None:
    """Report errors as one sentence that does not repeat what was sent."""

    @app.exception_handler(sqlite3.Error)
    def busy(request: Request, error: Exception) -> Response:
        # The disk is full or the file is locked. Nothing was stored, and the page tries again until it is.
        return JSONResponse({"error": f"the answer cannot be stored now ({error})"}, 503)

    @app.exception_handler(StarletteHTTPException)  # unknown addresses too, not only what is raised here
    def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, StarletteHTTPException)
        return JSONResponse({"error": error.detail}, error.status_code)

    @app.exception_handler(RequestValidationError)
    def malformed(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": "malformed request"}, 422)


def _known(state: State | None) -> State:
    if state is None:
        raise HTTPException(404, "there is no such sitting")
    return state


def _state_json(state: State) -> dict[str, Any]:
    return {"code": state.code, "position": state.position, "total": state.total}


def _own_result(record: Record) -> dict[str, Any]:
    """Returns what a person sees at the end: their own figures beside the paper's, but not which images were real."""
    confusion = Confusion.count((answer.is_real, answer.said_real) for answer in record.answers)
    return {**confusion.summary(), "paper": PAPER}
