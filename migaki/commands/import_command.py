"""migaki import NAME PATH --out DIR"""

from __future__ import annotations

from pathlib import Path

from migaki.commands.options import OUT, Single, command_line, parse, take_name
from migaki.core.discovery import reference
from migaki.core.outline import docstring, load
from migaki.core.progress import Bar

ABOUT = "Bring a published data set into the folder format; goes on where it stopped."


def run(words: list[str]) -> int:
    """Run the command."""
    taken = take_name("import", "importers", "Importer", words, ABOUT)
    if taken is None:
        return 0
    name, rest = taken
    cls = reference("importers", name, "Importer")
    options = parse(f"import {name}", f"{ABOUT}\n\n{docstring(cls)}", rest,
                    path=Single(kind=Path, about="what was published: a folder, an archive or a file", operand="PATH"),
                    out=OUT, config=f"{cls}.Config")
    with Bar(f"import {name}", 0) as bar:
        count = load(cls)(options.config).run(options.path, options.out, command_line(), bar.report)
    print(f"{count} images: {options.out}")
    return 0
