"""Results that would lie among what is read, runs of the wrong kind, options that would have no effect: refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_options import CPU, TINY
from toy_folders import write_folder

from migaki.cli import main

Refused = Callable[..., str]

INSIDE = {
    "apply": "apply ROAD/refiner --input EYES --out EYES/inner",
    "apply onto its input": "apply ROAD/refiner --input EYES --out EYES",
    "simulate rain": "simulate rain --input EYES --out EYES",
    "frame": "frame --input EYES --out EYES/framed",
    "import photos": "import photos EYES --out EYES/small",
    "train": "train gaze --data EYES --out EYES/run",
    "evaluate": "evaluate ROAD/gaze --data EYES --out EYES/evaluation",
    "drift": "drift --before EYES --after ROAD/refined --estimator ROAD/gaze --out EYES/drift",
}


@pytest.mark.parametrize("name", INSIDE)
def test_nothing_is_written_into_what_is_read(name: str, road: Path, copied: Callable[[str], Path],
                                              refused: Refused) -> None:
    eyes = copied("eyes")
    before = sorted(eyes.rglob("*"))
    words = INSIDE[name].replace("EYES", str(eyes)).replace("ROAD", str(road)).split()
    assert "which is an input: choose a folder outside of it" in refused(*words)
    assert sorted(eyes.rglob("*")) == before


def test_a_folder_beside_is_no_folder_within(road: Path, copied: Callable[[str], Path]) -> None:
    eyes = copied("eyes")
    beside = eyes.with_name(eyes.name + "_refined")  # of which the other name is a beginning
    assert main(["apply", str(road / "refiner"), "--input", str(eyes), "--out", str(beside), *CPU]) == 0


def test_an_evaluation_is_not_put_among_images(road: Path, copied: Callable[[str], Path], refused: Refused) -> None:
    refined = copied("refined")
    assert "cannot hold an evaluation" in refused("evaluate", road / "gaze", "--data", road / "eyes", "--out", refined)
    assert not (refined / "evaluation.json").exists()


def test_a_model_of_gaze_is_not_judged_by_degrees(road: Path, copied: Callable[[str], Path], refused: Refused) -> None:
    eyes = copied("eyes")
    rows = [json.loads(line) for line in (eyes / "metadata.jsonl").read_text().splitlines()]
    (eyes / "metadata.jsonl").write_text("".join(json.dumps(row | {"gaze_yaw": 20.0}) + "\n" for row in rows))
    told = refused("evaluate", road / "gaze", "--data", eyes, "--out", eyes.parent / "judged")
    assert "goes up to 20, which cannot be radians" in told
    assert not (eyes.parent / "judged" / "evaluation.json").exists()


def test_a_comparison_of_restored_pictures_is_not_put_among_images(tmp_path: Path, refused: Refused) -> None:
    for part in ("input", "target"):
        write_folder(tmp_path / "pairs" / part, 2, (24, 24), channels=3, labels=())
    write_folder(tmp_path / "others", 1, (24, 24), channels=3)
    assert main(["train", "deep_detail", "--photos", str(tmp_path / "others"), "--out", str(tmp_path / "run"),
                 "--patch", "16", "--features", "4", "--steps", "1", "--batch-size", "2", *CPU]) == 0
    told = refused("evaluate", tmp_path / "run", "--data", tmp_path / "pairs", "--out", tmp_path / "others")
    assert "cannot hold an evaluation" in told and not (tmp_path / "others" / "evaluation.json").exists()


def test_synthetic_and_real_are_not_swapped(road: Path, tmp_path: Path, refused: Refused) -> None:
    told = refused("train", "simgan", "--synthetic", road / "photos", "--real", road / "eyes", "--out",
                   tmp_path / "run", *TINY["simgan"])
    assert "simulate eyes" in told and "swap the two" in told and not (tmp_path / "run").exists()
    # From one renderer to another is an experiment and no mistake.
    assert main(["train", "simgan", "--synthetic", str(road / "eyes"), "--real", str(road / "eyes"), "--out",
                 str(tmp_path / "run"), *TINY["simgan"]]) == 0


def test_a_refiner_is_no_estimator(road: Path, tmp_path: Path, refused: Refused) -> None:
    told = refused("drift", "--before", road / "eyes", "--after", road / "refined", "--estimator", road / "refiner",
                   "--out", tmp_path / "drift")
    assert "makes pictures" in told and not (tmp_path / "drift").exists()
    told = refused("train", "simgan", "--synthetic", road / "eyes", "--real", road / "photos", "--estimator",
                   road / "refiner", "--out", tmp_path / "run", *TINY["simgan"])
    assert "makes pictures" in told


def test_an_infrared_is_not_made_up(tmp_path: Path, refused: Refused) -> None:
    write_folder(tmp_path / "rgb", 2, (40, 40), channels=3, labels=())
    told = refused("train", "pix2pix", "--target", tmp_path / "rgb", "--preset", "mcgan", "--out", tmp_path / "run",
                   "--patch", "32", "--levels", "2", "--balance", "0", "--steps", "1", *CPU)
    assert "3 channels instead of 4" in told and "000.png" in told


def test_a_prior_without_photographs_would_do_nothing(road: Path, tmp_path: Path, refused: Refused) -> None:
    told = refused("train", "gaze", "--data", road / "eyes", "--match-prior", "--out", tmp_path / "run", *TINY["gaze"])
    assert "--photos" in told


def test_another_setting_is_named(road: Path, copied: Callable[[str], Path], refused: Refused) -> None:
    eyes = copied("eyes")
    told = refused("simulate", "eyes", "--out", eyes, "--count", "6", "--width", "40", "--height", "24",
                   "--supersample", "1", "--equalise")
    assert "another config.equalise (false, now true)" in told
    told = refused("frame", "--input", road / "photos", "--out", eyes)
    assert "another command" in told and "delete" not in told


def test_what_was_rendered_without_labels_is_not_called_labelled(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["simulate", "stand_in_camera", "--out", str(tmp_path / "out"), "--count", "2"]
    assert main([*words, "--no-labelled"]) == 0
    assert "2 images without labels" in capsys.readouterr().out
    assert "gaze" not in json.dumps((tmp_path / "out" / "metadata.jsonl").read_text()
                                    if (tmp_path / "out" / "metadata.jsonl").exists() else "")


def test_no_answer_to_the_licence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, refused: Refused) -> None:
    def ended(_: str) -> str:
        raise EOFError

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", ended)
    assert "--accept-licence" in refused("assets", "unityeyes", "--out", tmp_path / "assets")
