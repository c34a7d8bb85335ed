"""The demo of eyes in a small form: what the page shows, nothing made twice, every listed command works; the demos'
names. Digits have a file of their own."""

from __future__ import annotations

import html
import json
import re
import shlex
from pathlib import Path

import pytest
from browsers import NO_BROWSER, check_fit

from migaki.cli import main
from migaki.core.discovery import names_in
from migaki.core.files import make_folder
from migaki.data.folder import ImageFolder
from migaki.simulate.stand_in_camera import StandInCamera
from migaki.stages.simulate import SimulateJob, simulate
from migaki.systems import gaze

EYES = shlex.split("demo eyes --seeds 1 --count 80 --photos 64 --labelled 40 --test 40 --refiner-steps 6 --steps 4")


@pytest.fixture(autouse=True)
def _few_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch norm's statistics from 64 photographs and not from 4096, for all models alike."""
    monkeypatch.setattr(gaze, "_ADAPT_IMAGES", 64)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all demos of this file are made, so that each is made once."""
    return tmp_path_factory.mktemp("demos")


@pytest.fixture
def demo(place: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], Path]:
    """The words of the demo and its finished folder; relative, as a user would have it."""
    monkeypatch.chdir(place)
    out = Path("demo-eyes")
    if not (out / "report.html").exists():
        assert main(EYES) == 0
    return EYES, out


def written(out: Path) -> dict[Path, int]:
    """When each file was written that the page is made of."""
    page = ("report.html", "results.json", "study.json")
    return {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name not in page
            and path.parent.name not in ("tables", "figures")}


def commands(out: Path) -> list[str]:
    text = html.unescape((out / "report.html").read_text(encoding="utf-8"))
    return [line for line in re.findall(r"<pre>(.*?)</pre>", text, re.S)[-1].splitlines() if line.startswith("migaki")]


def test_the_page_shows_everything(demo: tuple[list[str], Path]) -> None:
    page = (demo[1] / "report.html").read_text(encoding="utf-8")
    text = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", page.split("</style>")[1])  # base64 may spell anything
    assert "<script src" not in page and "http" not in text.replace("http-equiv", "")
    for words in ("before and after", "upper bound", "adabn", "distinguished", "pytorch", "of one core",
                  "always the m", "1 run: no interval"):
        assert words in page.lower(), words
    assert page.count("data:image/png") >= 6
    assert "Warning of the training" in page or "There were no warnings" in page
    assert "stand-in camera" in page


def test_photos_have_no_labels_and_parts_do_not_meet(demo: tuple[list[str], Path]) -> None:
    out = demo[1]
    assert not ImageFolder(out / "photos").labels
    assert "gaze" in ImageFolder(out / "test").labels
    contents = [{path.read_bytes() for path in (out / part).glob("*.png")} for part in ("photos", "test", "labelled")]
    assert not contents[0] & contents[1] and not contents[1] & contents[2]


def test_a_second_call_makes_nothing_again(demo: tuple[list[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    before = written(demo[1])
    assert main(demo[0]) == 0
    assert written(demo[1]) == before
    first, *said = capsys.readouterr().err.splitlines()
    assert first.startswith("steps run ")
    assert all(line.endswith(", done before") for line in said[:-1]) and re.match(r"(\d)/\1 compare the arms", said[-1])


def test_the_listed_commands_repeat_the_steps(demo: tuple[list[str], Path]) -> None:
    """A command of other settings would be refused by the folder that the demo has made with its own."""
    made = {path: time for path, time in written(demo[1]).items() if "evaluation" not in path.parts}
    listed = commands(demo[1])
    assert len(listed) >= 15 and {line.split()[1] for line in listed} >= {"simulate", "train", "apply", "evaluate"}
    for line in listed:
        assert main(shlex.split(line)[1:]) == 0, line
    kept = {path: time for path, time in written(demo[1]).items() if "evaluation" not in path.parts}
    names = ("model.safetensors", "dataset.json", "metadata.jsonl", "checkpoint")
    assert all(kept[path] == time for path, time in made.items() if path.name in names)


def test_an_evaluation_leaves_pictures(demo: tuple[list[str], Path]) -> None:
    folder = demo[1] / "gaze_refined_0" / "evaluation"
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG") and (folder / "evaluation.html").exists()
    assert json.loads((folder / "evaluation.json").read_text())["figures"]["count"] >= 40


@pytest.mark.browser
@pytest.mark.skipif(bool(NO_BROWSER), reason=NO_BROWSER)
def test_the_page_fits_a_phone(demo: tuple[list[str], Path]) -> None:
    check_fit(demo[1] / "report.html")


def test_one_arm_has_one_figure_wherever_it_stands(demo: tuple[list[str], Path]) -> None:
    """The card, the table, the sentence and the evaluation show the same."""
    out = demo[1]
    page = html.unescape((out / "report.html").read_text(encoding="utf-8"))
    figures = json.loads((out / "gaze_refined_0" / "evaluation" / "evaluation.json").read_text())["figures"]
    shown = f"{figures['mean_deg']:.2f}"
    assert f">{shown} deg<" in page and re.search(rf"to {re.escape(shown)} deg[;. ]", page)
    assert re.search(rf"<td[^>]*>refined eyes</td><td[^>]*>{re.escape(shown)}<", page)


def test_demos_are_found_by_their_files_and_are_no_studies(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(names_in("studies", "Demo")) == {"demo_eyes", "demo_digits", "demo_rain", "demo_scene", "demo_style"}
    files = {path.stem for path in (Path(__file__).parents[2] / "migaki" / "studies").glob("[a-z]*.py")}
    assert set(names_in("studies", "Study")) == {name for name in files if not name.startswith("demo_")}
    assert main(["demo", "--help"]) == 0
    listed = capsys.readouterr().out
    assert all(f"\n  {name} " in listed for name in ("eyes", "digits", "rain", "style"))


@pytest.mark.parametrize("labelled", [pytest.param(True, marks=pytest.mark.long), False])
def test_photos_of_the_user(labelled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    camera = StandInCamera(StandInCamera.Config(labelled=labelled, width=70, height=40, channels=3))
    simulate("stand_in_camera", camera, SimulateJob(out=Path("mine"), count=80), quiet=True)
    assert main([*EYES, "--real", "mine"]) == 0
    page = Path("demo-eyes/report.html").read_text(encoding="utf-8")
    assert "stand-in" not in page and ("no gaze labels" in page) != labelled
    assert ("error is at most" in page) == labelled and "trained on real labels" not in page
    assert all(main(shlex.split(line)[1:]) == 0 for line in commands(Path("demo-eyes"))[:3])
    photos = ImageFolder("demo-eyes/photos")
    assert not photos.labels and len(photos) == (40 if labelled else 64)


@pytest.mark.parametrize("case", ["missing", "empty", "few", "name", "steps"])
def test_mistakes_are_reported_in_one_line(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    make_folder(Path("empty"))
    simulate("stand_in_camera", StandInCamera(), SimulateJob(out=Path("few"), count=3), quiet=True)
    words = {"missing": ["--real", "nowhere"], "empty": ["--real", "empty"], "few": ["--real", "few"],
             "name": ["digit"], "steps": ["--steps", "0"]}[case]
    eyes = [] if case == "name" else ["eyes"]
    assert main(["demo", *eyes, *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("migaki: ") and said.count("\n") == 1 and not Path("demo-eyes").exists()


def test_the_camera_is_pure(tmp_path: Path) -> None:
    camera = StandInCamera(StandInCamera.Config(channels=3, equalise=True))
    whole, part = camera.render(3, range(4)), camera.render(3, [2])
    assert whole["image"].shape == (4, 3, 36, 60) and set(whole) == {"image", "gaze", "identity"}
    assert all(bool((whole[key][2:3] == part[key]).all()) for key in whole)
    assert float(whole["image"].min()) >= 0 and float(whole["image"].max()) <= 1
