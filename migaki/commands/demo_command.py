"""migaki demo [eyes|digits|rain]"""

from __future__ import annotations

import difflib
import sys

from migaki.commands.options import parse
from migaki.core.errors import UserError
from migaki.core.fit import Interrupted
from migaki.studies.demo_digits import DigitsDemo, demo_digits
from migaki.studies.demo_eyes import EyesDemo, demo_eyes
from migaki.studies.demo_rain import RainDemo, demo_rain

ABOUT = "The whole road on built-in material: render, refine, train, compare, with a report. Goes on where it stopped."

DEMOS = {
    "eyes": "eyes towards photos of yours (--real DIR) or a stand-in camera; gaze models (the default)",
    "digits": "digits towards the scanned ones that scikit-learn ships; classifiers",
    "rain": "simulated rain on shipped photographs; a network that takes it off",
}


def run(words: list[str]) -> int:
    """Run the command."""
    if words[:1] in (["-h"], ["--help"]):
        rows = "\n".join(f"  {name:<8} {about}" for name, about in DEMOS.items())
        print(f"usage: migaki demo [NAME] [OPTIONS]\n\n{ABOUT}\n\nNAME is one of\n{rows}\n\n"
              "`migaki demo NAME --help` lists its options with their defaults.")
        return 0
    name, rest = ("eyes", words) if not words or words[0].startswith("-") else (words[0], words[1:])
    if name not in DEMOS:
        close = difflib.get_close_matches(name, DEMOS, n=1)
        raise UserError(f"no demo is called '{name}': "
                        + (f"did you mean '{close[0]}'?" if close else f"there are {' and '.join(DEMOS)}"))
    try:
        if name == "digits":
            page = demo_digits(parse("demo digits", ABOUT, rest, options=DigitsDemo).options)
        elif name == "rain":
            page = demo_rain(parse("demo rain", ABOUT, rest, options=RainDemo).options)
        else:
            page = demo_eyes(parse("demo eyes", ABOUT, rest, options=EyesDemo).options)
    except Interrupted as stop:
        print(f"migaki: {stop}", file=sys.stderr)
        return 130
    print(f"report: {page}")
    return 0
