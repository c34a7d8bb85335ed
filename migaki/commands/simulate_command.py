"""migaki simulate NAME --out DIR --count N; migaki simulate DAMAGE --input DIR --out DIR"""

from __future__ import annotations

from migaki.commands.help import table
from migaki.commands.options import command_line, parse, take_name
from migaki.commands.recipes import Recipe
from migaki.core.discovery import names_in, reference
from migaki.core.files import show
from migaki.core.outline import docstring, load

ABOUT = "Render labelled images into a folder (PNG files and metadata.jsonl)."

DAMAGE = "Damage clean photographs: pairs in OUT/input and OUT/target, with the damage's parameters as metadata."


def run(words: list[str]) -> int:
    """Run the command."""
    damages = names_in("simulate", "Damage")
    if words and words[0] in damages:
        return _damage(words[0], words[1:])
    taken = take_name("simulate", "simulate", "Simulator", words, ABOUT)
    if taken is None:
        print("\n".join(damages) if words == ["--help-names"] else
              f"\nor a damage done to clean photographs (--input PHOTOS)\n{table(damages)}")
        return 0
    name, rest = taken
    cls = reference("simulate", name, "Simulator")
    options = parse(f"simulate {name}", f"{ABOUT}\n\n{docstring(cls)}", rest, job="migaki.stages.simulate:SimulateJob",
                    config=Recipe(reference=f"{cls}.Config", section="config", system=name, file="dataset.json",
                                  made_by="simulator", offers=True))
    from migaki.stages.simulate import simulate

    simulator = load(cls)(options.config)
    simulate(name, simulator, options.job, command=command_line())
    kind = "images with labels" if simulator.has_labels else "images without labels"
    print(f"{options.job.count} {kind}: {show(options.job.out)}")
    return 0


def _damage(name: str, words: list[str]) -> int:
    cls = reference("simulate", name, "Damage")
    options = parse(f"simulate {name}", f"{DAMAGE}\n\n{docstring(cls)}", words, job="migaki.stages.damage:DamageJob",
                    config=f"{cls}.Config")
    from migaki.stages.damage import damage_folder

    out = damage_folder(name, load(cls)(options.config), options.job, command=command_line())
    print(f"pairs: {show(out / 'input')} and {show(out / 'target')}")
    return 0
