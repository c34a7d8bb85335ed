"""migaki import [NAME] PATH --out DIR; migaki import assets unityeyes --out DIR"""

from __future__ import annotations

import os
from pathlib import Path

from migaki.commands.options import Single, command_line, parse, take_name
from migaki.core.discovery import names_in, reference
from migaki.core.files import show
from migaki.core.outline import docstring, load

ABOUT = "Bring a published data set, or pictures of your own, into the folder format. An interrupted import continues."
_UNNAMED = "`migaki import PATH --out DIR` without a NAME recognises the layout of PATH and prints what it found."


def run(words: list[str]) -> int:
    """Run the command."""
    if words[:1] == ["assets"]:
        from migaki.commands import assets

        return assets.run(words[1:])
    taken = take_name("import", "importers", "Importer", _named(words), ABOUT)
    if taken is None:
        if words[:1] != ["--help-names"]:
            print(f"\n{_UNNAMED}\n`migaki import assets unityeyes --out DIR` fetches render assets after showing their "
                  "licence.")
        return 0
    name, rest = taken
    cls = reference("importers", name, "Importer")
    options = parse(f"import {name}", f"{ABOUT}\n\n{docstring(cls)}", rest,
                    path=Single(kind=Path, about="the published folder, archive or file", operand="PATH"),
                    job="migaki.data.walk:OutputJob", config=f"{cls}.Config")
    job = options.job
    count = load(cls)(options.config).run(options.path, job.out, command_line(), job=job, quiet=False)
    print(f"{count} images: {show(job.out)}")
    return 0


def _named(words: list[str]) -> list[str]:
    """Returns the words; if they begin with a path, the name of the recognised importer is put in front."""
    first = words[0] if words else ""
    if not first or first.startswith("-") or first in names_in("importers", "Importer"):
        return words
    if not os.path.exists(first) and not (os.sep in first and len(words) > 1):
        return words  # a name that is misspelt
    from migaki.importers.sniff import recognise_one  # imports all importers

    name, reason = recognise_one(first)
    print(f"{show(first)}: {reason}: migaki import {name}")
    return [name, *words]
