"""Scenes of digits: labels that agree with each other and with the pixels, grounds of either kind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from migaki.cli import main
from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder
from migaki.simulate.digit_scenes import DigitScenes, draw_digit
from migaki.simulate.digit_strokes import skeletons
from migaki.simulate.scene_grounds import Photographs, clutter

Config = DigitScenes.Config


def test_mask_labels_and_boxes_say_the_same() -> None:
    batch = DigitScenes(Config(size=48)).render(3, range(40))
    counts = []
    for mask, labels, boxes, classes in zip(batch["mask"].numpy(), batch["labels"].tolist(), batch["boxes"].numpy(),
                                            batch["classes"].tolist(), strict=True):
        known = [label for label in labels if label >= 0]
        assert [label + 1 for label in known] == [number for number in np.unique(mask).tolist() if number]
        assert classes == labels and all(label == -1 for label in labels[len(known):])
        counts.append(len(known))
        for label, (x, y, wide, tall) in zip(known, boxes.astype(int), strict=False):
            mine = mask == label + 1
            assert mine[y : y + tall, x : x + wide].sum() == mine.sum()
            assert all(side.any() for side in (mine[y], mine[y + tall - 1], mine[:, x], mine[:, x + wide - 1]))
        assert not boxes[len(known):].any()
    assert set(counts) == {1, 2, 3}


def test_a_digit_has_one_colour_that_differs_from_its_surroundings() -> None:
    batch = DigitScenes(Config(size=64, noise=0.0, digits=(1, 1))).render(0, range(20))
    for image, mask in zip(batch["image"].numpy(), batch["mask"].numpy(), strict=True):
        inside = image[:, mask > 0]
        colour = np.median(inside, 1)
        assert (np.abs(inside - colour[:, None]).max(0) < 0.02).mean() > 0.5  # edges are mixed
        assert np.linalg.norm(colour - image[:, mask == 0].mean(1)) > 0.15


def test_all_digits_occur_and_look_like_themselves() -> None:
    seen = DigitScenes(Config(size=32)).render(1, range(60))["labels"]
    assert set(seen[seen >= 0].tolist()) == set(range(10))
    canvas, style = np.empty((40, 40)), DigitScenes()._style
    for digit in range(10):
        inks = []
        for seed in range(8):
            draw_digit(skeletons(), style, np.uint64(seed + 1), digit, canvas)
            inks.append(canvas.copy())
            assert canvas.max() > 0.99 and not canvas[[0, -1]].any()
        assert len({ink.tobytes() for ink in inks}) == 8
        if digit == 0:  # a hole in the middle of nearly every nought
            assert np.mean([ink[18:22, 18:22].min() < 0.5 for ink in inks]) > 0.6


def test_chosen_digits_are_numbered_in_their_order() -> None:
    simulator = DigitScenes(Config(size=32, classes=(7, 1, 4), digits=(3, 3)))
    assert simulator.names == {"classes": ["7", "1", "4"], "mask_classes": ["background", "7", "1", "4"]}
    batch = simulator.render(0, range(12))
    assert set(batch["labels"].unique().tolist()) <= {-1, 0, 1, 2} and set(batch["mask"].unique().tolist()) == {
        0, 1, 2, 3}
    only = DigitScenes(Config(size=32, classes=(0,), digits=(1, 1))).render(0, range(4))
    assert only["labels"].tolist() == [[0, -1, -1]] * 4
    for classes in ((1, 1, 2), (1, 2), (1, 2, 11)):
        with pytest.raises(UserError, match="give each digit once"):
            Config(classes=classes)


def test_photographs_are_seen_around_the_digits(tmp_path: Path) -> None:
    for number, colour in enumerate(((200, 30, 30), (20, 30, 220))):
        Image.new("RGB", (90 + 20 * number, 70), colour).save(tmp_path / f"{number}.png")
    batch = DigitScenes(Config(size=32, grounds=tmp_path, noise=0.0)).render(0, range(12))
    grounds = [tuple(np.round(255 * np.median(image.numpy()[:, mask.numpy() == 0], 1)).astype(int))
               for image, mask in zip(batch["image"], batch["mask"], strict=True)]
    assert set(grounds) == {(200, 30, 30), (20, 30, 220)}


def test_clutter_differs_and_stays_in_range() -> None:
    first, other = (clutter(np.random.default_rng(seed), 40) for seed in (0, 1))
    assert first.shape == (40, 40, 3) and first.min() >= 0 and first.max() <= 1
    assert np.abs(first - other).mean() > 0.05 and first.std() > 0.05


def test_it_is_a_command_that_names_its_classes(tmp_path: Path) -> None:
    assert main(["simulate", "digit_scenes", "--count", "4", "--size", "32", "--out", str(tmp_path / "set")]) == 0
    folder = ImageFolder(tmp_path / "set")
    assert folder.made["mask_classes"] == ["background", *map(str, range(10))]
    assert folder.class_names("labels") == tuple(map(str, range(10)))
    batch = folder.read(range(4), ("image", "mask", "labels"))
    expected = DigitScenes(Config(size=32)).render(0, range(4))
    assert torch.equal(batch["mask"], expected["mask"])
    row = json.loads((tmp_path / "set" / "metadata.jsonl").read_text().splitlines()[0])
    assert len(row["labels"]) == len(row["boxes"]) == int((expected["labels"][0] >= 0).sum())


def test_grounds_that_are_none_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="no such folder"):
        Photographs(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(UserError, match="holds no photograph"):
        Photographs(tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    args = ["simulate", "digit_scenes", "--count", "2", "--grounds", str(tmp_path), "--out", str(tmp_path / "set")]
    assert main(args) == 2
    said = capfd.readouterr().err.strip().splitlines()[-1]
    assert "broken.jpg: is no picture that can be read" in said and not (tmp_path / "set" / "dataset.json").exists()
    for changes, words in (({"digits": (2, 1)}, "digits are"), ({"extent": (0.5, 0.3)}, "extent lies"),
                           ({"size": 8}, "size is 8"), ({"contrast": 0.9}, "contrast lies")):
        with pytest.raises(UserError, match=words):
            Config(**changes)  # type: ignore[arg-type]
