"""A page that takes a picture, a class and a method, and shows why a classifier says what it says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from migaki.web import guard
from migaki.web.served import Address, ServedPage
from migaki.web.serving import Tell, needs_extra, serve_app, tell_at_once


class ExplainPage(ServedPage):
    """Serve a page that asks a classifier for its reasons: `migaki serve explain RUN`.

    RUN is a trained run, a file of weights (.safetensors), or efficientnet_lite0. One drops a picture, picks a method
    and a class, and sees the map. Pictures are sent to this server only and are not kept.
    """

    operand = "run"

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config(Address):
        """The classifier, and where to serve the page."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "patterns size"}

        run: Path  # a trained run, a file of weights (.safetensors), or efficientnet_lite0
        patterns: Path | None = None  # pictures to estimate the patterns from; none = without the two pattern methods
        size: int = 224  # px, longer side of a picture for a classifier that takes any size

    config: Config

    def serve(self, tell: Tell = tell_at_once) -> None:
        """Serve until interrupted."""
        from migaki.core.errors import UserError
        from migaki.stages.explainer import PictureExplainer

        config = self.config
        if not 32 <= config.size <= 1024:
            raise UserError(f"--size {config.size}: give 32 to 1024 px")
        guard.check_binding(config.host, config.token)
        explainer = PictureExplainer(config.run, config.patterns, config.size)
        with needs_extra():
            from migaki.web.explain_app import build_app
            from migaki.web.page_app import link_lines
            from migaki.web.try_app import CONNECTIONS
        app = build_app(explainer, host=config.host, token=config.token)
        serve_app(app, config.host, config.port, lambda address: link_lines(address, config.token, "Explain"), tell,
                  CONNECTIONS)
