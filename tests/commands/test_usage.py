"""Options that are missing, misspelt or of the wrong kind: one line that says which, and what was perhaps meant."""

from __future__ import annotations

from collections.abc import Callable

import pytest

CASES = [
    ("train gaze --out x", "missing: --data"),
    ("train gaze --dta a --out x", "did you mean --data instead of --dta"),
    ("train gaze --data a --out x --no-augmnt", "did you mean --augment instead of --no-augmnt"),
    ("train gaze --data a --out x --steps abc", "--steps: invalid literal"),
    ("train gaze --data a --out x --net huge", "Expected one of"),
    ("simulate eyes --out x --gaze-pitch 1", "Expected 2 values"),
    ("apply", "missing: RUN"),
    ("evaluate run --data a --steps 3", "unrecognized options: --steps"),
    ("evaluate views fild --data a", "fild: no such folder"),
    ("train simgan --synthetic a --real b --out c --preset papr", "paper-hands"),
    ("simulate hands --out x --cube-mm nan", "--cube-mm nan: must be a finite number"),
    ("simulate eyes --out x --gaze-pitch 1 inf", "--gaze-pitch inf: must be a finite number"),
    ("train simgan --synthetic a --real b --out c --lambda-reg nan", "--lambda-reg nan"),
]


@pytest.mark.parametrize(("line", "told"), CASES)
def test_a_wrong_option_is_reported_in_one_line(line: str, told: str, refused: Callable[..., str]) -> None:
    said = refused(*line.split())
    assert told.lower() in said.lower() and not set("│╭╰─") & set(said)
