"""migaki demo [eyes|digits|rain]"""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import Annotated

import tyro

from migaki.commands.options import parse
from migaki.core.discovery import find_class, names_in
from migaki.core.errors import UserError
from migaki.core.fit import Interrupted
from migaki.lab.demo import Demo
from migaki.lab.study import run_study

ABOUT = "All steps on built-in material: render, refine, train, compare, with a report. Goes on where it stopped."

_OUT = Annotated[Path, tyro.conf.arg(help="everything goes there; what is there already is not made again")]


def run(words: list[str]) -> int:
    """Run the command."""
    known = {module.removeprefix("demo_"): line for module, line in names_in("studies", Demo.__name__).items()}
    if words[:1] in (["-h"], ["--help"]):
        rows = "\n".join(f"  {name:<8} {line}" for name, line in known.items())
        print(f"usage: migaki demo [NAME] [OPTIONS]\n\n{ABOUT}\n\nNAME is one of (eyes, if none is given)\n{rows}\n\n"
              "`migaki demo NAME --help` lists its options with their defaults.")
        return 0
    name, rest = ("eyes", words) if not words or words[0].startswith("-") else (words[0], words[1:])
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        raise UserError(f"no demo is called '{name}': "
                        + (f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}"))
    cls: type[Demo] = find_class("studies", f"demo_{name}", Demo)
    options = parse(f"demo {name}", f"{ABOUT}\n\n{cls.__doc__}", rest, out=(_OUT, cls.folder), config=cls.Config())
    try:
        page = run_study(f"demo_{name}", cls(options.config), options.out)
    except Interrupted as stop:
        print(f"migaki: {stop}", file=sys.stderr)
        return 130
    print(f"report: {page}")
    return 0
