"""The engine of studies: what is made once, what is compared with what, what is left in the folder."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from migaki.core.errors import UserError
from migaki.core.files import make_folder, write_json, write_text
from migaki.lab.arms import Arm, Measure, Trial, difference_by, difference_by_picture, pairs, read_outcomes
from migaki.lab.chain import Phase, Step, run_chain
from migaki.lab.steps import call_step
from migaki.lab.study import Plan, Study, run_study
from migaki.lab.study_report import StudyReport
from migaki.lab.verdict import verdict
from migaki.report.figures import share_text

ERROR = Measure(key="mean_deg", name="mean error, deg")
SHARE = Measure(key="within_7_deg", name="within 7 deg, %", scale=100, higher_is_better=True)
MADE: list[str] = []


class Toy(Study):
    """Two arms; `refined` has two refiners with two networks each."""

    title = "A toy"
    factors = ("refiner", "CNN")
    measures = (ERROR, SHARE)

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Its options."""

        gain: float = 1.0

    config: Config

    def plan(self, out: Path, quiet: bool) -> Plan:
        synthetic = tuple(Trial(seeds=(None, k), evaluation=out / f"synthetic_{k}") for k in range(2))
        refined = tuple(Trial(seeds=(r, k), evaluation=out / f"refined_{r}_{k}") for r in range(2) for k in range(2))
        steps = [_judge(trial.evaluation, 5.0 + 0.1 * (trial.seeds[1] or 0)) for trial in synthetic]
        steps += [_judge(t.evaluation, 5.0 - self.config.gain * (t.seeds[0] or 0)) for t in refined]
        return Plan(phases=(Phase(title="judge", steps=tuple(steps)),),
                    arms=(Arm(name="synthetic", slug="synthetic", saw="nothing", trials=synthetic),
                          Arm(name="refined", slug="refined", saw="photographs", trials=refined)))

    def compose(self, report: StudyReport) -> None:
        report.section("Table 3")
        report.compare("table3", ["synthetic", "refined"], published={"refined": 7.8}, source="the paper",
                       others={"SVR": 16.5}, caption="Errors.")
        report.differences("gain", "synthetic", ["refined"])


def _judge(folder: Path, error: float) -> Step:
    def work() -> None:
        MADE.append(folder.name)
        write_text(make_folder(folder) / "errors.csv", f"file_name,error_deg\na.png,{error - 1}\nb.png,{error + 1}\n")
        write_json(folder / "evaluation.json", {"figures": {"mean_deg": error, "within_7_deg": 0.5, "curve": []}})

    return call_step(f"judge with an error of {error:g}", work, folder / "evaluation.json", [], cost=1.0)


