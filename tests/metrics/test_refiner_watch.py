"""What refiners are watched by: checkerboards in a change, and a linear observer; silent where nothing is wrong."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from migaki.metrics.checkerboard import checkerboard
from migaki.metrics.observer import Observer
from migaki.metrics.watchmen import looks_warnings

DRAW = torch.Generator().manual_seed(7)


def soft(count: int, height: int, width: int) -> Tensor:
    """Smooth random changes with upright edges, as a refiner's are."""
    coarse = torch.randn(count, 3, 6, 8, generator=DRAW)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear") * 0.1


def pattern(height: int, width: int, period: int, *, across: bool, down: bool) -> Tensor:
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.cos(2 * math.pi * (x * across + y * down) / period)[None, None]


@pytest.mark.parametrize("size", [(48, 48), (36, 60), (35, 55)])
@pytest.mark.parametrize("period", [2, 4])
@pytest.mark.parametrize(("across", "down"), [(True, False), (False, True), (True, True)])
def test_a_faint_pattern_stands_out(size: tuple[int, int], period: int, across: bool, down: bool) -> None:
    change = soft(16, *size) + 0.02 * torch.randn(16, 3, *size, generator=DRAW)
    plain = checkerboard(change)
    found = checkerboard(change + 0.01 * pattern(*size, period, across=across, down=down))
    assert plain is not None and found is not None and float(plain) < 3 and float(found) > 6


def test_edges_grain_and_nothing_at_all_are_no_checkerboard() -> None:
    boxes = torch.zeros(16, 3, 48, 48)
    for number in range(16):
        boxes[number, :, 5 + number % 7 : 30, 9 + number % 5 : 38] = 0.3
    for change in (boxes, torch.randn(16, 3, 48, 48, generator=DRAW), torch.zeros(16, 3, 48, 48)):
        found = checkerboard(change)
        assert found is not None and float(found) < 3
    assert checkerboard(torch.zeros(1, 1, 15, 40)) is None


def test_the_checkerboard_is_measured_in_float32() -> None:
    change = soft(4, 24, 24)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(checkerboard(change), checkerboard(change))
        found = checkerboard(change.bfloat16())
    assert found is not None and found.dtype == torch.float32


def rows(count: int, away: float = 0.0) -> Tensor:
    """Features of which the third tells the sets apart by `away` deviations."""
    found = torch.randn(count, 6, generator=DRAW)
    found[:, 2] += away
    return found


def test_the_observer_tells_sets_as_far_as_they_differ() -> None:
    observer = Observer(6, capacity=400)
    assert [(float(share), float(gap)) for share, gap in observer.told()] == [(0.5, 0.0)] * 2
    for _ in range(12):
        observer.add(rows(40), rows(40), rows(40, 2.0))
    (given, no_gap), (refined, gap) = observer.told()
    assert float(given) == pytest.approx(0.5, abs=0.06) and float(no_gap) == pytest.approx(0, abs=0.25)
    assert float(refined) == pytest.approx(0.841, abs=0.05)  # the normal distribution function at one deviation
    assert float(gap) == pytest.approx(2, abs=0.3)


def test_the_gap_goes_on_growing_where_all_are_told() -> None:
    found = []
    for away in (8.0, 16.0):
        observer = Observer(6, capacity=200)
        observer.add(rows(200), rows(200, away), rows(200, away))
        found.append([float(value) for value in observer.told()[1]])
    assert found[0][0] == found[1][0] == 1.0 and found[1][1] > 1.7 * found[0][1]


def test_scales_of_features_do_not_matter() -> None:
    scale = torch.tensor([1.0, 1e3, 1e-3, 1.0, 50.0, 1.0])
    first, second = Observer(6, capacity=200), Observer(6, capacity=200)
    for _ in range(5):
        sets = [rows(40), rows(40), rows(40, 2.0)]
        first.add(*sets)
        second.add(*(one * scale for one in sets))
    for one, other in zip(first.told(), second.told(), strict=True):
        torch.testing.assert_close(one, other, atol=0.01, rtol=0)


def test_a_photograph_is_never_learned_from_and_judged_on() -> None:
    """As many features as photographs: by heart they could be told from any other set, even one of their own kind."""
    observer, photos = Observer(40, capacity=400), torch.randn(40, 40, generator=DRAW)
    for _ in range(10):  # the same 40 come back
        fresh = torch.randn(40, 40, generator=DRAW)
        observer.add(photos, fresh, fresh)
    assert float(observer.told()[0][0]) < 0.62


def test_the_observer_keeps_the_last_rows() -> None:
    observer = Observer(1, capacity=4)
    for step in range(3):
        observer.add(*(torch.full((3, 1), 10.0 * number + step) for number in range(3)))
    assert sorted(observer.rows[1, :, 0].tolist()) == [11, 12, 12, 12]


FINE = {"grain/photos": -8.0, "grain/given": -12.0, "grain/refined": -8.3, "checkerboard/peak": 1.4,
        "apart/given": 3.0, "apart/refined": 3.0}


@pytest.mark.parametrize(("changes", "text"), [
    ({}, ""), ({"grain/refined": -6.5}, "draws grain"), ({"grain/refined": -6.7}, ""),
    ({"grain/refined": -6.5, "grain/given": -6.5}, "is left"), ({"grain/refined": -9.5}, "smoother"),
    ({"grain/refined": -9.3}, ""), ({"checkerboard/peak": 6.5}, "checkerboard"), ({"checkerboard/peak": 5.5}, ""),
    ({"apart/refined": 3.6}, "easier to tell"), ({"apart/refined": 3.4}, ""), ({"apart/refined": 0.1}, ""),
])
def test_each_warning_has_its_cause(changes: dict[str, float], text: str) -> None:
    said = looks_warnings(FINE | changes)
    assert len(said) == bool(text) and all(text in line for line in said)


def test_what_is_not_logged_is_not_judged() -> None:
    assert looks_warnings({}) == []
