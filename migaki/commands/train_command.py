"""migaki train NAME ... --out RUN"""

from __future__ import annotations

import sys
from pathlib import Path

from migaki.commands.options import choose_preset, parse, preset_of, take_name
from migaki.core import processes
from migaki.core.discovery import find_class
from migaki.core.files import show
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
        f"train {name}", about, rest, data=cls.Data, out=(Path, ...), preset=preset_of(cls),
        run=Run(), config=choose_preset(cls, rest),
    )
    try:
        train(cls, options.data, options.config, options.run, options.out)
    except Interrupted as stop:
        if processes.speaks():
            print(f"migaki: {stop}", file=sys.stderr)
        return 130
    if processes.speaks():
        samples = ", samples/" if (options.out / "samples").is_dir() else ""
        print(f"trained: {show(options.out)} (model.safetensors, metrics.jsonl{samples})")
    return 0
