"""migaki study NAME --out DIR"""

from __future__ import annotations

import sys
from pathlib import Path

from migaki.commands.options import choose_preset, parse, preset_of, take_name
from migaki.core.discovery import find_class
from migaki.core.fit import Interrupted
from migaki.lab.study import Study, run_study

ABOUT = "Train arms, compare them, write tables, figures and one page; a study that was interrupted goes on."


def run(words: list[str]) -> int:
    """Run the command."""
    taken = take_name("study", "studies", "Study", words, ABOUT)
    if taken is None:
        return 0
    name, rest = taken
    cls = find_class("studies", name, Study)
    about = f"{ABOUT}\n\n{cls.__doc__}"
    options = parse(f"study {name}", about, rest, out=(Path, ...), preset=preset_of(cls),
                    config=choose_preset(cls, rest))
    try:
        page = run_study(name, cls(options.config), options.out)
    except Interrupted as stop:
        print(f"migaki: {stop}", file=sys.stderr)
        return 130
    print(f"report: {page}")
    return 0
