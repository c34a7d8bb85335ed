"""migaki serve NAME [DIR] [OPTIONS]"""

from __future__ import annotations

import difflib

from migaki.commands.help import table
from migaki.commands.options import parse
from migaki.core.discovery import names_in, reference
from migaki.core.errors import UserError
from migaki.core.outline import docstring, literal, load

ABOUT = "Serve a web page on this machine, for one or many people."


def run(words: list[str]) -> int:
    """Run the command."""
    pages = {name.removesuffix("_page"): line for name, line in names_in("web", "ServedPage").items()}
    if words[:1] == ["--help-names"]:
        print("\n".join(pages))
        return 0
    if not words or words[0] in ("-h", "--help", "--help-all"):
        print(f"usage: migaki serve NAME [OPTIONS]\n\n{ABOUT}\n\nNAME is one of\n{table(pages)}\n\n"
              "`migaki serve NAME --help` lists its options with their defaults.")
        if not words:
            raise UserError(f"migaki serve: choose one: {', '.join(pages)}")
        return 0
    name, rest = words[0], words[1:]
    if name not in pages:
        close = difflib.get_close_matches(name, pages, n=1)
        raise UserError(f"no page is called '{name}': "
                        + (f"did you mean '{close[0]}'?" if close else f"known are {', '.join(pages)}"))
    cls = reference("web", f"{name}_page", "ServedPage")
    operand = literal(cls, "operand", "")  # the option that a bare word fills
    if operand and rest and not rest[0].startswith("-"):  # `serve folder DIR` is `serve folder --folder DIR`
        rest = [f"--{operand}", *rest]
    options = parse(f"serve {name}", docstring(cls), rest, config=f"{cls}.Config")
    load(cls)(options.config).serve()
    return 0
