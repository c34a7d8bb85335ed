"""migaki train NAME ... --out RUN"""

from __future__ import annotations

import sys
from pathlib import Path

from migaki.commands.options import parse, take_name
from migaki.core.discovery import find_class
from migaki.core.errors import UserError
from migaki.core.fit import Interrupted, Run
from migaki.core.system import System
from migaki.stages.train import train

ABOUT = "Train on folders; a run that was interrupted goes on where it stopped."


def run(words: list[str]) -> int:
    """Run the command."""
    taken = take_name("train", "systems", "System", words, ABOUT)
    if taken is None:
        return 0
    name, rest = taken
    cls = find_class("systems", name, System)
    about = f"{ABOUT}\n\n{cls.__doc__}"
    options = parse(
        f"train {name}", about, rest, data=cls.Data, out=(Path, ...), preset=(str, "default"),
        run=Run(), config=_preset(cls, rest),
    )
    try:
        train(cls, options.data, options.config, options.run, options.out)
    except Interrupted as stop:
        print(f"migaki: {stop}", file=sys.stderr)
        return 130
    print(f"trained: {options.out} (model.safetensors, metrics.jsonl, samples/)")
    return 0


def _preset(cls: type[System], words: list[str]) -> object:
    """The configuration whose values are the defaults: `--preset NAME` names a class method of Config."""
    name = "default"
    for place, word in enumerate(words):
        if word.startswith("--preset="):
            name = word.split("=", 1)[1]
        elif word == "--preset" and place + 1 < len(words):
            name = words[place + 1]
    if name == "default":
        return cls.Config()
    known = [n for n, v in vars(cls.Config).items() if isinstance(v, classmethod)]
    if name.replace("-", "_") not in known:
        raise UserError(f"--preset {name}: {cls.__name__} has {', '.join(['default', *known])}")
    return getattr(cls.Config, name.replace("-", "_"))()
