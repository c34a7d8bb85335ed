"""The page of a run, its curves, its terms, and labels drawn on pictures."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from browsers import NO_BROWSER, check_fit
from PIL import Image
from toy_folders import write_folder

from migaki.core.discovery import find_class, names_in
from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.core.model_card import model_card, usage
from migaki.core.system import System
from migaki.core.terms import WORDS, meaning
from migaki.core.trained import load_system, read_record
from migaki.report.curves import curve_panels
from migaki.report.drawn import as_picture, draw_labels, in_words, joined, shown_size
from migaki.report.run_report import run_page, write_run_report
from migaki.stages.train import train
from migaki.systems.classifier import Classifier

GREEN, RED = (20, 160, 70), (214, 50, 40)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    write_folder(root / "data", 6, (12, 16))
    train(Classifier, Classifier.Data(data=(root / "data",)), Classifier.Config(steps=4, batch_size=4, features=4),
          Run(device="cpu", log_every=1, sample_every=0), root / "run", quiet=True)
    return root / "run"


def test_a_run_leaves_its_page(run: Path, tmp_path: Path) -> None:
    html = (run / "report.html").read_text()
    for text in ("Training classifier", "net: loss", "what the optimiser makes smaller", "4, finished", "RUN/config"):
        assert text in html
    assert html == write_run_report(run).read_text()  # nothing of the clock is in it
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    (copy / "model.safetensors").unlink()
    rows = [json.loads(line) for line in (copy / "metrics.jsonl").read_text().splitlines()]
    rows[1]["watch"] = ["<b>mind</b> the step"]
    (copy / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (copy / "samples").mkdir()
    for number in (0, 1, 2, 3):
        Image.new("L", (20, 10), 60 * number).save(copy / "samples" / f"{number:06d}.png")
    (copy / "samples" / "000004.png").write_bytes(b"no picture")
    html = run_page(copy).html()
    assert "not finished" in html and "&lt;b&gt;mind&lt;/b&gt; the step (at step 2, passed by step 3)" in html
    assert html.count("After step") == 6 and "Before the first step." in html
    (copy / "samples" / "held_out.png").write_bytes((copy / "samples" / "000000.png").read_bytes())
    assert run_page(copy).html() == html  # the curve of the held-out figures is no picture of a step
    shutil.rmtree(copy / "samples")
    (copy / "metrics.jsonl").unlink()
    assert "Curves" not in run_page(copy).html()
    (copy / "config.json").write_text("[]")
    with pytest.raises(UserError, match="not the configuration of a run"):
        run_page(copy)


def test_a_page_is_made_where_it_is_missing_and_left_where_it_is(run: Path) -> None:
    config, data = Classifier.Config(steps=4, batch_size=4, features=4), Classifier.Data(data=(run.parent / "data",))
    (run / "report.html").unlink()
    for text in ("", "mine"):
        train(Classifier, data, config, Run(device="cpu", log_every=1, sample_every=0), run, quiet=True)
        assert (run / "report.html").read_text().startswith(text or "<!doctype html>")
        (run / "report.html").write_text("mine")
    write_run_report(run)


@pytest.mark.browser
@pytest.mark.skipif(bool(NO_BROWSER), reason=NO_BROWSER)
def test_the_page_fits_a_phone(run: Path) -> None:
    check_fit(run / "report.html")


def test_what_a_run_says_at_its_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(tmp_path / "data", 6, (12, 16))
    train(Classifier, Classifier.Data(data=(tmp_path / "data",)), Classifier.Config(steps=2, batch_size=4, features=4),
          Run(device="cpu", precision="fp32", sample_every=0), tmp_path / "run")
    said = capsys.readouterr().err
    for text in ("6 images of 16 x 12 px, grey", "parameters", "on the CPU with 1 thread in fp32 (32 bits",
                 "2 steps, 4 images each", f"into {tmp_path / 'run'}: metrics.jsonl", "report.html"):
        assert text in said
    assert "samples/" not in said


def test_curves_are_grouped_and_drawn_to_scale() -> None:
    rows = [{"step": k, "a/loss": k * k, "d/accuracy_real": 0.5, "d/accuracy_made": math.nan, "a/skipped": 0.0,
             "<b>": 1.0, "watch": []} for k in range(1, 1001)]
    panels = dict(curve_panels(rows))
    assert list(panels) == ["a: loss", "d: accuracy", "<b>"]  # no step was skipped
    (line,) = ElementTree.fromstring(panels["a: loss"]).iter("{http://www.w3.org/2000/svg}polyline")
    points = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
    assert len(points) <= 400 and points == sorted(points) and points[0][1] > points[-1][1]  # up the page
    middle = min(points, key=lambda point: abs(point[0] - (points[0][0] + points[-1][0]) / 2))
    share = (points[0][1] - middle[1]) / (points[0][1] - points[-1][1])
    assert share == pytest.approx(0.25, abs=0.02)  # (1/2)^2
    assert b"<b>" not in panels["<b>"] and curve_panels([]) == []
    for value in (0.0, 1e-30, -3e20):
        ElementTree.fromstring(dict(curve_panels([{"step": 1, "x": value}]))["x"])


def test_the_card_tells_how_a_run_is_used_and_judged(run: Path) -> None:
    system, record = load_system(run), read_record(run)
    evaluation = {"data": "/home/me/real", "figures": {"accuracy": 0.91, "confusion": [[1]]},
                  "costs_nothing": {"name": "always 0", "figures": {"accuracy": 0.2}}}
    card = model_card(system, record, [{"step": 4, "net/loss": 0.5}], evaluation=evaluation)
    front = card.split("---\n")[1]
    values = dict(line.split(": ", 1) for line in front.splitlines())
    assert json.loads(values["tags"])[-1] == "classifier" and values["license"] == "other"
    (result,) = json.loads(values["model-index"])[0]["results"]
    assert result["dataset"]["name"] == "real" and result["metrics"][0]["value"] == 0.91
    assert "| accuracy | 0.91 | 0.2 |" in card and 'mg.load("RUN")' in card and "| net/loss | 0.5 |" in card


def test_terms_have_words() -> None:
    assert all(len(words) > 10 for words in WORDS.values()) and meaning("net/none") == ""
    for name in ("net/loss", "refiner/self_regularisation", "discriminator/accuracy_refined", "net/error_deg"):
        assert meaning(name)


def colours(picture: Image.Image, colour: tuple[int, int, int]) -> set[tuple[int, int]]:
    pixels = np.asarray(picture)
    return set(zip(*map(np.ndarray.tolist, np.nonzero((pixels == colour).all(-1))), strict=True))


def test_labels_are_drawn_where_they_are() -> None:
    blank = Image.new("RGB", (20, 10))
    drawn = draw_labels(blank, {"boxes": [[2, 3, 4, 5]]}, side=200)  # ten times as large
    rows, columns = zip(*colours(drawn, GREEN), strict=True)
    assert (min(columns), max(columns), min(rows), max(rows)) == (20, 60, 30, 80)
    drawn = draw_labels(blank, {"predicted_pupil_x": 4, "predicted_pupil_y": 2}, side=200)
    rows, columns = zip(*colours(drawn, RED), strict=True)
    assert (np.mean(columns), np.mean(rows)) == pytest.approx((45, 25), abs=0.6)  # the centre of pixel (4, 2)
    mask = np.zeros((10, 20), np.uint8)
    mask[:5] = 255
    mask[5:, 10:] = 2
    covered = np.asarray(draw_labels(blank, {}, mask=mask, side=20)).sum(-1) > 0
    assert covered.sum() == 50 and covered[5:, 10:].all()
    gaze = draw_labels(blank, {"gaze_pitch": 0.0, "gaze_yaw": 0.6}, side=200)
    rows, columns = zip(*colours(gaze, GREEN), strict=True)
    assert min(columns) < 60 and abs(np.mean(rows) - 50) < 3  # towards the left of the picture


def test_rows_of_strangers_do_no_harm() -> None:
    blank = Image.new("RGB", (8, 8))
    value: Any
    for value in ([[1, 2]], [["a", 1, 2, 3]], [[math.inf, 0, 1, 1]], "text", {"a": 1}, [[]], [[1, 2, 3, 4], [1]],
                  [[1e300, 0, 1, 1]], [[5, 5, -3, -3]], None, 7, [None]):
        for name in ("boxes", "keypoints", "object_keypoints", "predicted_gaze", "pupil_centre"):
            draw_labels(blank, {name: value, "classes": ["x"], "scores": "y"})
            in_words(joined({name: value}))
    assert in_words({"file_name": "a", "label": 1, "gaze": [0.1, -0.2], "boxes": [[1, 2, 3, 4]], "classes": ["c"]},
                    ["cat", "dog"]) == [("label", "dog"), ("gaze", "5.7°, -11.5°"), ("boxes", "1")]


def test_pixels_of_every_type_are_shown() -> None:
    assert shown_size(1000, 500, 100) == (100, 50) and shown_size(3, 2, 100) == (48, 32)
    for array in (np.full((1, 4, 5), 128, np.uint8), np.full((3, 4, 5), 128 * 257, np.uint16),
                  np.full((4, 4, 5), 128 / 255, np.float32)):
        assert set(np.asarray(as_picture(array)).ravel()) == {128}
    assert as_picture(np.arange(40, dtype=np.float32).reshape(2, 4, 5)).size == (5, 4)


def test_a_run_names_the_commands_that_come_next() -> None:
    said = {name: usage(find_class("systems", name, System), name) for name in names_in("systems", "System")}
    assert said["simclr"][0].startswith("migaki evaluate probe RUN")
    assert said["copy_detector"][0].startswith("migaki apply index --model RUN")
    assert any(line.startswith("migaki evaluate copies RUN") for line in said["copy_detector"])
    assert said["classifier"][0].startswith("migaki apply RUN")
    refused = {name for name, lines in said.items() if "migaki evaluate RUN --data LABELLED" not in lines}
    assert refused == {"any_style", "camera_refiner", "copy_detector", "cut", "cyclegan", "patch", "simgan",
                       "style_network"}  # nothing measures them against labels
