"""State files that are damaged or a stranger's: one line or a clean continuation. In full: `fuzz.py set --cases N`."""

from __future__ import annotations

import json
import random
import warnings

import pytest
from fuzz import mutate
from state_targets import _FORMS, NAMES, TARGETS, seeds

from migaki.lab.chain import Phase, run_chain  # noqa: F401, loaded before the clock runs

FILE, LINK, FOLDER, PIPE = range(4)


def case(target: str, name: str, form: int = FILE, data: bytes = b"", begun: bool = False) -> bytes:
    """A case with this file in this form; `begun`: in a folder that is not finished."""
    count = len(NAMES[target])
    number = next(value for value in range(128 * begun, 128 * begun + count * _FORMS)
                  if value % count == NAMES[target].index(name) and value // count % _FORMS == form)
    return bytes([number]) + data


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_whole_is_taken(target: str) -> None:
    whole = [data for data in seeds(target) if data[0] // len(NAMES[target]) % _FORMS == FILE and data[1:]]
    assert len(whole) >= len(NAMES[target]) - 2 and not any(TARGETS[target](data) for data in whole)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("begun", [False, True], ids=["finished", "begun"])
def test_links_folders_and_pipes(target: str, begun: bool) -> None:
    """The file is refused or replaced by one of ours; nothing hangs, and the target checks files outside."""
    for name in NAMES[target]:
        for form in (LINK, FOLDER, PIPE):
            refusal = TARGETS[target](case(target, name, form, begun=begun))
            if name in (".lock", "checkpoint", "steps.json", "evaluation.json", "turing.sqlite") and (
                    name != "checkpoint" or form != LINK):
                assert name in refusal, (name, form)


CASES = {"set": 60, "sharded": 60, "run": 40, "study": 100, "sittings": 60}


@pytest.mark.parametrize(("target", "cases"), CASES.items())
def test_mutations(target: str, cases: int) -> None:
    draw, valid = random.Random(cases), [data for data in seeds(target) if data[1:]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refusals = [TARGETS[target](mutate(draw.choice(valid), draw)) for _ in range(cases)]
    assert any(refusals), "no mutation was refused: nothing was tried"


ODD = [None, True, 3, -1, 0.5, 10**30, "x", "\ud800", [], {}, [[1]], [99], [-1], {"a": None}]


@pytest.mark.parametrize("value", ODD, ids=repr)
@pytest.mark.parametrize("key", ["dropped", "num_images", "command", "seed", "shards", "shard", "format", "total"])
def test_odd_values_in_dataset_json(key: str, value: object) -> None:
    for target, begun in (("set", False), ("sharded", False), ("set", True), ("sharded", True)):
        text = next(data for data in seeds(target) if data[:1] == case(target, "dataset.json")[:1])[1:]
        data = json.dumps({**json.loads(text), key: value}).encode()
        refusal = TARGETS[target](case(target, "dataset.json", FILE, data, begun))
        assert not refusal or "case" in refusal
    heading, *rows = next(data for data in seeds("set") if data[:1] == case("set", ".journal", begun=True)[:1]
                          )[1:].splitlines()
    lines = [json.dumps({**json.loads(heading), key: value}).encode(), *rows]
    TARGETS["set"](case("set", ".journal", FILE, b"\n".join(lines) + b"\n", True))


@pytest.mark.parametrize("entry", [
    {"index": "x"}, {"index": -1, "row": {"file_name": "0.png"}}, {"index": 10**30, "row": {}}, {"row": {}}, {},
    {"index": 0, "row": {"file_name": "../../outside"}}, {"index": 0, "row": {"file_name": 3}},
    {"index": 0, "row": {"file_name": "0.png", "mask_file_name": ["a"]}},
    {"index": True, "row": {"file_name": "0.png"}}, {"index": 0, "row": 3}, {"index": 0, "row": {"x": 1}},
    {"shard": "x", "dropped": 3}, {"shard": 0, "dropped": [99]},
    {"shard": 10**30, "dropped": []}, {"shard": -1}, {"shard": 0, "dropped": None},
], ids=json.dumps)
def test_odd_entries_of_a_journal(entry: dict[str, object]) -> None:
    """They are none of ours: what they speak of is made anew, or one line says what is wrong."""
    for target in ("set", "sharded"):
        text = next(data for data in seeds(target) if data[:1] == case(target, ".journal", begun=True)[:1])[1:]
        data = text.splitlines(keepends=True)[0] + json.dumps(entry).encode() + b"\n" + b"[" * 10**5 + b"\n"
        refusal = TARGETS[target](case(target, ".journal", FILE, data, True))
        assert not refusal or ".journal" in refusal or "more than" in refusal
