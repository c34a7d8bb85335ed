"""Which RUN a command line speaks of, before its options are known: restorers have options of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def names_restorer(words: Sequence[str]) -> bool:
    """Whether one of the words is the folder of a trained restorer; false where none is a run, which is told later."""
    runs = [Path(word) for word in words if not word.startswith("-") and (Path(word) / "config.json").is_file()]
    if not runs:
        return False
    from migaki.stages.restore import is_restorer  # brings PyTorch, which help does not need

    return is_restorer(runs[0])
