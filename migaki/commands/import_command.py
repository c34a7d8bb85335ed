"""migaki import NAME PATH --out DIR; migaki import unityeyes_assets --out DIR"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from migaki.commands.options import command_line, parse, take_name
from migaki.core.discovery import find_class
from migaki.core.files import show
from migaki.data.walk import OutputJob
from migaki.importers.importer import Importer

ABOUT = "Bring a published data set, or pictures of your own, into the folder format; goes on where it stopped."


def run(words: list[str]) -> int:
    """Run the command."""
    if words[:1] == ["assets"]:
        from migaki.commands import assets_command

        return assets_command.run(words[1:])
    taken = take_name("import", "importers", "Importer", words, ABOUT)
    if taken is None:
        print("\n`migaki import assets unityeyes --out DIR` fetches render assets after showing their licence.")
        return 0
    name, rest = taken
    cls = find_class("importers", name, Importer)
    about = f"{ABOUT}\n\n{cls.__doc__}"
    options = parse(f"import {name}", about, rest, path=(Annotated[Path, tyro.conf.Positional], ...),
                    job=OutputJob, config=cls.Config)
    count = cls(options.config).run(options.path, options.job.out, command_line(), job=options.job, quiet=False)
    print(f"{count} images: {show(options.job.out)}")
    return 0
