"""migaki import NAME PATH --out DIR; migaki import assets unityeyes --out DIR"""

from __future__ import annotations

from pathlib import Path

from migaki.commands.options import Single, command_line, parse, take_name
from migaki.core.discovery import reference
from migaki.core.files import show
from migaki.core.outline import docstring, load

ABOUT = "Bring a published data set, or pictures of your own, into the folder format; goes on where it stopped."


def run(words: list[str]) -> int:
    """Run the command."""
    if words[:1] == ["assets"]:
        from migaki.commands import assets

        return assets.run(words[1:])
    taken = take_name("import", "importers", "Importer", words, ABOUT)
    if taken is None:
        if words[:1] != ["--help-names"]:
            print("\n`migaki import assets unityeyes --out DIR` fetches render assets after showing their licence.")
        return 0
    name, rest = taken
    cls = reference("importers", name, "Importer")
    options = parse(f"import {name}", f"{ABOUT}\n\n{docstring(cls)}", rest,
                    path=Single(kind=Path, about="what was published: a folder, an archive or a file", operand="PATH"),
                    job="migaki.data.walk:OutputJob", config=f"{cls}.Config")
    job = options.job
    count = load(cls)(options.config).run(options.path, job.out, command_line(), job=job, quiet=False)
    print(f"{count} images: {show(job.out)}")
    return 0
