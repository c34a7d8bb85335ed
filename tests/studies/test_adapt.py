"""`migaki adapt` in a small form: what it leaves, nothing made twice, stopped and gone on, mistakes in one line."""

from __future__ import annotations

import html
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browsers import NO_BROWSER, check_fit

from migaki.cli import main
from migaki.core.files import make_folder
from migaki.data.folder import ImageFolder
from migaki.importers.optdigits import SHIPPED, OptDigits
from migaki.importers.part import Part
from migaki.lab.adapt import budget
from migaki.simulate.digits import DigitSimulator
from migaki.stages.simulate import SimulateJob, simulate

SMALL = "--seeds 2 --steps 4 --most 120"
WORDS = shlex.split(f"adapt drawn photos --out out --labelled real {SMALL} --arms plain augmented matched adabn self")


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `drawn` digits, `photos` without labels and `real` ones with."""
    place = tmp_path_factory.mktemp("sets")
    simulate("digits", DigitSimulator(DigitSimulator.Config(size=8)), SimulateJob(out=place / "drawn", count=160),
             quiet=True)
    OptDigits(OptDigits.Config(half="second")).run(SHIPPED, place / "every")
    Part(Part.Config(limit=60)).run(place / "every", place / "real")
    Part(Part.Config(limit=50, fold=1, folds=2, labelled=False)).run(place / "every", place / "photos")
    return place


def copied(sets: Path, place: Path) -> Path:
    for name in ("drawn", "photos", "real"):
        shutil.copytree(sets / name, place / name)
    return place


@pytest.fixture(scope="module")
def made(sets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where an adaptation with labelled photographs was carried out."""
    place = copied(sets, tmp_path_factory.mktemp("made"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(budget, "_TIMED", 1)
        assert main(WORDS) == 0
    return place


def bits(out: Path) -> dict[str, bytes]:
    """The files whose bits follow from the options and the data alone. A call without a shell records no command."""
    named = ("model.safetensors", "metadata.jsonl", "agreement.json", "evaluation.json", "infer.py", "look.json")
    return {str(path.relative_to(out)): re.sub(rb'"command": "[^"]*",', b"", path.read_bytes())
            for path in sorted(out.rglob("*")) if path.name in named}


def decision(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "decision.json").read_text(encoding="utf-8"))
    return found


def test_other_things_in_its_folder_are_left_alone(sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(copied(sets, tmp_path))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    assert main(WORDS) == 2 and "out: holds other files" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_it_leaves_a_decision_a_model_and_a_page(made: Path) -> None:
    out = made / "out"
    found = decision(out)
    assert found["chosen"] in {"plain", "augmented", "matched", "adabn", "self"} and found["task"] == "label"
    by_first = max(found["arms"], key=lambda arm: arm["first"])
    assert found["chosen"] == by_first["slug"], "with labels the first half chooses"
    blind = max((arm for arm in found["arms"] if not arm["out"]), key=lambda arm: arm["agreement"])
    assert found["without_labels"] == blind["slug"]
    best = max(sum(arm["values"]) / 2 for arm in found["arms"])
    assert found["regret"] == pytest.approx(best - sum(by_first["values"]) / 2)
    assert bits(out)["model/model.safetensors"] == bits(out)[f"models/{found['chosen']}_0/model.safetensors"]
    page = html.unescape((out / "report.html").read_text(encoding="utf-8"))
    assert found["verdict"] in page and all(arm["name"] in page for arm in found["arms"])
    for words in ("10 real labels", "real labels alone", "What differs", "always the most frequent class", "AdaBN"):
        assert words in page, words


def test_no_picture_that_judges_was_seen(made: Path) -> None:
    out = made / "out"
    read = {name: {path.read_bytes() for path in (out / name).glob("*.png")} for name in
            ("simulated", "held_out", "photos", "first", "test")}
    for one, other in (("simulated", "held_out"), ("first", "test")):
        assert read[one] and not read[one] & read[other]
    assert not ImageFolder(out / "photos").labels
    assert set(ImageFolder(out / "read_0").labels) == {"predicted_logits", "predicted_label"}


def test_the_script_reads_as_the_model_does(made: Path) -> None:
    out = made / "out"
    rows = ImageFolder(out / "read_chosen").rows[:3]
    files = [str(out / "photos" / row["file_name"]) for row in rows]
    said = subprocess.run([sys.executable, str(out / "infer.py"), *files], capture_output=True, text=True, check=True)
    assert [int(line.split()[1]) for line in said.stdout.splitlines()] == [row["predicted_label"] for row in rows]
    assert "migaki" not in re.sub(r'""".*?"""', "", (out / "infer.py").read_text(), flags=re.S)


def test_a_second_call_changes_nothing_and_every_listed_command_works(
        made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(made)
    out = made / "out"
    before = {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    assert main(WORDS) == 0
    assert {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()} == before
    commands = [line for line in decision(out)["commands"] if line.startswith("migaki")]
    kinds = {line.split()[1] for line in commands}
    assert kinds >= {"import", "apply", "train", "evaluate", "export"}
    for kind in kinds - {"export"}:  # exporting takes seconds
        line = next(line for line in commands if line.split()[1] == kind)
        assert main(shlex.split(line)[1:]) == 0, line


@pytest.mark.long  # twice the work of `made`; the stop of a chain is also in tests/reliability/test_stops.py
def test_stopped_anywhere_it_goes_on_to_the_same_bits(made: Path, sets: Path, tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    from migaki.lab import chain

    copied(sets, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(budget, "_TIMED", 1)
    attempt, calls = chain._attempt, iter(range(10**6))

    def stopping(*given: Any) -> Any:
        if next(calls) % 9 == 8:
            raise KeyboardInterrupt
        return attempt(*given)

    monkeypatch.setattr(chain, "_attempt", stopping)
    codes: list[int] = []
    while not codes or (codes[-1] == 130 and len(codes) < 30):
        codes.append(main(WORDS))
    assert codes[-1] == 0 and len(codes) > 4
    assert bits(tmp_path / "out") == bits(made / "out")


def test_without_labels_it_says_that_nothing_is_proved(sets: Path, tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    copied(sets, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("migaki.lab.adapt.leave.can_export", lambda: False)
    words = shlex.split(f"adapt drawn photos --out out {SMALL} --arms plain augmented")
    assert main(words) == 0
    found = decision(tmp_path / "out")
    assert found["helped"] is None and found["regret"] is None and "cannot be proved" in found["verdict"]
    assert found["chosen"] == max(found["arms"], key=lambda arm: arm["agreement"])["slug"]
    assert not (tmp_path / "out" / "test").exists()


def test_classes_that_nobody_simulated_are_left_out_and_named(sets: Path, tmp_path: Path,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    from migaki.lab.adapt.options import Options
    from migaki.lab.adapt.sets import open_sets, part_steps

    copied(sets, tmp_path)
    monkeypatch.chdir(tmp_path)
    Part(Part.Config(classes=tuple("01234567"))).run("drawn", "eight")
    options = Options(labelled=Path("real"))
    found = open_sets(Path("eight"), Path("photos"), options)
    assert found.unknown == ("8", "9") and "8, 9" in " ".join(found.notes)
    for step in part_steps(found, options, Path("out"), True).steps:
        step.work(step.command)
    assert set(ImageFolder("out/test").labels["label"].tolist()) <= set(range(8))


@pytest.mark.parametrize("part", ["drawn", "photos"])
def test_a_picture_that_is_none_is_named(part: str, sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    copied(sets, tmp_path)
    monkeypatch.chdir(tmp_path)
    bad = sorted(Path(part).glob("*.png"))[20]
    bad.write_bytes(b"no picture")
    assert main(shlex.split(f"adapt drawn photos --out out {SMALL} --arms plain augmented")) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("migaki: ")]
    assert len(said) == 1 and bad.name in said[0]
    assert not Path("out/decision.json").exists() and not Path("out/report.html").exists()


@pytest.mark.browser
@pytest.mark.skipif(bool(NO_BROWSER), reason=NO_BROWSER)
def test_the_page_fits_a_phone(made: Path) -> None:
    check_fit(made / "out" / "report.html")


@pytest.mark.parametrize(("words", "said"), [
    ("drawn photos --out out --budget soon", "--budget soon"),
    ("drawn photos --out out --arms best", "--arms best: known are plain"),
    ("drawn photos --out out --arms self", "name one of plain"),
    ("drawn photos --out out --task gaze", "has no column for it"),
    ("drawn photos --out out --tolerance 5", "--tolerance 5"),
    ("photos drawn --out out", "no label that can be learned"),
    ("drawn nowhere --out out", "nowhere"),
    ("drawn empty --out out", "holds no images"),
    ("drawn photos --out drawn/out", "lies within drawn"),
    ("constant photos --out out", "is the same for all"),
    ("drawn photos --out out --labelled other", "none of its classes"),
])
def test_mistakes_are_told_in_one_line(words: str, said: str, sets: Path, tmp_path: Path,
                                       monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
                                       image_folder: Callable[..., Path]) -> None:
    copied(sets, tmp_path)
    monkeypatch.chdir(tmp_path)
    make_folder(Path("empty"))
    rows = [json.loads(line) for line in Path("drawn/metadata.jsonl").read_text().splitlines()]
    for name, value in (("constant", 3), ("other", 77)):
        shutil.copytree("drawn", name)
        Path(name, "metadata.jsonl").write_text("\n".join(json.dumps({**row, "label": value}) for row in rows))
    capsys.readouterr()
    assert main(["adapt", *shlex.split(words)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and said in lines[0], lines
    assert not Path("out").exists() or not any(Path("out").iterdir())
