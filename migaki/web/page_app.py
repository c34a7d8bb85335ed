"""What the pages of `migaki serve` have in common: one HTML file each, JSON and pictures behind a token, the guard."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException as StarletteHTTPException

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.report.page import mesh_script, page_script, page_style
from migaki.web.guard import Guard, Limits, page_policy

_PLACE = Path(__file__).parent
_NO_CAMERA = "camera=(), microphone=(), geolocation=()"


def build_page(name: str, routes: Callable[[APIRouter], None], *, host: str, token: str | None,
               limits: Limits | None = None, camera: bool = False, facts: dict[str, Any] | None = None,
               scripts: Mapping[str, tuple[bytes, str]] | None = None) -> Guard:
    """Returns the application of the page `NAME.html`, whose routes `routes` adds; it serves no file.

    Every route except the page itself requires the token, if there is one. `facts` are passed to the page's script, so
    they must not be secret. `camera` lets the page ask for the camera. `scripts` are further files by name, each with
    its media type, that the page may run (`/scripts/NAME`); they are held in memory and need no token.
    """
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    page = page_html(name, facts or {})
    policy = page_policy(page)
    if scripts:
        policy = policy.replace("script-src ", "script-src 'self' 'wasm-unsafe-eval' ", 1)
    headers = {"content-security-policy": policy,
               "permissions-policy": _NO_CAMERA.replace("camera=()", "camera=(self)") if camera else _NO_CAMERA}

    @app.get("/")
    def show_page() -> Response:
        return HTMLResponse(page, headers=headers)

    @app.get("/scripts/{script}")
    def give_script(script: str) -> Response:
        if not scripts or script not in scripts:
            raise HTTPException(404, "there is no such script")
        content, kind = scripts[script]
        return Response(content, media_type=kind)

    def check(access: Annotated[str, Header(alias="x-access", max_length=256)] = "") -> None:
        if token is not None and not hmac.compare_digest(access.encode(), token.encode()):
            raise HTTPException(401, "this page needs the complete link that you were given")

    router = APIRouter(dependencies=[Depends(check)])
    routes(router)
    app.include_router(router)
    _explain_errors(app)
    return Guard(app, host=host, limits=limits)


def page_html(name: str, facts: dict[str, Any]) -> str:
    """Returns the HTML of a page: its title (first line of its file) and body, in what all pages share."""
    title, body = (_PLACE / f"{name}.html").read_text(encoding="utf-8").split("\n", 1)
    html = (_PLACE / "served.html").read_text(encoding="utf-8")
    html = html.replace("<title></title>", title).replace("<!--BODY-->", body)
    # The text must not end the script, whatever names the user's files have.
    facts_json = json.dumps(facts).replace("<", "\\u003c")
    parts = {"STYLE": page_style() + (_PLACE / "served.css").read_text(encoding="utf-8"),
             "SCRIPT": f"{page_script()}\nconst facts = {facts_json};\n"
                       + (_PLACE / "served.js").read_text(encoding="utf-8"),
             "MESH": mesh_script(),
             "PICTURES": (_PLACE / "pictures.js").read_text(encoding="utf-8")}
    for mark, text in parts.items():
        html = html.replace(f"/*{mark}*/", text)
    return html


def link_lines(address: str, token: str | None, what: str) -> list[str]:
    """Returns the lines that are printed when a page is served."""
    return [f"{what}: {address}/" + (f"#{token}" if token else ""), "Ctrl-C stops the server."]


def _explain_errors(app: FastAPI) -> None:
    """Report errors as one sentence that does not repeat what was sent."""

    @app.exception_handler(UserError)
    def problem(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": show(str(error))}, 422)

    @app.exception_handler(StarletteHTTPException)
    def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, StarletteHTTPException)
        return JSONResponse({"error": error.detail}, error.status_code)

    @app.exception_handler(RequestValidationError)
    def malformed(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": "malformed request"}, 422)
