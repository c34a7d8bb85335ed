"""`migaki frame`: the earlier name of `migaki apply frame`."""

from __future__ import annotations

from migaki.commands import apply_command


def run(words: list[str]) -> int:
    """Run the command."""
    return apply_command.run(["frame", *words])
