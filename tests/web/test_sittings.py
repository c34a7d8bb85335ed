"""The store: nothing is lost, nothing is counted twice, nobody answers for another."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from migaki.core.errors import UserError
from migaki.web.sittings import FILE_NAME, Sittings
from migaki.web.turing import TuringConfig, open_test


def order_of(sittings: Sittings) -> tuple[str, ...]:
    """The names of the images in the order in which a new person sees them."""
    key, state = sittings.begin()
    names = [one.name for one in sittings.stimuli().stimuli]
    order = []
    for position in range(state.total):
        image = sittings.image_at(key, position)
        assert image is not None
        order.append(names[image])
        sittings.answer(key, position, True)
    return tuple(order)


def test_each_sitting_sees_every_image_once_in_its_own_order(sittings: Sittings) -> None:
    orders = [order_of(sittings) for _ in range(4)]
    names = sorted(one.name for one in sittings.stimuli().stimuli)
    assert all(sorted(order) == names for order in orders)
    assert len(set(orders)) > 1
    codes = [record.code for record in sittings.records()]
    assert len(set(codes)) == 4 and all(len(code) == 5 for code in codes)


def test_the_seed_chooses_the_images_but_foretells_no_order(config: TuringConfig) -> None:
    """Who has the source code and guesses the seed must not know the answers; nor who sat another test before."""
    tests = [open_test(replace(config, out=config.out / name)) for name in ("a", "b")]
    orders = [[order_of(sittings) for _ in range(3)] for sittings in tests]
    for sittings in tests:
        sittings.close()
    assert {frozenset(order) for order in orders[0] + orders[1]} == {frozenset(orders[0][0])}
    assert len({*orders[0], *orders[1]}) > 3  # chance alone would repeat all three once in 10^13 tests


def test_the_number_of_an_image_does_not_tell_real_from_fake(config: TuringConfig) -> None:
    sittings = open_test(replace(config, per_class=40))
    kinds = [one.is_real for one in sittings.stimuli().stimuli]
    sittings.close()
    assert sum(kinds) == 40
    # In random order neighbours differ in half of the places; all but impossible are fewer than 10 of 79.
    assert 10 < sum(one != next_one for one, next_one in itertools.pairwise(kinds)) < 70


def test_a_reload_keeps_the_order(config: TuringConfig) -> None:
    sittings = open_test(config)
    key, _ = sittings.begin()
    query = "SELECT image FROM trial ORDER BY position"
    before = sittings._connection.execute(query).fetchall()
    sittings.close()
    again = open_test(config)
    assert again._connection.execute(query).fetchall() == before and len(before) == 8
    assert again.image_at(key, 0) == before[0][0]
    again.close()


def test_only_the_first_answer_at_the_present_position_counts(sittings: Sittings) -> None:
    key, _ = sittings.begin()
    first = sittings.answer(key, 0, True)
    assert first is not None and first.position == 1
    for position in (0, 5, -1, 10**12):  # again, too early, nonsense
        assert sittings.answer(key, position, False) == first
    record = sittings.record(key)
    assert record is not None and [answer.said_real for answer in record.answers] == [True]
    assert not record.is_finished
    assert sittings.image_at(key, 0) is None and sittings.image_at(key, 2) is None


def test_an_unknown_key_opens_nothing(sittings: Sittings) -> None:
    _, state = sittings.begin()
    for key in ("", "x", state.code, "' OR 1=1 --"):
        assert sittings.state(key) is None and sittings.answer(key, 0, True) is None
        assert sittings.record(key) is None and sittings.image_at(key, 0) is None


def test_keys_are_not_in_the_file(sittings: Sittings) -> None:
    key, _ = sittings.begin()
    dump = "\n".join(sqlite3.connect(sittings.path).iterdump())
    assert key not in dump


def test_many_people_at_once_do_not_mix(sittings: Sittings) -> None:
    def sit(person: int) -> tuple[str, list[bool]]:
        key, state = sittings.begin()
        said = [(person >> position) % 2 == 0 for position in range(state.total)]
        for position, real in enumerate(said):
            sittings.answer(key, position, real)
        return state.code, said

    with ThreadPoolExecutor(8) as pool:
        expected = dict(pool.map(sit, range(16)))
    found = {record.code: [answer.said_real for answer in record.answers] for record in sittings.records()}
    assert found == expected


_KILLED = """
import os, sys
from pathlib import Path
from migaki.web.sittings import Sittings
sittings = Sittings(Path(sys.argv[1]))
key, _ = sittings.begin()
for position in range(5):
    sittings.answer(key, position, position % 2 == 0)
print(key, sittings.image_at(key, 5), flush=True)
sys.stdin.read()
"""


def test_a_killed_server_loses_no_answer_and_goes_on_with_the_same_image(sittings: Sittings) -> None:
    process = subprocess.Popen([sys.executable, "-c", _KILLED, str(sittings.path)], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    key, image = process.stdout.readline().split()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    state = sittings.state(key)
    assert state is not None and state.position == 5
    assert sittings.image_at(key, 5) == int(image)
    record = sittings.record(key)
    assert record is not None and [answer.said_real for answer in record.answers] == [True, False, True, False, True]


def test_a_full_disk_stores_nothing_and_the_next_try_succeeds(sittings: Sittings) -> None:
    key, _ = sittings.begin()
    pages = sittings._connection.execute("PRAGMA page_count").fetchone()[0]
    sittings._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        for _ in range(200):
            sittings.begin()
    sittings._connection.execute("PRAGMA max_page_count = 1000000")
    after = sittings.answer(key, 0, True)
    assert after is not None and after.position == 1


def test_the_images_are_kept_whatever_happens_to_the_folders(config: TuringConfig) -> None:
    made = open_test(config)
    before = made.stimuli()
    made.close()
    again = Sittings(config.out / FILE_NAME)
    after = again.stimuli()
    again.close()
    assert after.form == before.form and len(after.stimuli) == 8
    for one, other in zip(before.stimuli, after.stimuli, strict=True):
        assert (one.name, one.is_real) == (other.name, other.is_real)
        assert (one.pixels == other.pixels).all()


@pytest.mark.parametrize("change", [{"seed": 1}, {"per_class": 5}, {"fake": Path("elsewhere")}])
def test_going_on_with_other_settings_is_refused(config: TuringConfig, change: dict[str, object]) -> None:
    open_test(config).close()
    with pytest.raises(UserError, match="repeat that or choose another --out"):
        open_test(replace(config, **change))  # type: ignore[arg-type]


def test_a_foreign_or_missing_file_is_reported_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no visual Turing test"):
        Sittings(tmp_path / FILE_NAME)
    for content in (b"not a database at all, " * 100, b""):
        (tmp_path / FILE_NAME).write_bytes(content)
        with pytest.raises(UserError, match="damaged") as caught:
            Sittings(tmp_path / FILE_NAME)
        assert "\n" not in str(caught.value)


def test_a_test_that_cannot_be_written_leaves_nothing(config: TuringConfig) -> None:
    config.out.parent.joinpath("out").write_text("a file where a folder is wanted")
    with pytest.raises(UserError):
        open_test(config)