def test_a_study_leaves_its_tables_and_is_not_made_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    MADE.clear()
    out = tmp_path / "out"
    page = run_study("toy", Toy(Toy.Config()), out)
    assert page == out / "report.html" and len(MADE) == 6
    assert "50% of the whole" in capsys.readouterr().err
    with open(out / "tables" / "table3.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["trained on"] for row in rows] == ["synthetic", "refined", "SVR"]
    refined = [5.0, 5.0, 4.0, 4.0]
    assert float(rows[1]["mean error, deg"]) == np.mean(refined)
    assert float(rows[1]["mean error, deg_std"]) == pytest.approx(np.std(refined, ddof=1))
    assert [row["the paper"] for row in rows] == ["", "7.8", "16.5"] and rows[1]["models"] == "4"
    assert "| synthetic " in (out / "tables" / "table3.md").read_text()
    assert len(json.loads((out / "results.json").read_text())) == 6
    text = page.read_text(encoding="utf-8")
    assert "judge with an error of" in text and "7.8" in text and "seconds of one core" in text
    run_study("toy", Toy(Toy.Config()), out, quiet=True)
    assert len(MADE) == 6


def test_differences_are_paired_and_clustered(tmp_path: Path) -> None:
    run_study("toy", Toy(Toy.Config(gain=0.5)), tmp_path, quiet=True)
    outcomes = read_outcomes(Toy(Toy.Config()).plan(tmp_path, True).arms)
    found = pairs(outcomes["synthetic"], outcomes["refined"], ERROR)
    assert found == pytest.approx({(0, 0): 0.0, (0, 1): -0.1, (1, 0): -0.5, (1, 1): -0.6})
    by_refiner, by_cnn = difference_by(0, found), difference_by(1, found)
    assert by_refiner is not None and by_cnn is not None
    assert by_refiner.count == by_cnn.count == 2 and by_cnn.mean == pytest.approx(-0.3)
    assert by_refiner.t_low is None and by_refiner.values == pytest.approx((-0.05, -0.55))
    third = difference_by(0, {**found, (2, 0): -0.3})
    oracle = stats.ttest_1samp([-0.05, -0.55, -0.3], 0).confidence_interval(0.95)
    assert third is not None and (third.t_low, third.t_high) == pytest.approx((oracle.low, oracle.high))
    assert difference_by(0, {(None, 1): 1.0}) is None


def test_pictures_are_compared_over_equal_seeds(tmp_path: Path) -> None:
    """An arm of which only the first CNN was trained stands against the first CNN of the others, by picture too."""
    def trial(slug: str, k: int, errors: tuple[float, float, float]) -> Trial:
        folder = make_folder(tmp_path / f"{slug}_{k}")
        lines = [f"{name}.png,{error}" for name, error in zip("abc", errors, strict=True)]
        write_text(folder / "errors.csv", "\n".join(["file_name,error_deg", *lines]) + "\n")
        write_json(folder / "evaluation.json", {"figures": {"mean_deg": float(np.mean(errors))}})
        return Trial(seeds=(0, k), evaluation=folder)

    full = Arm(name="refined", slug="refined", saw="photographs",
               trials=(trial("refined", 0, (4.0, 5.0, 6.0)), trial("refined", 1, (9.0, 9.0, 9.0))))
    part = Arm(name="kept", slug="kept", saw="photographs", trials=(trial("kept", 0, (4.5, 5.5, 7.0)),))
    outcomes = read_outcomes([full, part])
    gap = difference_by_picture(outcomes["refined"], outcomes["kept"])
    assert gap is not None and gap.mean == pytest.approx(2 / 3) and gap.count == 3
    assert pairs(outcomes["refined"], outcomes["kept"], ERROR) == pytest.approx({(0, 0): 2 / 3})
    assert outcomes["refined"].each is not None and outcomes["refined"].each.shape == (2, 3)


def _touch(name: str, folder: Path, *needs: Path) -> Step:
    def work() -> None:
        MADE.append(name)
        (make_folder(folder) / "proof").touch()

    return call_step(name, work, folder / "proof", needs)


def test_old_data_do_not_pass_for_new(tmp_path: Path) -> None:
    MADE.clear()
    below, above = tmp_path / "below", tmp_path / "above"

    def walk(name: str) -> None:
        run_chain([Phase(title="walk", steps=(_touch(name, below), _touch("above", above, below)))], tmp_path,
                  last="rest", quiet=True)

    walk("below, 10 images")
    with pytest.raises(UserError, match=r"from other data .*: below, above: delete these"):
        walk("below, 20 images")
    assert MADE == ["below, 10 images", "above"], "nothing may be run before the mistake is told"
    (above / "proof").unlink()
    (below / "proof").unlink()
    walk("below, 20 images")
    assert MADE[2:] == ["below, 20 images", "above"]


def test_arms_and_steps_cannot_be_confused(tmp_path: Path) -> None:
    arm = Arm(name="one", slug="one", saw="nothing", trials=())
    with pytest.raises(UserError, match="slug"):
        Plan(phases=(), arms=(arm, arm))
    step = _touch("same", tmp_path / "a")
    with pytest.raises(UserError, match="twice"):
        run_chain([Phase(title="walk", steps=(step, step))], tmp_path, last="rest", quiet=True)


def _evaluated(folder: Path, errors: list[float], free: float) -> Path:
    """What an evaluation leaves: errors of some pictures, their figures, and those of always the mean."""
    rows = "".join(f"{k}.png,{error}\n" for k, error in enumerate(errors))
    write_text(make_folder(folder) / "errors.csv", f"file_name,error_deg\n{rows}")
    figures = {"mean_deg": float(np.mean(errors)), "within_7_deg": float(np.mean(np.array(errors) <= 7))}
    write_json(folder / "evaluation.json", {"figures": figures, "costs_nothing": {
        "name": "always the mean gaze", "figures": {"mean_deg": free, "within_7_deg": 0.25}}})
    return folder


def _report(tmp_path: Path, arms: dict[str, list[list[float]]], free: float = 9.0) -> StudyReport:
    made = [Arm(name=slug, slug=slug, saw="nothing", trials=tuple(
        Trial(seeds=(k,), evaluation=_evaluated(tmp_path / f"{slug}_{k}", errors, free))
        for k, errors in enumerate(runs))) for slug, runs in arms.items()]
    return StudyReport(tmp_path / "out", "A study", "", factors=("seed",), measures=(ERROR, SHARE), timings=[],
                       outcomes=read_outcomes(made))


def test_the_curve_and_the_table_show_one_statistic(tmp_path: Path) -> None:
    """Averaging a picture's errors over the runs first would give another share: here all instead of half."""
    report = _report(tmp_path, {"synthetic": [[6.0, 6.0, 6.0, 6.0], [7.5, 7.5, 7.5, 7.5]]})
    table = report.compare("table", ["synthetic"], measures=[replace(SHARE, places=1)])
    assert str(table.rows[0][1]) == "50.0 (100.0, 0.0)"
    assert share_text(report.errors(["synthetic"])["synthetic"], 7) == "50.0"


def test_what_costs_nothing_stands_below_the_arms(tmp_path: Path) -> None:
    report = _report(tmp_path, {"good": [[5.0, 6.0]], "bad": [[11.0, 12.0]]})
    table = report.compare("table", ["good", "bad"], others={"SVR": 16.5}, source="paper")
    assert list(table.columns)[:4] == ["trained on", ERROR.name, SHARE.name, "paper"]
    assert [row[0] for row in table.rows] == ["good", "bad", "always the mean gaze", "SVR"]
    assert [str(cell) for cell in table.rows[2][1:3]] == ["9", "25"]
    assert str(table.rows[0][1]) == "5.5"
    assert str(table.rows[1][1]) == "11.5, worse than always the mean gaze"
    assert str(table.rows[1][2]) == "0, worse than always the mean gaze"


def test_the_verdict_is_what_the_figures_show(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(4, 6, (3, 40))

    def words(gain: float, runs: int) -> str:
        other = base + gain + 0.01 * rng.normal(size=base.shape)
        report = _report(tmp_path, {"first": base[:runs].tolist(), "other": other[:runs].tolist()})
        return verdict("Refining", report["first"], report["other"], replace(ERROR, places=2), ("seed",))

    assert words(-0.5, 3).startswith("Refining helped: the mean error went from 5.0")
    assert words(0.5, 3).startswith("Refining did harm: ")
    few = words(0.5, 2)
    assert few.startswith("Refining did harm on these models: ") and "2 runs of each arm have no interval" in few
    assert words(0.0, 2).startswith("Refining made no difference beyond chance")
    assert words(0.0, 3).startswith("Refining made no difference beyond chance")


def test_two_runs_without_errors_by_picture_are_not_called_chance(tmp_path: Path,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    """Average precision has no error by picture: 2 to 90 % with both seeds is no proof, and no chance either."""
    monkeypatch.setattr("migaki.lab.verdict.picture_gap", lambda *_: None)

    def words(other: list[list[float]]) -> str:
        report = _report(tmp_path / str(other), {"first": [[5.0, 6.0], [5.5, 6.5]], "other": other})
        return verdict("Refining", report["first"], report["other"], replace(ERROR, places=2), ("seed",))

    assert words([[1.0, 2.0], [1.5, 2.5]]).startswith("Refining seems to have helped: ")
    worse = words([[8.0, 9.0], [8.5, 9.5]])
    assert worse.startswith("Refining seems to have done harm: ") and "2 runs of each arm have no interval" in worse
    assert words([[4.0, 5.0], [6.5, 7.6]]).startswith("Refining made no difference beyond chance")


def test_a_difference_of_two_runs_has_no_interval_on_the_page(tmp_path: Path) -> None:
    report = _report(tmp_path, {"first": [[5.0, 6.0, 7.0], [5.5, 6.5, 7.5]],
                                "other": [[6.0, 7.5, 8.0], [6.2, 7.5, 8.1]]})
    table = report.differences("gaps", "first", ["other"])
    by_seed, by_picture = (str(cell) for cell in table.rows[0][1:])
    assert "2 runs: no interval" in by_seed and by_seed.endswith(", worse") and "[" not in by_seed
    assert "[" in by_picture and by_picture.endswith(", worse")


def test_what_costs_nothing_is_the_mean_where_trials_have_tests_of_their_own(tmp_path: Path) -> None:
    measure = Measure(key="right", name="right, %", scale=100, higher_is_better=True, places=1)
    trials = []
    for number, free in enumerate((0.6, 0.1, 0.2)):
        write_json(make_folder(tmp_path / str(number)) / "evaluation.json", {
            "figures": {"right": 0.5}, "costs_nothing": {"name": "untouched", "figures": {"right": free}}})
        trials.append(Trial(seeds=(number,), evaluation=tmp_path / str(number)))
    own = read_outcomes([Arm(name="own", slug="own", saw="nothing", trials=tuple(trials))])["own"].free_spread(measure)
    assert own is not None and own.mean == pytest.approx(30)
    assert own.std is not None and own.std == pytest.approx(26.4575, rel=1e-4)
    same = read_outcomes([Arm(name="one", slug="one", saw="nothing", trials=(trials[0], trials[0]))])["one"]
    single = same.free_spread(measure)
    assert single is not None and single.mean == pytest.approx(60) and single.count == 1
