"""The live page of a training run: curves, pictures and warnings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from migaki.core.trained import read_record
from migaki.web import guard
from migaki.web.served import Address, ServedPage
from migaki.web.serving import Tell, needs_extra, serve_app, tell_at_once


class RunPage(ServedPage):
    """Serve the page of a training run, during training and afterwards: `migaki serve run RUN`.

    Curves, contact sheets and warnings are updated while the run trains.
    """

    operand = "run"

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config(Address):
        """The run, and where to serve its page."""

        run: Path  # the folder of a run, finished or not

    config: Config

    def serve(self, tell: Tell = tell_at_once) -> None:
        """Serve until interrupted."""
        config = self.config
        read_record(config.run)
        guard.check_binding(config.host, config.token)
        with needs_extra():
            from migaki.web.page_app import link_lines
            from migaki.web.run_app import build_app
        app = build_app(config.run, host=config.host, token=config.token)
        serve_app(app, config.host, config.port, lambda address: link_lines(address, config.token, "The run"), tell)
