"""`import migaki as mg`: the road in Python, options, pictures of every kind, what a notebook shows."""

from __future__ import annotations

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from toy_folders import write_folder

import migaki as mg
from migaki.data.sets.carry import framed
from migaki.stages.predict import UNSEEN, back, moved, shares_of

TINY: dict[str, Any] = {"steps": 3, "batch_size": 4, "features": 4, "device": "cpu", "precision": "fp32",
                        "log_every": 1, "sample_every": 0, "quiet": True}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> mg.Run:
    root = tmp_path_factory.mktemp("api")
    return mg.train("classifier", write_folder(root / "data", 6, (12, 16)), out=root / "run", **TINY)


class Text(HTMLParser):
    """Gathers the tags of a text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]


def check_html(html: str) -> None:
    """No script, no handler, nothing that is loaded."""
    found = Text(html)
    assert not {"script", "iframe", "link", "style"} & set(found.tags)
    assert not [name for name in found.attributes if name.startswith("on")]
    assert html.count('src="') == html.count('src="data:image/')


def test_the_road(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digits = mg.simulate("digits", tmp_path / "digits", count=6, quiet=True)
    assert len(digits) == 6 and digits.columns == ["label"] and len(digits.labels["label"]) == 6
    trained = mg.train("classifier", digits, out=tmp_path / "run", **TINY)
    assert trained.is_whole and trained.figures["net/loss"] > 0 and len(trained.rows) == 3
    judged = trained.evaluate(digits, quiet=True)
    assert judged["count"] == 6 and judged.page.is_file() and 0 <= judged.baseline["accuracy"] <= 1
    made = trained.apply(digits, tmp_path / "read", quiet=True)
    assert made[0]["predicted_label"] in range(10) and made[-1]["file_name"] == digits[-1]["file_name"]
    again = mg.load(tmp_path / "run")
    assert [one["label"] for one in again.predict(digits)] == [row["predicted_label"] for row in made]
    framed_set = mg.apply("resize", digits, tmp_path / "small", height=14, width=14, quiet=True)
    assert framed_set.picture(0, 14).size == (14, 14)
    for shown in (digits, trained, judged, made.show(2), again.predict(digits)):
        check_html(shown._repr_html_())
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "learned from 6 of the 6 pictures of the test" in said[0]
    with pytest.raises(IndexError):
        digits[6]


def test_a_call_records_the_command_that_repeats_it(tmp_path: Path) -> None:
    from migaki.cli import main

    mg.simulate("digits", tmp_path / "one", count=3, seed=5, quiet=True)
    command = json.loads((tmp_path / "one" / "dataset.json").read_text())["command"]
    assert command.startswith("migaki simulate digits --out ") and "--count 3 --seed 5" in command
    words = command.replace(str(tmp_path / "one"), str(tmp_path / "two")).split()[1:]
    assert main(words) == 0
    files = [{path.name: path.read_bytes() for path in folder.iterdir() if path.name != "dataset.json"}
             for folder in (tmp_path / "one", tmp_path / "two")]
    assert files[0] == files[1] and len(files[0]) == 4


def test_what_is_no_option_is_named_beside_near_ones(tmp_path: Path, run: mg.Run) -> None:
    data = run.record["data"]["data"][0]
    cases: list[tuple[dict[str, Any], str]] = [
        ({"stepz": 3}, "no option 'stepz': did you mean steps"), ({"steps": "many"}, "field 'steps': expected int"),
        ({"preset": "none"}, "no preset is called 'none'"), ({"quux_quux": 1}, "known are"),
        ({"config": tmp_path / "none"}, "no such file"), ({"preset": "a", "config": "b"}, "leave one out"),
        ({"steps": 0}, "must be at least 1"), ({"device": "tpu"}, "is not one of"),
    ]
    for options, message in cases:
        with pytest.raises(mg.UserError, match=message):
            mg.train("classifier", data, out=tmp_path / "x", **options)
    with pytest.raises(mg.UserError, match="missing: data="):
        mg.train("classifier", out=tmp_path / "x")
    with pytest.raises(mg.UserError, match="no system is called"):
        mg.train("clasifier", data, out=tmp_path / "x")
    with pytest.raises(mg.UserError, match="neither a run nor a change"):
        mg.apply("resizee", data, tmp_path / "x")
    with pytest.raises(mg.UserError, match="no such folder"):
        mg.load(tmp_path / "none")
    with pytest.raises(mg.UserError, match=r"no option 'budgit': did you mean budget|no `migaki adapt`"):
        mg.adapt(data, data, out=tmp_path / "x", budgit="5m")
    with pytest.raises(mg.UserError, match="no name on the hub"):
        mg.load("hf://../../etc")
    assert not (tmp_path / "x").exists()


def test_a_change_that_writes_no_set_returns_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A film of a tour has no input, and a mesh is no folder of pictures: both were refused once they were made."""
    from migaki.changes.orbit import Orbit

    data = write_folder(tmp_path / "data", 2, (12, 16))
    monkeypatch.setattr(Orbit, "write", lambda self, out, progress: out.write_bytes(b"film"))
    assert mg.apply("orbit", out=tmp_path / "a.mp4", model=data, quiet=True) == tmp_path / "a.mp4"
    assert (tmp_path / "a.mp4").read_bytes() == b"film"
    monkeypatch.setattr("migaki.stages.reduce.reduce_set", lambda name, change, job, **_: job.out.mkdir())
    (tmp_path / "grid.npz").write_bytes(b"")
    assert mg.apply("mesh", data, tmp_path / "mesh", density=tmp_path / "grid.npz", quiet=True) == tmp_path / "mesh"
    for call, message in ((lambda: mg.apply("orbit", data, tmp_path / "b.mp4", model=data), "no option 'input'"),
                          (lambda: mg.apply("resize", out=tmp_path / "b"), "missing: input="),
                          (lambda: mg.apply("resize", data), "missing: out=")):
        with pytest.raises(mg.UserError, match=message):
            call()
    assert not (tmp_path / "b.mp4").exists() and not (tmp_path / "b").exists()


