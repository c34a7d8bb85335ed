"""migaki drift: the earlier name of `migaki evaluate drift`."""

from __future__ import annotations

from migaki.commands import evaluate_command


def run(words: list[str]) -> int:
    """Run the command."""
    return evaluate_command.run(["drift", *words])
