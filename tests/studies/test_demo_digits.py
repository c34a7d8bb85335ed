"""`migaki demo`, digits, in a small form: it is an adaptation that chooses without a label and says what came of it."""

from __future__ import annotations

import html
import json
import shlex
from pathlib import Path

import pytest

from migaki.cli import main
from migaki.data.folder import ImageFolder
from migaki.lab.adapt import budget

SMALL = shlex.split("demo --seeds 2 --count 160 --steps 4 --arms plain adabn")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished demo."""
    place = tmp_path_factory.mktemp("digits")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(budget, "_TIMED", 1)
        patch.setattr("migaki.lab.adapt.leave.can_export", lambda: False)  # it takes seconds
        assert main(SMALL) == 0
    return place / "demo"


def test_the_arm_is_chosen_without_a_label_and_judged_by_labels(out: Path) -> None:
    found = json.loads((out / "decision.json").read_text(encoding="utf-8"))
    assert found["chosen"] == found["without_labels"] and found["rule"].startswith("without a real label")
    assert found["judged_on"] == "test" and found["regret"] is not None
    assert not ImageFolder(out / "scans").labels and not ImageFolder(out / "photos").labels
    assert len(ImageFolder(out / "test")) == 899 and not (out / "first").exists(), "all of them judge, none teaches"


def test_the_page_begins_with_the_verdict_and_folds_what_few_need(out: Path) -> None:
    page = html.unescape((out / "report.html").read_text(encoding="utf-8"))
    found = json.loads((out / "decision.json").read_text(encoding="utf-8"))
    assert "Digits, from drawn to handwritten" in page
    assert page.index(found["verdict"]) < page.index("All arms</h2>") < page.index("How it was chosen</h2>")
    assert "migaki simulate digits" in page and "migaki import optdigits scikit-learn" in page
    assert '<details class="fold"' in page


def test_mistakes_are_reported_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    for words in ("--seeds 1", "--steps 0", "--count 3"):
        assert main(["demo", *shlex.split(words)]) == 2
        said = capsys.readouterr().err
        assert said.startswith("migaki: ") and said.count("\n") == 1
    assert not Path("demo").exists()
