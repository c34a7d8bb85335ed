"""migaki demo [digits|eyes|rain]"""

from __future__ import annotations

import difflib
from pathlib import Path

from migaki.commands.help import table
from migaki.commands.options import PARALLEL, Single, parse
from migaki.core.discovery import names_in, reference
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.outline import docstring, load

ABOUT = "Run all steps on built-in data: simulate, adapt, train, compare, report. An interrupted demo continues."

_FIRST = "digits"
"""The demo without a name."""


def run(words: list[str]) -> int:
    """Run the command."""
    known = {module.removeprefix("demo_"): line for module, line in names_in("studies", "Demo").items()}
    if words[:1] == ["--help-names"]:
        print("\n".join(known))
        return 0
    if words[:1] in (["-h"], ["--help"], ["--help-all"]):
        print(f"usage: migaki demo [NAME] [OPTIONS]\n\n{ABOUT}\n\nNAME is one of ({_FIRST}, if none is given)\n"
              f"{table(known)}\n\n`migaki demo NAME --help` lists its options with their defaults.")
        return 0
    name, rest = (_FIRST, words) if not words or words[0].startswith("-") else (words[0], words[1:])
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        raise UserError(f"no demo is called '{name}': "
                        + (f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}"))
    cls = reference("studies", f"demo_{name}", "Demo")
    rest = _counted(rest) if name == "eyes" else rest
    default = Path("demo") if name == _FIRST else Path(f"demo-{name}")
    options = parse(f"demo {name}", f"{ABOUT}\n\n{docstring(cls)}", rest, config=f"{cls}.Config", parallel=PARALLEL,
                    out=Single(kind=Path, default=default,
                               about="the folder of all results; finished steps are not repeated"))
    demo = load(cls)(options.config)
    page = demo.run(f"demo_{name}", options.out, parallel=options.parallel)
    print(f"report: {show(page)}")
    return 0


def _counted(words: list[str]) -> list[str]:
    """Rewrite the old form `--photos 800`, a number of pictures, to the option's new name."""
    found = list(words)
    for place, word in enumerate(words):
        name, _, value = word.partition("=")
        number = value or "".join(words[place + 1 : place + 2])
        if name == "--photos" and number.isdecimal():
            found[place] = word.replace("--photos", "--num-photos", 1)
    return found
