"""migaki simulate NAME --out DIR --count N; migaki simulate DAMAGE --input DIR --out DIR"""

from __future__ import annotations

from migaki.commands.options import command_line, parse, take_name
from migaki.core.damage import Damage
from migaki.core.discovery import find_class, names_in
from migaki.core.files import show
from migaki.core.simulator import Simulator
from migaki.stages.damage import DamageJob, damage_folder
from migaki.stages.simulate import SimulateJob, simulate

ABOUT = "Render labelled images into a folder (PNG files and metadata.jsonl)."

DAMAGE = "Damage clean photographs: pairs in OUT/input and OUT/target, with what was done to them as metadata."


def run(words: list[str]) -> int:
    """Run the command."""
    damages = names_in("simulate", "Damage")
    if words and words[0] in damages:
        return _damage(words[0], words[1:])
    taken = take_name("simulate", "simulate", "Simulator", words, ABOUT)
    if taken is None:
        print("\nor a damage done to clean photographs (--input PHOTOS)")
        print("\n".join(f"  {name:<12} {line}" for name, line in damages.items()))
        return 0
    name, rest = taken
    cls = find_class("simulate", name, Simulator)
    options = parse(f"simulate {name}", f"{ABOUT}\n\n{cls.__doc__}", rest, job=SimulateJob, config=cls.Config)
    simulator = cls(options.config)
    simulate(name, simulator, options.job, command=command_line())
    kind = "images with labels" if simulator.has_labels else "images without labels"
    print(f"{options.job.count} {kind}: {show(options.job.out)}")
    return 0


def _damage(name: str, words: list[str]) -> int:
    cls = find_class("simulate", name, Damage)
    options = parse(f"simulate {name}", f"{DAMAGE}\n\n{cls.__doc__}", words, job=DamageJob, config=cls.Config)
    out = damage_folder(name, cls(options.config), options.job, command=command_line())
    print(f"pairs: {show(out / 'input')} and {show(out / 'target')}")
    return 0
