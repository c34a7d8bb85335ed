"""migaki import NAME PATH --out DIR"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from migaki.commands.options import command_line, parse, take_name
from migaki.core.discovery import find_class
from migaki.core.files import show
from migaki.core.progress import Bar
from migaki.importers.importer import Importer

ABOUT = "Bring a published data set into the folder format; goes on where it stopped."


def run(words: list[str]) -> int:
    """Run the command."""
    taken = take_name("import", "importers", "Importer", words, ABOUT)
    if taken is None:
        return 0
    name, rest = taken
    cls = find_class("importers", name, Importer)
    about = f"{ABOUT}\n\n{cls.__doc__}"
    options = parse(f"import {name}", about, rest, path=(Annotated[Path, tyro.conf.Positional], ...),
                    out=(Path, ...), config=cls.Config)
    bar: list[Bar] = []

    def report(done: int, total: int) -> None:
        if not bar:
            bar.append(Bar(f"import {name}", total, done - 1).__enter__())
        bar[0].advance(done - bar[0].done)

    try:
        count = cls(options.config).run(options.path, options.out, command_line(), report)
    finally:
        if bar:
            bar[0].__exit__(None, None, None)
    print(f"{count} images: {show(options.out)}")
    return 0
