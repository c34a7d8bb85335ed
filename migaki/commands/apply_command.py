"""migaki apply RUN|NAME --input DIR --out DIR"""

from __future__ import annotations

from pathlib import Path

from migaki.commands import help as pages
from migaki.commands.options import Single, command_line, parse
from migaki.commands.recorded import CONFIG, with_recorded
from migaki.core.discovery import names_in, reference
from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.outline import docstring, literal, load

ABOUT = """Apply the trained system in the folder RUN, or the change called NAME, to a set of images.

Labels, masks and further pictures are copied; positions in px move with the pixels. A system that takes pictures of any
size keeps their bit depth, alpha and EXIF. The input may also be a film: what is random is drawn once for it."""

_JOB = "migaki.stages.apply_job:ApplyJob"
_ALONE = "migaki.stages.apply_job:AloneJob"
_RUN = Single(kind=Path, about="the folder of a trained run", operand="RUN")


def run(words: list[str]) -> int:
    """Run the command."""
    changes = names_in("changes", "Change")
    words = with_recorded("apply", words, changes)
    if not words:
        raise UserError(f"migaki apply: missing: RUN, the folder of a trained run, or one of {', '.join(changes)}")
    if words[0] not in changes and Path(words[0]).is_dir():
        from migaki.core.trained import applied_by

        words = [by, "--run", *words] if (by := applied_by(Path(words[0]))) else words
    if words[0] in changes:
        name = words[0]
        cls = reference("changes", name, "Change")
        if literal(cls, "by_itself", False):
            return _by_itself(name, cls, words[1:])
        options = parse(f"apply {name}", docstring(cls), words[1:], also=(CONFIG,), job=_JOB,
                        config=f"{cls}.Config")
        from migaki.stages.apply import apply_change

        out = apply_change(name, load(cls)(options.config), options.job, command=command_line())
    else:
        about = f"{ABOUT}\n\nNAME is one of\n{pages.table(changes)}\n\n`migaki apply NAME --help` lists its options."
        options = parse("apply", about, words, also=(CONFIG,), run=_RUN, job=_JOB)
        from migaki.stages.apply import apply

        out = apply(options.run, options.job, command=command_line())
    print(f"written: {show(out)}")
    return 0


def _by_itself(name: str, cls: str, words: list[str]) -> int:
    """A change that makes its output from its options alone."""
    options = parse(f"apply {name}", docstring(cls), words, also=(CONFIG,), job=_ALONE, config=f"{cls}.Config")
    from migaki.stages.apply import apply_alone

    out = apply_alone(name, load(cls)(options.config), options.job)
    print(f"written: {show(out)}")
    return 0
