"""migaki adapt SIMULATED PHOTOS --out DIR"""

from __future__ import annotations

from pathlib import Path

from migaki.commands.options import PARALLEL, Single, parse
from migaki.core.files import show

ABOUT = """Find what brings a model from simulated pictures to photographs, prove it, and leave the model.

Tries, cheapest first and within the budget: augmentation, batch norm's statistics from the photographs, their colours,
mixtures, self-training, refining. Chooses without a real label, or by the first half of --labelled, and judges on the
second half. Goes on where it stopped."""


def run(words: list[str]) -> int:
    """Run the command."""
    options = parse(
        "adapt", ABOUT, words,
        simulated=Single(kind=Path, about="simulated pictures with labels", operand="SIMULATED"),
        photos=Single(kind=Path, about="photographs of where the model will be used, without labels", operand="PHOTOS"),
        out=Single(kind=Path, about="everything goes there; what is there already is not made again"),
        options="migaki.lab.adapt.options:Options", parallel=PARALLEL)
    from migaki.lab.adapt.run import adapt

    page = adapt(options.simulated, options.photos, options.out, options.options, parallel=options.parallel)
    print(f"report: {show(page)}")
    return 0
