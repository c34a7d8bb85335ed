"""Tables say the same in every format; the statistics are scipy's."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from scipy import stats

from migaki.core.errors import UserError
from migaki.report.statistics import paired_difference, spread, trend_of
from migaki.report.tables import Rated, Table

RNG = np.random.default_rng(0)
A, B = RNG.normal(10, 1, 12), RNG.normal(9, 1, 12)


def test_difference_equals_scipy() -> None:
    found, test = paired_difference(A, B), stats.ttest_rel(B, A)
    interval = test.confidence_interval(0.95)
    assert found.mean == pytest.approx((B - A).mean()) and found.p_value == pytest.approx(test.pvalue)
    assert (found.t_low, found.t_high) == pytest.approx((interval.low, interval.high))
    boot = stats.bootstrap((B - A,), np.mean, n_resamples=10_000, method="percentile", rng=1).confidence_interval
    assert (found.bootstrap_low, found.bootstrap_high) == pytest.approx((boot.low, boot.high), abs=0.05)
    assert paired_difference(A, B) == found  # seeded


def test_the_t_interval_covers_as_often_as_it_says() -> None:
    rng, hits = np.random.default_rng(1), 0
    for _ in range(400):
        gain = rng.normal(0.5, 1, 5)
        found = paired_difference(np.zeros(5), gain, level=0.9, num_resamples=2)
        hits += found.t_low <= 0.5 <= found.t_high  # type: ignore[operator]
    assert 0.85 < hits / 400 < 0.95


def test_few_or_equal_pairs() -> None:
    same = paired_difference([1.0, 2.0, 3.0], [2.0, 3.0, 4.0])
    assert same.p_value == 0 and same.t_low == same.t_high == 1
    assert paired_difference([1.0, 2.0, 4.0], [1.0, 2.0, 4.0]).p_value == 1
    with pytest.raises(UserError, match="pairs"):
        paired_difference([1.0], [1.0, 2.0])
    with pytest.raises(UserError, match="finite"):
        spread([float("nan")])


def test_two_runs_have_no_interval_and_show_both_values() -> None:
    one, two = paired_difference([1.0], [1.5]), paired_difference([1.0, 2.0], [1.5, 1.75])
    for gap in (one, two):
        assert gap.t_low is gap.t_high is gap.p_value is gap.bootstrap_low is None
    assert str(one) == "+0.5 (1 run: no interval)"
    assert str(two) == "+0.125 (+0.5, -0.25; 2 runs: no interval)"
    assert str(two.judged(higher_is_better=True)).endswith(", better, not in every run")
    assert str(spread([9.0, 9.5])) == "9.25 (9.00, 9.50)"
    assert paired_difference([1.0, 2.0, 3.0], [1.5, 1.75, 3.5]).t_low is not None


def test_what_got_worse_is_called_worse() -> None:
    rng = np.random.default_rng(0)
    sure = paired_difference(np.zeros(20), 1 + 0.1 * rng.normal(size=20))
    unsure = paired_difference(np.zeros(3), [1.0, -0.5, 0.4])
    assert sure.judged(higher_is_better=True).word == "better" and sure.judged(higher_is_better=False).word == "worse"
    assert unsure.judged(higher_is_better=False).word == "worse, perhaps by chance"
    assert sure.word == "" and paired_difference([1.0], [1.0]).judged(higher_is_better=True).word == ""
    assert trend_of(0.93, 0.99, higher_is_better=False) == "worse" and trend_of(1, 1, higher_is_better=True) is None


def test_a_figure_has_the_same_digits_wherever_it_stands() -> None:
    for values, places in (([9.181, 9.274, 9.03], None), ([9.181, 9.274], 1), ([40.9], 1), ([40.123456], None)):
        found = spread(values, places)
        assert str(found).split(" ")[0] == found.mean_text
    assert spread([40.0, 41.0, 43.0], 1).mean_text == "41.3" and spread([5], 1).mean_text == "5.0"


@pytest.mark.parametrize(("values", "text"), [
    ([7.8, 8.1, 7.7], "7.87 ± 0.21"), ([0.39, 0.4, 0.37], "0.387 ± 0.015"), ([8.3], "8.3"),
    ([100, 160, 130], "130 ± 30"), ([2.0, 2.0, 2.0], "2.00 ± 0.00"), ([100, 160], "130 (100, 160)"),
])
def test_a_spread_shows_two_digits_of_its_deviation(values: list[float], text: str) -> None:
    assert str(spread(values)) == text


def test_all_formats_say_the_same() -> None:
    table = Table(["arm", "error", "share"], [["a|b", spread([1.0, 2.0, 3.0]), None],
                                              ["c", spread([3.5]), spread([0.5])]])
    lines = table.markdown().splitlines()
    assert lines[0].startswith("| arm") and lines[1].count("|") == 4 and ":" in lines[1]
    assert r"a\|b" in lines[2] and "2.0 ± 1.0" in lines[2] and lines[2].rstrip("| ").endswith("-")
    records = json.loads(table.json())
    assert records[0]["error"] == 2 and records[0]["error_std"] == pytest.approx(1)
    assert records[0]["share"] is None and records[1]["share"] == 0.5
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    assert rows[0]["arm"] == "a|b" and float(rows[0]["error"]) == 2 and rows[1]["error_std"] == ""
    assert len({len(line) for line in lines}) == 1


def test_a_rated_cell_keeps_its_figure_and_gains_a_word() -> None:
    table = Table(["arm", "error"], [["a", Rated(value=spread([1.0, 2.0, 3.0]), trend="worse")],
                                     ["b", Rated(value=0.5, trend=None)]])
    assert [row[1] for row in table.cells()] == ["2.0 ± 1.0, worse", "0.5"]
    assert [record["error"] for record in table.records()] == [2.0, 0.5] and "error_places" not in table.records()[0]


def test_odd_cells() -> None:
    table = Table(["x", "y"], [[None, float("nan")], ["two\nlines", 1]])
    assert table.cells()[0] == ["-", "nan"] and "two lines" in table.markdown()
    assert json.loads(table.json())[0] == {"x": None, "y": None}
    assert Table(["x"], []).csv() == "x\n"
    with pytest.raises(UserError, match="row 0"):
        Table(["x"], [[1, 2]])


def test_names_that_are_not_utf_8_can_be_written() -> None:
    assert Table(["name"], [["caf\udce9.png"]]).csv().encode() == b"name\ncaf\\udce9.png\n"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-rf.png", "@SUM(A1)", "\t=1", '=HYPERLINK("x")', "=cmd|' /C calc'!A0"])
def test_text_is_no_formula_for_a_spreadsheet(text: str) -> None:
    """Names of files and classes are strangers' text, and people open a table in a spreadsheet."""
    table = Table(["name", text], [[text, -1.5], ["-", None], ["a=b", 2]])
    header, first, dash, plain = csv.reader(table.csv().splitlines(keepends=True))
    assert header == ["name", "'" + text] and first == ["'" + text, "-1.5"] and dash == ["-", ""]
    assert plain == ["a=b", "2"] and json.loads(table.json())[0]["name"] == text
