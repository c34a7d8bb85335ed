"""SIGKILL at random moments: what is left after another call has the same bits (in full: `harness.py --kills 25`)."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import stages, torture

KILLS = 2


@pytest.mark.parametrize("name", ["simulate-digits", "train-simgan", "apply",
                                  *(pytest.param(name, marks=pytest.mark.long) for name in ("train-gaze", "study"))])
def test_killed_and_gone_on(name: str, prepared: dict[str, str], tmp_path: Path) -> None:
    result = torture(stages(1)[name], prepared, tmp_path, KILLS, seed=len(name))
    assert result.kills == KILLS and not result.problems, result.problems
