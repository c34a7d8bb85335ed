"""A page that takes photographs, or the camera's pictures, and shows what a trained run predicts for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from migaki.core import hardware
from migaki.web import guard
from migaki.web.served import Address, ServedPage
from migaki.web.serving import Tell, needs_extra, serve_app, tell_at_once


class TryPage(ServedPage):
    """Serve a page that shows what a trained run predicts for pictures: `migaki serve try RUN`.

    It takes one or more photographs, or the browser's camera. Pictures are sent to this server only and are not kept.
    """

    operand = "run"

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config(Address):
        """The run, and where to serve the page."""

        GROUPS: ClassVar[dict[str, str]] = {"run": "device precision"}

        run: Path  # the folder of a trained run
        device: hardware.Device = "auto"  # auto: a GPU if there is one
        precision: hardware.Precision = "auto"  # auto: bf16 if the hardware supports it

    config: Config

    def serve(self, tell: Tell = tell_at_once) -> None:
        """Serve until interrupted."""
        from migaki.stages.predict import Predictor

        config = self.config
        guard.check_binding(config.host, config.token)
        predictor = Predictor(config.run, config.device, config.precision)
        with needs_extra():
            from migaki.web.page_app import link_lines
            from migaki.web.try_app import CONNECTIONS, build_app
        app = build_app(predictor, config.run, host=config.host, token=config.token)
        serve_app(app, config.host, config.port, lambda address: link_lines(address, config.token, "Try it"), tell,
                  CONNECTIONS)
