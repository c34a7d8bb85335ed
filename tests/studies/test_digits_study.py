"""The digits study in a small form: scikit-learn's digits written as MNIST and as USPS come."""

from __future__ import annotations

import bz2
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from migaki.cli import main
from migaki.core.errors import UserError
from migaki.studies.digits import Digits
from migaki.studies.parts.digits_arms import digits_arms
from migaki.systems.adapted_classifier import AdaptedClassifier

CHOSEN = ("source", "kept", "all")
SIZES = {"seeds": 1, "steps": 2, "batch_size": 8, "features": 2, "size": 12, "plain_size": 12, "refiner_steps": 2}


def write_sets(folder: Path) -> list[str]:
    """mnist.npz (28 px) and usps, usps.t (16 px) with 40 + 20 digits each; the options that name them."""
    bunch = load_digits()
    folder.mkdir()

    def scaled(first: int, count: int, side: int) -> np.ndarray:
        part = (bunch.images[first:first + count] * 15.9).astype(np.uint8)
        return np.stack([np.asarray(Image.fromarray(image).resize((side, side))) for image in part])

    np.savez(folder / "mnist.npz", x_train=scaled(0, 40, 28), y_train=bunch.target[:40].astype(np.uint8),
             x_test=scaled(40, 20, 28), y_test=bunch.target[40:60].astype(np.uint8))
    for name, first, count in (("usps.bz2", 100, 40), ("usps.t.bz2", 140, 20)):
        values = scaled(first, count, 16).reshape(count, 256) / 127.5 - 1
        lines = [" ".join([str(int(label) + 1), *(f"{k + 1}:{v:.4f}" for k, v in enumerate(row))])
                 for label, row in zip(bunch.target[first:first + count], values, strict=True)]
        (folder / name).write_bytes(bz2.compress("\n".join(lines).encode()))
    return ["--mnist", str(folder / "mnist.npz"), "--usps", str(folder)]


def test_the_study_both_ways(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["study", "digits", "--out", str(tmp_path / "out"), *write_sets(tmp_path / "sets"),
             *(word for key, value in SIZES.items() for word in (f"--{key.replace('_', '-')}", str(value))),
             "--arms", *CHOSEN]
    assert main(words) == 0
    out = tmp_path / "out"
    results = json.loads((out / "results.json").read_text())
    arms = [arm for arm in digits_arms(1, 1, 1, 12, 12) if arm.slug in CHOSEN]
    assert [row["arm"] for row in results] == [f"{way}_{arm.slug}" for way in ("mnist_usps", "usps_mnist")
                                               for arm in arms]
    assert all(row["count"] == 20 and 0 <= row["accuracy"] <= 1 for row in results)
    table = (out / "tables" / "digits.md").read_text()
    assert all(arm.name in table for arm in arms) and "98.4" in table
    page = (out / "report.html").read_text()
    assert "No label of a target was used" in page and "migaki frame" in page
    # Nothing is made again.
    made = {path: path.stat().st_mtime_ns for path in out.rglob("model.safetensors")}
    assert len(made) == 2 * (len(arms) + 2)  # a refiner and its estimator
    capsys.readouterr()
    assert main(words) == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("model.safetensors")} == made


def test_no_step_reads_labels_of_a_target(tmp_path: Path) -> None:
    """Of a target's folders only the training pictures are trained on, as photographs, and the test set is judged."""
    plan = Digits(Digits.Config()).plan(tmp_path, quiet=True)
    bounds = 0
    for phase in plan.phases:
        for way, target in (("mnist_usps", "usps"), ("usps_mnist", "mnist")):
            for step in phase.steps:
                words = list(step.words)
                if way not in step.command or words[0] != "train":
                    continue
                if "target_0" in step.command:  # the upper bound, which says so
                    bounds += 1
                    assert words[words.index("--data") + 1] == str(tmp_path / f"framed_{target}_train")
                    assert "--photos" not in words
                    continue
                labelled = words[words.index("--data") + 1] if "--data" in words else words[words.index("--synthetic")
                                                                                            + 1]
                assert target + "_" not in labelled.replace(way, "")
                assert f"{target}_test" not in step.command
                named = [word for word in words if f"{target}_train" in word]
                assert all(words[words.index(word) - 1] in ("--photos",) for word in named)
    assert bounds == 2
    assert next(arm for arm in digits_arms(1, 1, 1, 24, 28) if arm.is_bound).saw == "its labels"


def test_usps_divided_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["study", "digits", "--out", str(tmp_path / "out"), *write_sets(tmp_path / "sets"),
             *(word for key, value in SIZES.items() for word in (f"--{key.replace('_', '-')}", str(value))),
             "--arms", "target", "--usps-test", "25"]
    assert main(words) == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {row["arm"]: row["count"] for row in found} == {"mnist_usps_target": 25, "usps_mnist_target": 20}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "divided anew, 25 of them" in page and "original split of 7,291" not in page


def test_both_directions_have_one_configuration_and_one_budget() -> None:
    arms = digits_arms(40, 8, 4, 24, 28)
    assert {arm.config.steps for arm in arms if not arm.is_long} == {40}
    assert {arm.config.features for arm in arms} == {4}
    full = next(arm.config for arm in arms if arm.slug == "all")
    assert isinstance(full, AdaptedClassifier.Config) and min(full.alignment, full.information, full.confident) > 0


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match="--seeds must be at least 1"):
        Digits.Config(seeds=0)
    with pytest.raises(UserError, match="--usps-test"):
        Digits.Config(usps_test=-1)
    with pytest.raises(UserError, match="--size"):
        Digits.Config(size=4)
    with pytest.raises(UserError, match="--arms nonsense: known are source, framed"):
        Digits.Config(arms=("nonsense",))
