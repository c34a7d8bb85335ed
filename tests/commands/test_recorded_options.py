"""`--config FILE` of apply and evaluate: the options of an earlier call are the defaults of this one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from refusals import message

from migaki.cli import main
from migaki.commands.recorded import with_recorded

NAMED = ("match", "pan")


def record(folder: Path, command: object, name: str = "dataset.json") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps({"command": command}))
    return folder / name


def test_words_go_before_what_is_recorded(tmp_path: Path) -> None:
    file = record(tmp_path, "migaki apply runs/a --input 'my data' --out old --keep x y --value-range -1 1 --no-resume "
                            "--seed=4")
    taken = ["--input", "my data", "--keep", "x", "y", "--value-range", "-1", "1", "--seed=4"]
    assert with_recorded("apply", ["--out", "new", "--config", str(file)], NAMED) == ["runs/a", *taken, "--out", "new"]
    assert with_recorded("apply", [f"--config={tmp_path}"], NAMED) == ["runs/a", *taken]
    words = ["runs/b", "--seed", "7", "--config", str(tmp_path), "--keep", "z"]
    assert with_recorded("apply", words, NAMED) == ["runs/b", *taken[:2], *taken[5:8], "--seed", "7", "--keep", "z"]
    assert with_recorded("apply", ["runs/b", "--seed", "7"], NAMED) == ["runs/b", "--seed", "7"]


@pytest.mark.parametrize(("command", "word"), [
    ("migaki train gaze --data x", "records no call of `migaki apply`"), ("", "records no call"), (None, "records no"),
    ("migaki apply 'x", "records no call"), (["migaki", "apply"], "records no call"),
    ("migaki apply pan --input x", "which has other options than `migaki apply match`"),
    ("migaki apply runs/a --input x", "which has other options than `migaki apply match`"),
])
def test_other_records_are_refused(command: object, word: str, tmp_path: Path) -> None:
    file = record(tmp_path, command)
    assert word in message(lambda: with_recorded("apply", ["match", "--config", str(file)], NAMED))
    assert "no such file" in message(lambda: with_recorded("apply", ["--config", str(tmp_path / "no")], NAMED))
    file.write_text("[1, 2")
    assert "dataset.json" in message(lambda: with_recorded("apply", ["--config", str(file)], NAMED))


def test_a_change_is_done_again_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        pixels = np.random.default_rng(0).integers(0, 255, (24, 24, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / name / "a.png")
    first = ["apply", "pan", "--input", str(tmp_path / "one"), "--variants", "3", "--period", "10",
             "--out", str(tmp_path / "first")]
    monkeypatch.setattr("sys.argv", ["migaki", *first])
    assert main(first) == 0
    again = ["apply", "--config", str(tmp_path / "first"), "--input", str(tmp_path / "two"), "--out",
             str(tmp_path / "second")]
    assert main(again) == 0
    made = json.loads((tmp_path / "second" / "dataset.json").read_text())
    assert made["config"]["period"] == 10 and made["variants"] == 3
    assert (tmp_path / "second" / "a_1.png").read_bytes() == (tmp_path / "first" / "a_1.png").read_bytes()
    capsys.readouterr()
    for words in (["apply", "--help"], ["evaluate", "--help"], ["evaluate", "drift", "--help"],
                  ["apply", "pan", "--help"]):
        with pytest.raises(SystemExit):
            main(words)
        assert "--config FILE" in capsys.readouterr().out


def test_a_judge_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("films", "photos"):
        (tmp_path / name).mkdir()
        for number in range(10):
            pixels = np.random.default_rng(number).integers(0, 255, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    first = ["evaluate", "looks", "--synthetic", str(tmp_path / "films"), "--photos", str(tmp_path / "photos"),
             "--observer-steps", "5", "--out", str(tmp_path / "first")]
    monkeypatch.setattr("sys.argv", ["migaki", *first])
    assert main(first) == 0
    assert main(["evaluate", "looks", "--config", str(tmp_path / "first" / "looks.json"), "--out",
                 str(tmp_path / "second")]) == 0
    figures = [json.loads((tmp_path / name / "looks.json").read_text())["figures"] for name in ("first", "second")]
    assert figures[0] == figures[1]
