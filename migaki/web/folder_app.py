"""The server of a set's page: its columns, the rows of one page, and pictures with their labels drawn."""

from __future__ import annotations

import io
import math
from typing import Annotated, Any, Final

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import JSONResponse, Response
from PIL import Image

from migaki.core.files import show
from migaki.report.labelled import labelled_picture, words_of
from migaki.web.folder_table import FolderTable
from migaki.web.folder_table import Query as Wanted
from migaki.web.guard import Guard
from migaki.web.page_app import build_page

PER_PAGE: Final = 24
"""Pictures on a page. Each one is a request, and the guard admits 120 requests at once."""

_SIDE = 360  # px
_LARGE = 100_000  # bytes of a PNG
_WORDS = 8  # columns below a picture

Text = Annotated[str, Query(max_length=200)]


def encoded(picture: Image.Image) -> tuple[bytes, str]:
    """Returns a picture as the bytes of a file, and its media type: PNG, or JPEG if the PNG would be large."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    if buffer.tell() <= _LARGE:
        return buffer.getvalue(), "image/png"
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue(), "image/jpeg"


def build_app(table: FolderTable, *, host: str, token: str | None = None) -> Guard:
    """Returns the application over an opened set. Clients refer to pictures by number only."""
    folder = table.folder

    def routes(router: APIRouter) -> None:
        @router.get("/api/about")
        def about() -> Response:
            columns = [{"name": name, "kind": column.kind, "values": list(column.choices) or None}
                       for name, column in table.columns.items()]
            return JSONResponse({"title": show(folder.path.resolve().name), "line": table.line, "columns": columns,
                                 "worst": table.worst})

        @router.get("/api/rows")
        def rows(page: Annotated[int, Query(ge=0, le=10**6)] = 0, sort: Text = "", order: Text = "up",
                 column: Text = "", equal: Text | None = None, text: Text | None = None, low: float | None = None,
                 high: float | None = None) -> Response:
            if any(value is not None and not math.isfinite(value) for value in (low, high)):
                raise HTTPException(422, "malformed request")
            wanted = Wanted(sort=sort, is_descending=order == "down", column=column, equal=equal, text=text, low=low,
                            high=high)
            places = table.find(wanted)
            shown = places[page * PER_PAGE : (page + 1) * PER_PAGE]
            return JSONResponse({"total": len(places), "per_page": PER_PAGE, "rows": [_row(place) for place in shown]})

        @router.get("/api/picture/{index}")
        def picture(index: int) -> Response:
            if not 0 <= index < table.count:
                raise HTTPException(404, "there is no such picture")
            content, kind = encoded(labelled_picture(folder, index, _SIDE))
            return Response(content, media_type=kind)

    def _row(place: int) -> dict[str, Any]:
        errors = [] if not table.worst else [(table.worst, table.columns[table.worst].values[place])]
        said = [(name, f"{value:.4g}") for name, value in errors if isinstance(value, int | float)]
        return {"index": place, "name": show(folder.names[place]),
                "words": [*said, *words_of(folder, place)[:_WORDS]]}

    return build_page("folder", routes, host=host, token=token)
