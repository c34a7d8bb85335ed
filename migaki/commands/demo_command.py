"""migaki demo [eyes|digits|rain]"""

from __future__ import annotations

import difflib
import importlib
import sys

from migaki.commands.help import table
from migaki.commands.options import parse
from migaki.core.errors import UserError

ABOUT = "The whole road on built-in material: render, refine, train, compare, with a report. Goes on where it stopped."

DEMOS = {
    "eyes": "eyes towards photos of yours (--photos DIR) or a stand-in camera; gaze models (the default)",
    "digits": "digits towards the scanned ones that scikit-learn ships; classifiers",
    "rain": "simulated rain on shipped photographs; a network that takes it off",
}


def run(words: list[str]) -> int:
    """Run the command."""
    if words[:1] == ["--help-names"]:
        print("\n".join(DEMOS))
        return 0
    if words[:1] in (["-h"], ["--help"], ["--help-all"]):
        print(f"usage: migaki demo [NAME] [OPTIONS]\n\n{ABOUT}\n\nNAME is one of\n{table(DEMOS)}\n\n"
              "`migaki demo NAME --help` lists its options with their defaults.")
        return 0
    name, rest = ("eyes", words) if not words or words[0].startswith("-") else (words[0], words[1:])
    if name not in DEMOS:
        close = difflib.get_close_matches(name, DEMOS, n=1)
        raise UserError(f"no demo is called '{name}': "
                        + (f"did you mean '{close[0]}'?" if close else f"there are {', '.join(DEMOS)}"))
    module = f"migaki.studies.demo_{name}"
    rest = _counted(rest) if name == "eyes" else rest
    options = parse(f"demo {name}", ABOUT, rest, options=f"{module}:{name.capitalize()}Demo").options
    demo = getattr(importlib.import_module(module), f"demo_{name}")
    from migaki.core.fit import Interrupted

    try:
        page = demo(options)
    except Interrupted as stop:
        print(f"migaki: {stop}", file=sys.stderr)
        return 130
    print(f"report: {page}")
    return 0


def _counted(words: list[str]) -> list[str]:
    """`--photos 800` was a number of pictures once: it still is, under its new name."""
    found = list(words)
    for place, word in enumerate(words):
        name, _, value = word.partition("=")
        number = value or "".join(words[place + 1 : place + 2])
        if name == "--photos" and number.isdecimal():
            found[place] = word.replace("--photos", "--num-photos", 1)
    return found
