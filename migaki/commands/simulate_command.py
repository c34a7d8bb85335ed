"""migaki simulate NAME --out DIR --count N"""

from __future__ import annotations

from migaki.commands.options import command_line, parse, take_name
from migaki.core.discovery import find_class
from migaki.core.simulator import Simulator
from migaki.stages.simulate import SimulateJob, simulate

ABOUT = "Render labelled images into a folder (PNG files and metadata.jsonl)."


def run(words: list[str]) -> int:
    """Run the command."""
    taken = take_name("simulate", "simulate", "Simulator", words, ABOUT)
    if taken is None:
        return 0
    name, rest = taken
    cls = find_class("simulate", name, Simulator)
    options = parse(f"simulate {name}", f"{ABOUT}\n\n{cls.__doc__}", rest, job=SimulateJob, config=cls.Config)
    simulate(name, cls(options.config), options.job, command=command_line())
    print(f"{options.job.count} images with labels: {options.job.out}")
    return 0
