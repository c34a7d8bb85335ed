"""migaki serve turing --photos DIR --fake DIR --out DIR"""

from __future__ import annotations

import difflib

from migaki.commands.help import table
from migaki.commands.options import parse
from migaki.core.errors import UserError

ABOUT = "Serve a web page on this machine, for one or many people."

PAGES = {"turing": "the visual Turing test: one image at a time, real or not?"}


def run(words: list[str]) -> int:
    """Run the command."""
    if words[:1] == ["--help-names"]:
        print("\n".join(PAGES))
        return 0
    if not words or words[0] in ("-h", "--help", "--help-all"):
        print(f"usage: migaki serve NAME [OPTIONS]\n\n{ABOUT}\n\nNAME is one of\n{table(PAGES)}\n\n"
              "`migaki serve NAME --help` lists its options with their defaults.")
        if not words:
            raise UserError(f"migaki serve: say which: {', '.join(PAGES)}")
        return 0
    if words[0] not in PAGES:
        close = difflib.get_close_matches(words[0], PAGES, n=1)
        raise UserError(f"no page is called '{words[0]}': "
                        + (f"did you mean '{close[0]}'?" if close else f"known are {', '.join(PAGES)}"))
    options = parse("serve turing", f"Serve {PAGES['turing']}", words[1:], config="migaki.web.turing:TuringConfig")
    from migaki.web import turing

    turing.run(options.config)
    return 0
