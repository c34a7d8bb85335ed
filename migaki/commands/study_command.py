"""migaki study NAME --out DIR"""

from __future__ import annotations

from migaki.commands.options import OUT, PARALLEL, parse, take_name
from migaki.commands.recipes import Recipe
from migaki.core.discovery import reference
from migaki.core.outline import docstring, load

ABOUT = "Train several arms and compare them: tables, figures and one page. An interrupted study continues."


def run(words: list[str]) -> int:
    """Run the command."""
    taken = take_name("study", "studies", "Study", words, ABOUT)
    if taken is None:
        return 0
    name, rest = taken
    cls = reference("studies", name, "Study")
    options = parse(f"study {name}", f"{ABOUT}\n\n{docstring(cls)}", rest, out=OUT, parallel=PARALLEL,
                    config=Recipe(reference=f"{cls}.Config", offers=True))
    from migaki.lab.study import run_study

    page = run_study(name, load(cls)(options.config), options.out, parallel=options.parallel)
    print(f"report: {page}")
    return 0
