"""Against scipy, against the definition summed naively, and against the paper's printed figures."""

from __future__ import annotations

from fractions import Fraction
from math import comb, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from migaki.web.binomial import Confusion, tail_p, two_sided_p, verdict, wilson_interval

counts = st.integers(0, 300).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))


@given(counts)
def test_p_values_are_those_of_scipy(pair: tuple[int, int]) -> None:
    right, total = pair
    if total == 0:
        assert tail_p(0, 0) == two_sided_p(0, 0) == 1.0
        return
    assert tail_p(right, total) == pytest.approx(stats.binomtest(right, total, alternative="greater").pvalue, rel=1e-9)
    assert two_sided_p(right, total) == pytest.approx(stats.binomtest(right, total).pvalue, rel=1e-9)


@pytest.mark.parametrize("total", [1, 2, 7, 12])
def test_p_values_are_the_naive_sums(total: int) -> None:
    for right in range(total + 1):
        chance = [Fraction(comb(total, k), 2**total) for k in range(total + 1)]
        assert tail_p(right, total) == float(sum(chance[right:]))
        as_far = [chance[k] for k in range(total + 1) if abs(2 * k - total) >= abs(2 * right - total)]
        assert two_sided_p(right, total) == float(sum(as_far))


@given(counts)
def test_wilson_is_that_of_scipy_and_solves_its_equation(pair: tuple[int, int]) -> None:
    right, total = pair
    low, high = wilson_interval(right, total)
    assert 0 <= low <= high <= 1
    if total == 0:
        return
    expected = stats.binomtest(right, total).proportion_ci(0.95, method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    # Wilson's bounds are where the observed share lies 1.96 standard errors *of the bound* away.
    for bound in (low, high):
        if 0 < bound < 1:
            assert abs(right / total - bound) == pytest.approx(1.959964 * sqrt(bound * (1 - bound) / total), rel=1e-4)


def test_the_papers_figures() -> None:
    paper = Confusion(real_said_real=224, real_said_fake=276, fake_said_real=207, fake_said_fake=293)
    assert (paper.right, paper.total) == (517, 1000)
    assert round(tail_p(517, 1000), 3) == 0.148
    assert tail_p(162, 200) < 1e-8


@pytest.mark.parametrize(("right", "total", "expected"), [
    (0, 24, "worse"), (1, 8, "guessing"), (0, 6, "worse"), (0, 5, "guessing"), (4, 8, "guessing"), (5, 5, "better"),
    (517, 1000, "guessing"), (527, 1000, "better"), (469, 1000, "guessing"), (468, 1000, "worse"), (162, 200, "better"),
])
def test_the_verdict_tells_worse_than_guessing_from_guessing(right: int, total: int, expected: str) -> None:
    assert verdict(right, total) == Confusion(real_said_real=right, real_said_fake=total - right).summary()["verdict"]
    assert verdict(right, total) == expected
    exact = stats.binomtest(right, total).pvalue
    assert (expected == "worse") == (2 * right < total and exact < 0.05)


def test_many_answers_do_not_overflow() -> None:
    assert tail_p(5000, 10_000) == pytest.approx(0.5, abs=0.005)
    assert tail_p(10_000, 10_000) == 0.0  # below the smallest float


def test_nonsense_is_refused() -> None:
    for right, total in ((-1, 3), (4, 3)):
        with pytest.raises(ValueError):
            wilson_interval(right, total)


def test_confusion_counts() -> None:
    found = Confusion.count([(True, True), (True, False), (True, False), (False, True), (False, False)])
    assert found == Confusion(real_said_real=1, real_said_fake=2, fake_said_real=1, fake_said_fake=1)
    assert found.summary()["accuracy"] == 0.4
    assert Confusion().summary()["accuracy"] is Confusion().summary()["verdict"] is None
