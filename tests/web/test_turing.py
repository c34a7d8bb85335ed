"""The command: the machine's sitting, the report, and mistakes reported in one line."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from migaki.core.errors import UserError
from migaki.web.observer import ObserverConfig, observe
from migaki.web.serving import bind
from migaki.web.sittings import Sittings
from migaki.web.stimuli import StimulusSet, assemble
from migaki.web.turing import TuringConfig, open_test, run
from migaki.web.turing_report import html_report, tables

QUICK = ObserverConfig(width=8, crop=24, num_steps=120, batch=16)
BLIND = replace(QUICK, num_steps=8)  # where it does not matter what it sees


def test_the_observer_sees_a_crude_fake_and_is_deterministic(folders: tuple[Path, Path]) -> None:
    test = assemble(*folders, per_class=15, seed=0)
    verdicts = observe(*folders, test, 0, QUICK)
    right = sum(verdict == one.is_real for verdict, one in zip(verdicts, test.stimuli, strict=True))
    assert right >= 27  # of 30: noise against no noise
    threads = torch.get_num_threads()
    assert observe(*folders, test, 0, QUICK) == verdicts
    assert torch.get_num_threads() == threads


def test_the_observer_guesses_where_there_is_nothing_to_see(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """Both folders hold fakes: an observer that had seen the test's images would be right all the same."""
    names = sorted(folders[1].iterdir())
    for kind, part in (("a", names[0::2]), ("b", names[1::2])):
        (tmp_path / kind).mkdir()
        for path in part:
            (tmp_path / kind / path.name).write_bytes(path.read_bytes())
    test = assemble(tmp_path / "a", tmp_path / "b", per_class=12, seed=0)
    few = replace(QUICK, min_per_class=8, num_steps=60)
    verdicts = observe(tmp_path / "a", tmp_path / "b", test, 0, few)
    right = sum(verdict == one.is_real for verdict, one in zip(verdicts, test.stimuli, strict=True))
    assert 4 <= right <= 20


def test_copies_of_test_images_are_not_learned_from(folders: tuple[Path, Path], tmp_path: Path) -> None:
    copies = tmp_path / "fake"
    copies.mkdir()
    original = sorted(folders[1].iterdir())[0].read_bytes()
    for number in range(40):
        (copies / f"{number}.png").write_bytes(original)
    test = assemble(folders[0], copies, per_class=5, seed=0)
    with pytest.raises(UserError, match="0 images outside the test"):
        observe(folders[0], copies, test, 0, QUICK)


def sit(sittings: Sittings, num_right: int, num_answers: int = 8) -> None:
    """A person who is right on the first `num_right` images."""
    key, _ = sittings.begin()
    truth = [one.is_real for one in sittings.stimuli().stimuli]
    for position in range(num_answers):
        image = sittings.image_at(key, position)
        assert image is not None
        sittings.answer(key, position, truth[image] == (position < num_right))


def test_the_tables(sittings: Sittings) -> None:
    assert tables(sittings)["pooled"]["accuracy"] is None
    assert "Nobody has finished" in html_report(sittings)
    sit(sittings, 6)
    sit(sittings, 2)
    sit(sittings, 3, num_answers=3)
    found = tables(sittings)
    assert (found["num_people"], found["num_unfinished"]) == (2, 1)
    assert (found["pooled"]["right"], found["pooled"]["total"]) == (8, 16)
    assert [person["right"] for person in found["people"]] == [6, 2, 3]
    assert [person["finished"] for person in found["people"]] == [True, True, False]
    shares = [entry["wrong"] / entry["shown"] for entry in found["most_mistaken"]]
    assert shares == sorted(shares, reverse=True) and sum(e["wrong"] for e in found["most_mistaken"]) == 8
    assert found["paper"]["refined"]["right"] == 517
    assert "results_key" not in found["settings"]


@pytest.mark.parametrize(("num_right", "verdict", "words", "others"), [
    (8, "better", "more often than by guessing", "distinguishable"),
    (4, "guessing", "not distinguishable from guessing", "were distinguished"),
    (0, "worse", "worse than guessing", "distinguishable"),
])
def test_the_report_says_on_which_side_of_guessing_people_are(
        sittings: Sittings, num_right: int, verdict: str, words: str, others: str) -> None:
    sit(sittings, num_right)
    page = html_report(sittings)
    assert tables(sittings)["pooled"]["verdict"] == verdict
    assert words in page and others not in page
    lead = page.split('class="lead">')[1].split("</p>")[0]
    assert "p\u00a0=\u00a01.000" not in lead and ("two-sided" in lead) == (verdict == "worse")


def test_report_writes_both_files_and_names_cannot_inject(config: TuringConfig, folders: tuple[Path, Path],
                                                          tmp_path: Path) -> None:
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    for number, path in enumerate(sorted(folders[1].iterdir())[:4]):
        (hostile / f"<img src=x onerror=alert({number})>.png").write_bytes(path.read_bytes())
    config = replace(config, fake=hostile, report=True)
    sittings = open_test(replace(config, report=False))
    sit(sittings, 0)
    sittings.close()
    told: list[str] = []
    run(config, told.append)
    page = (config.out / "report.html").read_text(encoding="utf-8")
    assert "51.7" in page and "81.0" in page and "0.148" in page
    assert "<img src=x" not in page and "&lt;img src=x" in page
    assert set(re.findall(r'(?:src|href)="(.{5})', page)) == {"data:"} and "<script" not in page
    assert json.loads((config.out / "turing.json").read_text())["pooled"]["right"] == 0
    assert len(told) == 1 and "report.html" in told[0]


