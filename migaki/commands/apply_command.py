"""migaki apply RUN|NAME --input DIR --out DIR"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from migaki.commands.options import command_line, parse
from migaki.core.change import Change
from migaki.core.discovery import find_class, names_in
from migaki.core.errors import UserError
from migaki.core.files import show

ABOUT = """Apply the trained system in the folder RUN, or the change called NAME, to a set of images.

Labels, masks and further pictures are carried over; those that are places in px follow the pixels. A system that takes
pictures of any size keeps their bit depth, alpha and EXIF, and takes one picture or a video as well."""


def run(words: list[str]) -> int:
    """Run the command."""
    from migaki.stages.apply import (  # brings PyTorch, which the list of names does not need
        ApplyJob,
        apply,
        apply_change,
    )

    changes = names_in("changes", "Change")
    if not words:
        raise UserError(f"migaki apply: say what: the folder of a trained run, or one of {', '.join(changes)}")
    if words[0] in changes:
        name = words[0]
        cls = find_class("changes", name, Change)
        about = f"{cls.__doc__}"
        options = parse(f"apply {name}", about, words[1:], job=ApplyJob, config=cls.Config)
        out = apply_change(name, cls(options.config), options.job, command=command_line())
    else:
        wide = max(map(len, changes))
        rows = "\n".join(f"  {name:<{wide}} {line}" for name, line in changes.items())
        about = f"{ABOUT}\n\nNAME is one of\n{rows}\n\n`migaki apply NAME --help` lists its options."
        options = parse("apply", about, words, run=(Annotated[Path, tyro.conf.Positional], ...), job=ApplyJob)
        out = apply(options.run, options.job, command=command_line())
    print(f"written: {show(out)}")
    return 0
