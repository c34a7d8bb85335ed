"""A page that paints photographs, or the camera's pictures, with a style network: sliders mix styles, a brush paints
them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from migaki.core.errors import UserError
from migaki.web import guard
from migaki.web.served import Address, ServedPage
from migaki.web.serving import Tell, needs_extra, serve_app, tell_at_once


class StylePage(ServedPage):
    """Serve a page that paints pictures with a style network: `migaki serve style RUN`.

    It takes a photograph, or the browser's camera; sliders mix the styles, and a brush paints another style on a part.
    Pictures are sent to this server only and are not kept.
    """

    operand = "run"

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config(Address):
        """The run, and where to serve the page."""

        GROUPS: ClassVar[dict[str, str]] = {"run": "to side ort ort_side"}

        run: Path  # a run of `migaki train style_network` or any_style
        to: Path | None = None  # of any_style: a folder of pictures whose styles the page offers
        side: int = 384  # px, longer side of what is painted; less is faster
        ort: Path | None = None  # folder dist of the npm package onnxruntime-web: the page can then compute by itself
        ort_side: int = 256  # px, sides of what the page paints by itself

    config: Config

    def serve(self, tell: Tell = tell_at_once) -> None:
        """Serve until interrupted."""
        from migaki.changes.stylise import open_network

        config = self.config
        guard.check_binding(config.host, config.token)
        if not 64 <= config.side <= 1024:
            raise UserError(f"--side {config.side}: give 64 to 1024 px")
        net, styles, _ = open_network(config.run, config.to)
        if config.to is not None and config.ort is not None:
            raise UserError("--ort: the browser computes with a run of style_network alone: leave out --ort")
        with needs_extra():
            from migaki.web.page_app import link_lines
            from migaki.web.style_app import CONNECTIONS, build_app, in_browser
        browser = None if config.ort is None else in_browser(config.run, config.ort, config.ort_side)
        app = build_app(net, styles, config.run, side=config.side, host=config.host, token=config.token,
                        browser=browser)
        serve_app(app, config.host, config.port, lambda address: link_lines(address, config.token, "Paint"), tell,
                  CONNECTIONS)
