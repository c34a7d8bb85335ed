"""Configurations: through JSON and back, and what is said of a mistake."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from migaki.core.config import from_dict, to_dict
from migaki.core.errors import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class Inner:
    weights: tuple[float, ...] = (1.0, 2.0)
    path: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Outer:
    steps: int = 3
    rate: float = 0.5
    deep: bool = False
    mode: Literal["a", "b"] = "a"
    span: tuple[int, int] = (0, 1)
    inner: Inner = field(default_factory=Inner)
    bounds: tuple[float, float] | None = None


@pytest.mark.parametrize("value", [
    Outer(), Outer(steps=9, rate=1e-7, deep=True, mode="b", span=(5, 6), bounds=(0.25, 0.5)),
    Outer(inner=Inner(weights=(), path=Path("some/where"))),
])
def test_round_trip(value: Outer) -> None:
    assert from_dict(Outer, json.loads(json.dumps(to_dict(value)))) == value


def test_what_is_left_out_takes_its_default() -> None:
    assert from_dict(Outer, {"steps": 4}) == Outer(steps=4)


def test_a_whole_number_will_do_for_a_float_but_not_the_other_way() -> None:
    made = from_dict(Outer, {"rate": 2})
    assert made.rate == 2.0 and isinstance(made.rate, float)


@pytest.mark.parametrize(("values", "line"), [
    ({"stepz": 1}, "cfg: unknown field 'stepz': did you mean 'steps'?"),
    ({"quux": 1}, "cfg: unknown field 'quux': known are steps, rate"),
    ({"inner": {"wieghts": []}}, "cfg: field 'inner': unknown field 'wieghts': did you mean 'weights'?"),
    ({"steps": 1.5}, "cfg: field 'steps': expected int, got 1.5"),
    ({"steps": True}, "expected int, got True"), ({"deep": 1}, "expected bool, got 1"),
    ({"rate": "fast"}, "expected float, got 'fast'"), ({"rate": True}, "expected float, got True"),
    ({"mode": "c"}, "'c' is not one of 'a', 'b'"), ({"span": [1]}, "expected 2 values, got 1"),
    ({"span": 3}, "expected a list, got 3"), ({"bounds": [1, 2, 3]}, "expected 2 values, got 3"),
    ({"inner": 3}, "expected an object with the fields of Inner"), ([], "expected an object with the fields of Outer"),
])
def test_mistakes_are_reported_in_one_line(values: Any, line: str) -> None:
    with pytest.raises(UserError) as caught:
        from_dict(Outer, values, "cfg")
    assert line in str(caught.value) and "\n" not in str(caught.value)
