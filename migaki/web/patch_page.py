"""A page that gives out the print sheet of an adversarial patch, and scores photographs of the printed patch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from migaki.web import guard
from migaki.web.served import Address, ServedPage
from migaki.web.serving import Tell, needs_extra, serve_app, tell_at_once


class PatchPage(ServedPage):
    """Serve a page that scores photographs of a printed patch: `migaki serve patch RUN`.

    It gives out the sheet to print, takes photographs or the browser's camera, shows what the classifier says of each,
    and counts how often it says the target. Photographs are sent to this server only and are not kept.
    """

    operand = "run"

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config(Address):
        """The patch, the classifier, and where to serve the page."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "model print_cm"}

        run: Path  # the folder of a run of `migaki train patch`
        model: Path | None = None  # the classifier to ask; none: that of the patch's training
        print_cm: float = 12.0  # width of the patch on the sheet

    config: Config

    def serve(self, tell: Tell = tell_at_once) -> None:
        """Serve until interrupted."""
        from migaki.judges.patches import opened_patch

        config = self.config
        guard.check_binding(config.host, config.token)
        patch, scores = opened_patch(config.run, config.model)
        with needs_extra():
            from migaki.web.page_app import link_lines
            from migaki.web.patch_app import build_app
            from migaki.web.try_app import CONNECTIONS
        app = build_app(patch, scores, config.print_cm, host=config.host, token=config.token)
        serve_app(app, config.host, config.port, lambda address: link_lines(address, config.token, "Score it"), tell,
                  CONNECTIONS)
