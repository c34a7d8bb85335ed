"""Statistics of n yes-or-no answers: exact binomial test against guessing, Wilson's interval, confusion table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from migaki.metrics.shares import wilson

ALPHA = 0.05
"""Answers with a p value below this do not count as guesses."""


def tail_p(right: int, total: int) -> float:
    """Returns P(X >= `right`) for X ~ Binomial(`total`, 1/2): how often pure guessing does at least as well.

    The exact test, one-sided as in the paper (517 of 1000 gives 0.148).
    """
    return float(_test(right, total, "greater").pvalue) if total else 1.0


def two_sided_p(right: int, total: int) -> float:
    """Returns P(|X - n/2| >= |`right` - n/2|) for X ~ Binomial(n = `total`, 1/2): the two-sided p value of guessing."""
    return float(_test(right, total, "two-sided").pvalue) if total else 1.0


def verdict(right: int, total: int) -> Literal["better", "guessing", "worse"] | None:
    """Returns how the answers compare with guessing; None without any answer.

    "better" uses the one-sided test, as in the paper. That test alone would count answers that are nearly all wrong as
    guesses, although guessing rarely does so badly. "worse" uses the two-sided test, since the paper did not predict
    this direction.
    """
    if total == 0:
        return None
    if tail_p(right, total) < ALPHA:
        return "better"
    return "worse" if 2 * right < total and two_sided_p(right, total) < ALPHA else "guessing"


def wilson_interval(right: int, total: int) -> tuple[float, float]:
    """Returns Wilson's 95 % score interval of a proportion (Wilson 1927); (0, 1) without any observation.

    Unlike the textbook p +- z sqrt(p (1 - p) / n) it neither leaves [0, 1] nor collapses at 0 % and 100 %.
    """
    if not 0 <= right <= total:
        raise ValueError(f"{right} right answers of {total}")
    return wilson(right / total if total else 0.0, total)


def _test(right: int, total: int, alternative: str) -> Any:
    """SciPy's exact test of `right` of `total` answers against guessing."""
    from scipy import stats  # the import takes half a second, and the page that asks needs it only at the end

    if not 0 <= right <= total:
        raise ValueError(f"{right} right answers of {total}")
    return stats.binomtest(right, total, alternative=alternative)


@dataclass(frozen=True, kw_only=True, slots=True)
class Confusion:
    """Counts of a test in which each image is real or not, and is judged real or not."""

    real_said_real: int = 0
    real_said_fake: int = 0
    fake_said_real: int = 0
    fake_said_fake: int = 0

    @classmethod
    def count(cls, answers: Iterable[tuple[bool, bool]]) -> Confusion:
        """Returns the counts of pairs (is real, said real)."""
        cells = [0, 0, 0, 0]
        for is_real, said_real in answers:
            cells[2 * (not is_real) + (not said_real)] += 1
        return cls(real_said_real=cells[0], real_said_fake=cells[1], fake_said_real=cells[2],
                   fake_said_fake=cells[3])

    @property
    def right(self) -> int:
        """The number of right answers."""
        return self.real_said_real + self.fake_said_fake

    @property
    def total(self) -> int:
        """The number of all answers."""
        return self.real_said_real + self.real_said_fake + self.fake_said_real + self.fake_said_fake

    def summary(self) -> dict[str, Any]:
        """Returns the counts, the accuracy with its 95 % Wilson interval, both p values and the verdict, for JSON."""
        right, total = self.right, self.total
        return {
            "confusion": {
                "real": {"said_real": self.real_said_real, "said_fake": self.real_said_fake},
                "fake": {"said_real": self.fake_said_real, "said_fake": self.fake_said_fake},
            },
            "right": right,
            "total": total,
            "accuracy": right / total if total else None,
            "wilson_95": list(wilson_interval(right, total)),
            "p_one_sided": tail_p(right, total),
            "p_two_sided": two_sided_p(right, total),
            "verdict": verdict(right, total),
        }
