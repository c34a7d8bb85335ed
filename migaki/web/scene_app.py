"""The server of the scene's page: a camera in, what a trained field shows of it out; and the mesh, if there is one."""

from __future__ import annotations

import io
import time
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, Final, Literal

import numpy as np
import torch
from fastapi import APIRouter, HTTPException
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from migaki.changes.parts.field_pictures import pictures_of
from migaki.core.errors import UserError
from migaki.core.field import Field as RadianceField
from migaki.core.files import explain, open_plain, read_json, show
from migaki.ops.camera import cropped, resized, ring, tour_of
from migaki.ops.linear_light import to_linear, to_srgb
from migaki.report.drawn import as_picture
from migaki.web.connections import ConnectionLimits
from migaki.web.guard import Guard, Limits
from migaki.web.page_app import build_page

LIMITS: Final = Limits(body_bytes=1024, burst=120, per_second=30)
CONNECTIONS: Final = ConnectionLimits(per_address=16, total=32)

MOST_BYTES: Final = 2**26
"""Size of a mesh's file."""

FASTEST: Final = 80
"""px, longer side of pictures while the camera moves; these are never given up."""

_ROWS = 24  # of a sharp picture that are rendered before others may overtake it
_AXES = {True: np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]), False: np.eye(3)}  # of a mesh whose z was up, or y

Degrees = Annotated[float, Field(ge=-720, le=720)]


class Asked(BaseModel):
    """Body of the request: where the camera stands, and what is shown."""

    model_config = ConfigDict(extra="forbid")
    azimuth: Degrees
    elevation: Annotated[float, Field(ge=-89, le=89)]
    zoom: Annotated[float, Field(ge=0.2, le=10)] = 1.0
    side: Annotated[int, Field(ge=16, le=1024)] = FASTEST  # px, longer side of the picture
    picture: Literal["colour", "depth", "normals"] = "colour"
    stops: Annotated[float, Field(ge=-4, le=4)] = 0.0  # exposure: light times 2 ** stops


class Overtaken(Exception):
    """Another picture is wanted before this one is done."""


class Painter:
    """Renders views of a field one after another. A large picture gives way to what is asked for meanwhile."""

    def __init__(self, field: RadianceField, most: int) -> None:
        self.field, self.most = field, most
        self.tour = tour_of(field.kept.poses[: int(field.kept.count)])
        self._turn, self._count = Lock(), Lock()
        self._waiting = 0

    def png(self, asked: Asked) -> bytes:
        """Returns the picture as PNG; raises Overtaken for a large one that others wait for."""
        with self._count:
            self._waiting += 1
        try:
            if not self._turn.acquire(timeout=30):
                raise Overtaken
        finally:
            with self._count:
                self._waiting -= 1
        try:
            picture = self._painted(asked)
        finally:
            self._turn.release()
        buffer = io.BytesIO()
        as_picture((picture.numpy() * 255).round().astype(np.uint8)).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()

    def _painted(self, asked: Asked) -> Tensor:
        """The picture (3, H, W) in [0, 1]."""
        config, tour = self.field.config, self.tour
        scale = min(asked.side, self.most) / max(config.height, config.width)
        height, width = (max(1, round(side * scale)) for side in (config.height, config.width))
        lens = resized(self.field.kept.lens, (width / config.width, height / config.height))
        pose = tour.pose(asked.azimuth, asked.elevation, tour.distance / asked.zoom)[None]
        parts = []
        for top in range(0, height, _ROWS):
            if top and max(height, width) > FASTEST and self._waiting:
                raise Overtaken
            with torch.inference_mode():
                made = self.field.render(pose, cropped(lens, 0, top)[None], (min(_ROWS, height - top), width))
            parts.append(pictures_of(made, tour.distance))
        if asked.picture not in parts[0]:
            raise UserError("this field has no normals: choose colour or depth")
        picture = torch.cat([part[asked.picture] for part in parts], 1)
        return picture if asked.picture != "colour" else exposed(picture, asked.stops)


def exposed(picture: Tensor, stops: float) -> Tensor:
    """A picture in sRGB as it were with 2 ** stops times the light; unchanged at 0."""
    return to_srgb(to_linear(picture) * 2.0**stops) if stops else picture


def read_mesh(given: Path) -> tuple[bytes, Any]:
    """Returns the content of a .glb, or of mesh.glb in the folder of `apply mesh`, and the axes (3, 3) of the file in
    those of the scene. UserError for another file, or one that is too large."""
    path = given / "mesh.glb" if given.is_dir() else given
    try:
        with open_plain(path) as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise explain(error, path) from error
    if len(content) > MOST_BYTES:
        raise UserError(f"{show(path)}: is larger than {MOST_BYTES >> 20} MB: make it with fewer --faces")
    if content[:4] != b"glTF":
        raise UserError(f"{show(path)}: is no .glb file: give one that `migaki apply mesh` wrote")
    record = path.with_suffix(".json")
    found = read_json(record) if record.is_file() else {}
    config = found.get("config") if isinstance(found, dict) else None
    return content, _AXES[not isinstance(config, dict) or config.get("z_up") is not False]


def build_app(field: RadianceField, run: Path, *, most: int, host: str, token: str | None = None,
              mesh: tuple[bytes, Any] | None = None) -> Guard:
    """Returns the application over a trained field; pictures have `most` px along the longer side at most."""
    painter = Painter(field, most)

    def routes(router: APIRouter) -> None:
        @router.post("/api/view")
        def view(body: Asked) -> Response:
            began = time.perf_counter()
            try:
                content = painter.png(body)
            except Overtaken as error:
                raise HTTPException(409, "another picture was asked for meanwhile") from error
            return Response(content, media_type="image/png",
                            headers={"x-seconds": f"{time.perf_counter() - began:.2f}"})

        @router.get("/api/mesh")
        def give_mesh() -> Response:
            if mesh is None:
                raise HTTPException(404, "there is no mesh: start the page with --mesh")
            return Response(mesh[0], media_type="model/gltf-binary")

    return build_page("scene", routes, host=host, token=token, limits=LIMITS,
                      facts=_facts(painter, run, None if mesh is None else mesh[1]))


def _facts(painter: Painter, run: Path, axes: Any) -> dict[str, Any]:
    """What the page knows of the scene; directions are in the axes of the mesh's file."""
    field, tour = painter.field, painter.tour
    turned = torch.from_numpy(np.eye(3) if axes is None else axes)
    first, second = (ring(1, 1.0, 0.0, up=tour.up, start_deg=angle)[0, :, 3].double() for angle in (0.0, 90.0))

    def listed(vector: Tensor) -> list[float]:
        return [round(float(value), 6) for value in turned @ vector]

    config, lens = field.config, field.kept.lens
    return {
        "title": show(run.resolve().name), "side": painter.most, "fastest": FASTEST, "has_mesh": axes is not None,
        "width": config.width, "height": config.height, "tangent": config.height / 2 / float(lens[1]),
        "target": listed(tour.target), "distance": tour.distance,
        "axes": {"up": listed(tour.up), "first": listed(first), "second": listed(second)},
        "start": {"azimuth": tour.start_deg % 360, "elevation": max(-85.0, min(85.0, tour.elevation_deg)), "zoom": 1}}
