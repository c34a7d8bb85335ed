"""migaki turing --real DIR --fake DIR --out DIR"""

from __future__ import annotations

from migaki.commands.options import parse
from migaki.web import turing

ABOUT = "Serve the visual Turing test as a web page: one image at a time, real or not?"


def run(words: list[str]) -> int:
    """Run the command."""
    options = parse("turing", ABOUT, words, config=turing.TuringConfig)
    turing.run(options.config)
    return 0