def test_a_run_is_repeated_by_its_config(tmp_path: Path, run: mg.Run) -> None:
    again = mg.train("classifier", out=tmp_path / "again", config=run, device="cpu", quiet=True)
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (run.path / "model.safetensors").read_bytes()
    longer = mg.train("classifier", out=tmp_path / "longer", config=run.path / "config.json", steps=4, quiet=True,
                      device="cpu")
    assert longer.config == {**again.config, "steps": 4}


def test_pictures_of_every_kind_are_read_alike(run: mg.Run) -> None:
    path = Path(run.record["data"]["data"][0]) / "000.png"
    pixels = np.asarray(Image.open(path))
    expected = run.predict(path)
    colour = np.repeat(pixels[..., None], 3, 2)
    for same in (str(path), Image.open(path), pixels, pixels[None], pixels[..., None], torch.tensor(pixels),
                 pixels.astype(np.float64) / 255, torch.tensor(pixels)[None].float() / 255, colour,
                 colour.transpose(2, 0, 1)):
        found: Any = run.predict(same)
        assert found.values["label"] == expected["label"]
        assert list(found.shares.values()) == pytest.approx(list(expected.shares.values()), abs=1e-3)
    assert len(run.predict([path, pixels])) == 2 and len(run.predict(path.parent)) == 6
    assert len(run.predict(torch.zeros(3, 1, 12, 16))) == 3
    bad: Any
    for bad in (3, np.zeros((2, 3, 4, 5)), np.zeros((4, 4), np.int64), np.full((4, 4), np.nan), "nowhere.png",
                np.zeros((0, 4))):
        with pytest.raises(mg.UserError):
            run.predict(bad)
    with pytest.raises(KeyError, match="label"):
        expected["gaze"]


def test_places_come_back_to_the_picture_that_was_given() -> None:
    move = framed(40, 100, (20, 20))  # cut to the middle 40 x 40, then halved
    places = torch.tensor([[[0.0, 0.0], [19.0, 19.0]]])
    boxes = torch.tensor([[[0.0, 0.0, 20.0, 10.0], [0.0, 0.0, 0.0, 0.0]]])
    made = moved({"keypoints": places, "boxes": boxes, "label": torch.tensor([3])}, back(move))
    assert made["keypoints"][0].tolist() == [[30.5, 0.5], [68.5, 38.5]]
    assert made["boxes"][0].tolist() == [[30.0, 0.0, 40.0, 20.0], [0.0, 0.0, 0.0, 0.0]]
    assert made["label"].tolist() == [3]
    shares = dict(shares_of(torch.tensor([0.0, np.log(3.0)]), ("a",)))
    assert list(shares) == [1, "a"] and list(shares.values()) == pytest.approx([0.75, 0.25])


def test_a_mask_says_where_nothing_was_seen() -> None:
    from migaki.stages.predict import _plane

    found = _plane("mask", torch.ones(20, 20), back(framed(40, 100, (20, 20))))
    assert found.shape == (40, 100) and (found[:, 30:70] == 1).all()
    assert (found[:, :30] == UNSEEN).all() and (found[:, 70:] == UNSEEN).all()
    depth = _plane("depth", torch.arange(4.0).view(2, 2), back(framed(4, 4, (2, 2))))
    assert depth.tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]


def test_importing_costs_nothing_and_the_package_of_simulators_stays_one() -> None:
    program = """if True:
        import sys, migaki as mg
        assert not {"torch", "numpy", "PIL"} & set(sys.modules), "too much is imported"
        assert set(mg.__all__) <= set(dir(mg))
        import migaki.simulate.noise
        from migaki.simulate import rain
        assert callable(mg.simulate) and mg.simulate.noise is migaki.simulate.noise
        try:
            mg.nothing
        except AttributeError as error:
            print(error)"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "module 'migaki' has no attribute 'nothing'\n", done.stderr


def test_text_of_strangers_is_escaped(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "<script>alert(1)", 2, (12, 16), labels=())
    rows = [{"file_name": f"00{k}.png", "note": "<img src=x onerror=alert(1)>", "boxes": [[1, 2, 3, 4]],
             "classes": ["<b>"]} for k in range(2)]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    check_html(mg.read(folder)._repr_html_())
    (folder / "001.png").write_bytes(b"no picture")
    assert "not an image" in mg.read(folder)._repr_html_()
