"""A page that shows a trained field from wherever the reader turns the camera, and its mesh."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from migaki.core.errors import UserError
from migaki.web import guard
from migaki.web.served import Address, ServedPage
from migaki.web.serving import Tell, needs_extra, serve_app, tell_at_once


class ScenePage(ServedPage):
    """Serve a page that flies round a trained field: `migaki serve scene RUN`.

    Drag to turn the camera; two fingers or the wheel come nearer. Pictures are coarse while it moves and sharp when it
    stands still; a slider sets the exposure. With --mesh the browser draws the mesh of `migaki apply mesh` too.
    """

    operand = "run"

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config(Address):
        """The field, and where to serve the page."""

        GROUPS: ClassVar[dict[str, str]] = {"run": "mesh side"}

        run: Path  # a run of `migaki train voxel_field` or nerf
        mesh: Path | None = None  # the folder of `migaki apply mesh`, or a .glb of it
        side: int = 256  # px, longer side of sharp pictures

    config: Config

    def serve(self, tell: Tell = tell_at_once) -> None:
        """Serve until interrupted."""
        from migaki.core.field import open_field

        config = self.config
        guard.check_binding(config.host, config.token)
        if not 32 <= config.side <= 1024:
            raise UserError(f"--side {config.side}: give 32 to 1024 px")
        field = open_field(config.run)
        with needs_extra():
            from migaki.web.page_app import link_lines
            from migaki.web.scene_app import CONNECTIONS, build_app, read_mesh
        app = build_app(field, config.run, most=config.side, host=config.host, token=config.token,
                        mesh=None if config.mesh is None else read_mesh(config.mesh))
        serve_app(app, config.host, config.port, lambda address: link_lines(address, config.token, "The scene"), tell,
                  CONNECTIONS)
