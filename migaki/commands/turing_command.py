"""migaki turing --photos DIR --fake DIR --out DIR"""

from __future__ import annotations

from migaki.commands.options import parse

ABOUT = "Serve the visual Turing test as a web page: one image at a time, real or not?"


def run(words: list[str]) -> int:
    """Run the command."""
    options = parse("turing", ABOUT, words, config="migaki.web.turing:TuringConfig")
    from migaki.web import turing

    turing.run(options.config)
    return 0
