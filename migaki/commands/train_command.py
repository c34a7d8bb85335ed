"""migaki train NAME ... --out RUN"""

from __future__ import annotations

from pathlib import Path

from migaki.commands.options import Single, parse, take_name
from migaki.commands.recipes import Recipe
from migaki.core.discovery import reference
from migaki.core.files import show
from migaki.core.outline import docstring, load

ABOUT = "Train on folders. An interrupted run continues where it stopped."


def run(words: list[str]) -> int:
    """Run the command."""
    taken = take_name("train", "systems", "System", words, ABOUT)
    if taken is None:
        return 0
    name, rest = taken
    cls = reference("systems", name, "System")
    options = parse(
        f"train {name}", f"{ABOUT}\n\n{docstring(cls)}", rest,
        data=Recipe(reference=f"{cls}.Data", section="data"),
        out=Single(kind=Path, about="the folder of the run"),
        run=Recipe(reference="migaki.core.fit:Run", section="run"),
        config=Recipe(reference=f"{cls}.Config", section="config", system=name, offers=True),
    )
    from migaki.core import processes
    from migaki.stages.train import train

    train(load(cls), options.data, options.config, options.run, options.out)
    if processes.prints_messages():
        samples = ", samples/" if (options.out / "samples").is_dir() else ""
        print(f"trained: {show(options.out)} (model.safetensors, metrics.jsonl{samples}, report.html)")
    return 0