def test_machine_and_report_together(config: TuringConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migaki.web.observer.ObserverConfig", lambda: BLIND)
    told: list[str] = []
    run(replace(config, machine=True, report=True), told.append)
    found = json.loads((config.out / "turing.json").read_text())
    (machine,) = found["machines"]
    assert machine["code"] == "machine 1" and machine["total"] == 8 and machine["finished"]
    assert found["pooled"]["total"] == 0 and found["people"] == []  # never pooled with people
    page = (config.out / "report.html").read_text(encoding="utf-8")
    assert "Machine observer" in page and "photographs against photographs" in page


def test_the_machine_says_whether_refining_made_the_fakes_easier_to_tell(
        config: TuringConfig, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The `unrefined` fakes are photographs here, so that refining can only have done harm."""
    monkeypatch.setattr("migaki.web.observer.ObserverConfig", lambda: QUICK)
    run(replace(config, machine=True, report=True, unrefined=folders[0]), lambda _: None)
    found = json.loads((config.out / "turing.json").read_text())["observer"]
    figures = {name: one["told_apart"] for name, one in found["figures"].items()}
    assert figures["refined"] > 0.9 > 0.7 > figures["photographs_halved"] and figures["unrefined"] < 0.7
    assert "Easier to tell apart than before refining" in found["verdicts"][0]
    assert found["verdicts"][0] in (config.out / "report.html").read_text(encoding="utf-8")
    (config.out / "observer.json").write_text('{"figures": {"refined": 3}}')
    with pytest.raises(UserError, match=r"observer\.json: not what the machine observer wrote: delete it"):
        run(replace(config, report=True), lambda _: None)


def test_a_machine_sits_once_however_often_the_test_is_started(config: TuringConfig,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[int] = []

    def observe(real: Path, fake: Path, test: StimulusSet, seed: int) -> list[bool]:
        trained.append(seed)
        return [len(trained) == 1 and one.is_real for one in test.stimuli]

    monkeypatch.setattr("migaki.web.observer.observe", observe)
    monkeypatch.setattr("migaki.web.observer.ObserverConfig", lambda: BLIND)
    told: list[str] = []
    reports = []
    for _ in range(3):
        run(replace(config, machine=True, report=True), told.append)
        reports.append((config.out / "turing.json").read_text())
    assert len(trained) == 1
    (machine,) = json.loads(reports[0])["machines"]
    assert machine["right"] == machine["total"] == 8
    assert reports[0] == reports[1] == reports[2]
    said = [line for line in told if line.startswith("Machine 1")]
    assert len(said) == 3 and all("right on 8 of 8" in line for line in said)
    assert ["kept" in line for line in said] == [False, True, True]


def test_a_killed_machine_leaves_no_half_sitting_and_sits_at_the_next_start(
        config: TuringConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migaki.web.observer.observe", lambda real, fake, test, seed: [True, True])  # of eight
    with pytest.raises(IndexError):
        run(replace(config, machine=True, report=True), lambda _: None)
    sittings = open_test(config)
    assert sittings.records() == [] and sittings.machine() is None
    first = sittings.seat_machine([True] * 8)
    assert first.is_machine and first.is_finished and [one.said_real for one in first.answers] == [True] * 8
    assert sittings.seat_machine([False] * 8) == first == sittings.machine()  # two servers started at once
    assert len(sittings.records()) == 1
    sittings.close()


@pytest.mark.parametrize(("change", "words"), [
    ({"per_class": 41}, "--per-class 40"), ({"real": Path("nowhere")}, "no such folder"),
    ({"host": "0.0.0.0"}, "--token"), ({"host": "0.0.0.0", "token": "short"}, "can be guessed"),
    ({"host": "no.such.host.invalid"}, "no such address"),
    ({"report": True}, "no visual Turing test"), ({"port": 70000}, "0 to 65535"),
    ({"per_class": 30, "machine": True, "report": True}, "outside the test"),
])
def test_mistakes_are_reported_in_one_line(config: TuringConfig, change: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        run(replace(config, **change), lambda _: None)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_port_in_use_is_reported(config: TuringConfig) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match="in use"):
            run(replace(config, port=port), lambda _: None)
    bind("127.0.0.1", port).close()


def test_the_served_command_from_start_to_interrupt(config: TuringConfig) -> None:
    code = ("import signal, sys; from pathlib import Path; from migaki.web.turing import TuringConfig, run\n"
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # background jobs of a shell ignore it
            "real, fake, out = map(Path, sys.argv[1:])\n"
            "run(TuringConfig(real=real, fake=fake, out=out, per_class=4, port=0),"
            " lambda text: print(text, flush=True))")
    process = subprocess.Popen([sys.executable, "-c", code, str(config.real), str(config.fake), str(config.out)],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found = re.search(r"http://127\.0\.0\.1:\d+/$", process.stdout.readline().strip())
    assert found is not None
    url = found.group()
    with urllib.request.urlopen(url, timeout=30) as reply:
        assert b"Real or not?" in reply.read()
    os.kill(process.pid, signal.SIGINT)
    rest, problems = process.communicate(timeout=30)
    assert process.returncode == 0 and problems == ""
    assert "report.html" in rest and (config.out / "report.html").is_file()
