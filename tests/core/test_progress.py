"""Progress of long work: no rate before one is known, and work of an earlier run does not count as new."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from migaki.cli import main
from migaki.core import progress
from migaki.core.progress import Bar, watched
from migaki.lab import chain


class Clock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


Said = pytest.CaptureFixture[str]


def test_the_first_chunk_is_left_out_of_rate_and_estimate(clock: Clock, capsys: Said) -> None:
    with Bar("work", 1000, clock=clock) as bar:
        clock.wait(60)  # kernels are compiled
        assert bar.rate() == 0 and bar.seconds_left() is None
        bar.advance(100)
        assert bar.rate() == 0 and bar.seconds_left() is None
        assert capsys.readouterr().err == "work: 100/1000, the first 100 in 60 s, including opening and compiling\n"
        clock.wait(2)
        bar.advance(100)
        assert bar.rate() == 50 and bar.seconds_left() == 16
        clock.wait(16)
        bar.advance(800)
        said = capsys.readouterr().err
        assert said == "work: 1000/1000, 50.0/s, 0 s left\n"
    assert capsys.readouterr().err == "work: 1000/1000, 50.0/s\n"


def test_what_was_there_is_no_work_of_this_run(clock: Clock, capsys: Said) -> None:
    with Bar("work", 600, 600, clock=clock):
        clock.wait(1)
    assert capsys.readouterr().err == "work: 600 of 600 were there already\n"
    with Bar("work", 600, 500, clock=clock) as bar:
        for _ in range(10):
            clock.wait(1)
            bar.advance(10)
        assert bar.rate() == 10
    assert capsys.readouterr().err == "work: 600/600, 10.0/s, 500 were there already\n"


def test_no_rate_is_made_up(clock: Clock, capsys: Said) -> None:
    with Bar("work", 5, clock=clock) as bar:
        clock.wait(1.5)
        bar.advance(5)
    assert capsys.readouterr().err == "work: 5/5, 1.5 s\n"
    with Bar("work", 5, clock=clock) as bar:
        bar.advance(1)
        clock.wait(20)
        bar.advance(0, "still at it")
        assert capsys.readouterr().err == "work: 1/5  still at it\n"  # one chunk, and no second one yet
        bar.advance(4)
    assert "0.0/s" not in capsys.readouterr().err


def test_lines_come_now_and_then(clock: Clock, capsys: Said) -> None:
    with Bar("work", 100, clock=clock) as bar:
        for _ in range(100):
            clock.wait(1)
            bar.advance(1)
        lines = capsys.readouterr().err.splitlines()
    assert 5 <= len(lines) <= 7 and all(re.fullmatch(r"work: \d+/100, 1\.0/s, \d+ s left", line) for line in lines)


def test_work_of_unknown_size(clock: Clock, capsys: Said) -> None:
    with Bar("list", 0, clock=clock) as bar:
        for _ in range(20):
            clock.wait(1)
            bar.advance(10)
        assert bar.seconds_left() is None
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "list: 200, 10.0/s"


def test_work_that_counts_by_itself(clock: Clock, capsys: Said) -> None:
    with Bar("import", 0, clock=clock) as bar:
        for done in (40, 50, 60, 100):  # forty were there
            bar.report(done, 100)
            clock.wait(1)
        clock.wait(50)  # what comes after the last unit is not its rate
    assert capsys.readouterr().err == "import: 100/100, 25.0/s, 40 were there already\n"
    with Bar("import", 0, clock=clock) as bar:
        bar.report(100, 100)
    assert capsys.readouterr().err == "import: 100 of 100 were there already\n"


def test_a_bar_for_what_takes_longer_than_a_moment(clock: Clock, capsys: Said) -> None:
    assert list(watched(range(5), "list", clock=clock)) == [0, 1, 2, 3, 4]
    assert capsys.readouterr().err == ""
    for number in watched(range(60), "list", total=60, clock=clock):
        clock.wait(1)
        assert number < 60
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3 and all(re.match(r"list: \d+/60, 1\.0/s", line) for line in said)


def test_a_live_bar_says_the_same(clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: Said) -> None:
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True)
    bar = Bar("work", 100, clock=clock)
    assert bar._progress is not None
    fields = bar._progress.tasks[0].fields
    assert fields["pace"] == "opening"
    clock.wait(30)
    bar.advance(10)
    assert fields["pace"] == ""
    clock.wait(1)
    bar.advance(10, "loss 1")
    assert fields["pace"] == "10.0/s, 8 s left" and fields["note"] == "loss 1"
    with Bar("work", 3, 3, clock=clock):
        pass
    assert "3 of 3 were there already" in capsys.readouterr().err


def test_an_import_that_was_done_before_is_reported_as_such(tmp_path: Path, capsys: Said) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(3):
        Image.new("L", (8, 8), number).save(tmp_path / "photos" / f"{number}.png")
    words = ["import", "photos", str(tmp_path / "photos"), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert capsys.readouterr().err.startswith("import photos: 3/3, ")
    assert main(words) == 0
    assert capsys.readouterr().err == "import photos: 3 of 3 were there already\n"


def test_a_chain_estimates_only_from_steps_that_it_has_run() -> None:
    pace = chain._Progress([10.0, 30.0, 60.0], [True, False, False])
    assert pace.text() == ", 10% of the whole"
    pace.started -= 60  # a minute
    pace.done += 30.0
    assert pace.text() == ", 40% of the whole, about 2 min left"
