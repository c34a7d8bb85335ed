"""The visual Turing test: one image at a time, real or not?"""

from __future__ import annotations

from migaki.web import turing
from migaki.web.served import ServedPage
from migaki.web.serving import Tell, tell_at_once
from migaki.web.turing import TuringConfig


class TuringPage(ServedPage):
    """Serve the visual Turing test: one image at a time, real or not?"""

    Config = TuringConfig
    config: TuringConfig

    def serve(self, tell: Tell = tell_at_once) -> None:
        """Serve the test until interrupted, or only write its report."""
        turing.run(self.config, tell)
