"""migaki frame --input DIR --out DIR"""

from __future__ import annotations

from migaki.commands.options import command_line, parse

ABOUT = "Bring the characters of a folder to one size, place and slant: two sets then differ in looks, not in layout."


def run(words: list[str]) -> int:
    """Run the command."""
    options = parse("frame", ABOUT, words, job="migaki.stages.frame:FrameJob")
    from migaki.stages.frame import frame

    print(f"written: {frame(options.job, command=command_line())}")
    return 0
