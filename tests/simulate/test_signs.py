"""Traffic signs: painted as naive NumPy paints them, labels where the pixels are, names that travel."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from migaki.cli import main
from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder
from migaki.simulate.sign_painter import adjugate, box_of, distance, paint_shape, project
from migaki.simulate.sign_shapes import COLOURS, SIGNS, outlines
from migaki.simulate.signs import SignSimulator

Config = SignSimulator.Config
STILL = {"shift": (0.0, 0.0), "aspect": (1.0, 1.0), "tilt": (0.0, 0.0), "perspective": (0.0, 0.0), "tint": 0.0,
         "extent": (0.8, 0.8), "proportion": (1.0, 1.0), "weight": (1.0, 1.0), "background": "plain"}


def naive_distance(points: np.ndarray, is_closed: bool, x: float, y: float) -> float:
    """By dense samples of the outline, and the winding number for the inside."""
    pairs = list(zip(points, np.roll(points, -1, 0), strict=True))[: None if is_closed else -1]
    dense = np.concatenate([a + np.linspace(0, 1, 4001)[:, None] * (b - a) for a, b in pairs])
    nearest = float(np.hypot(*(dense - (x, y)).T).min())
    z = (points - (x, y)) @ (1, 1j)
    turns = np.angle(np.roll(z, -1) / z).sum() / (2 * np.pi)
    return -nearest if is_closed and abs(turns) > 0.5 else nearest


@pytest.mark.parametrize("is_closed", [False, True])
def test_distances_are_those_of_a_naive_twin(is_closed: bool) -> None:
    points = np.array([(0.0, -0.9), (0.8, -0.1), (0.1, 0.1), (0.5, 0.9), (-0.7, 0.2)])  # not convex
    random = np.random.default_rng(0)
    for x, y in random.uniform(-1, 1, (60, 2)):
        assert distance(points, is_closed, x, y) == pytest.approx(naive_distance(points, is_closed, x, y), abs=2e-4)
    assert distance(points[:1], is_closed, 0.3, -0.5) == pytest.approx(0.5)


def test_a_disc_covers_its_area_and_edges_are_soft() -> None:
    image, mask = np.zeros((64, 64, 3)), np.zeros((64, 64), np.uint8)
    inverse = np.array([[1 / 20, 0, -31.5 / 20], [0, 1 / 20, -31.5 / 20], [0, 0, 1]])
    paint_shape(image, np.zeros((1, 2)), False, 1.0, np.array([1.0, 0.5, 0.0]), inverse, 20.0, mask)
    assert image[..., 0].sum() == pytest.approx(np.pi * 20**2, rel=1e-3)
    np.testing.assert_allclose(image[..., 1], image[..., 0] / 2)
    assert image[..., 2].max() == 0 and ((image[..., 0] > 0) & (image[..., 0] < 1)).sum() > 80
    assert np.array_equal(mask, image[..., 0] >= 0.5)


def test_the_inverse_of_a_projection_and_a_box() -> None:
    matrix = np.array([[20.0, 3, 30], [-2, 25, 33], [0.05, -0.1, 1]])
    inverse = np.empty((3, 3))
    adjugate(matrix, inverse)
    np.testing.assert_allclose(inverse / np.linalg.det(matrix), np.linalg.inv(matrix), atol=1e-12)
    assert project(inverse, *project(matrix, 0.3, -0.7)) == pytest.approx((0.3, -0.7))
    box = np.empty(4)
    box_of(np.zeros((1, 2)), 1.0, np.array([[10.0, 0, 20], [0, 5, 2], [0, 0, 1]]), 64, box)
    np.testing.assert_allclose(box, [10.5, 0, 20, 7.5], atol=1e-6)  # cut at the picture's upper edge


def test_masks_boxes_and_corners_fit_the_pixels() -> None:
    batch = SignSimulator(Config(extent=(0.4, 0.7))).render(3, range(120))
    for mask, box, corners in zip(batch["mask"], batch["boxes"][:, 0], batch["sign_corners"], strict=True):
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        found = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
        np.testing.assert_allclose(box, found, atol=1.5)
        centre = corners.mean(0) + 0.5
        assert (centre > box[:2]).all() and (centre < box[:2] + box[2:]).all()
        across, down = corners[1] - corners[0], corners[3] - corners[0]
        assert across[0] > 0 and down[1] > 0, "clockwise from the upper left"
    assert set(batch["mask"].unique().tolist()) == {0, 1}


def test_corners_of_a_round_sign_from_the_front_are_its_box() -> None:
    batch = SignSimulator(Config(classes=("no_entry",), **STILL)).render(0, [0])
    box, corners = batch["boxes"][0, 0], batch["sign_corners"][0] + 0.5
    expected = torch.stack([box[:2], box[:2] + box[2:] * torch.tensor([1, 0]), box[:2] + box[2:],
                            box[:2] + box[2:] * torch.tensor([0, 1])])
    torch.testing.assert_close(corners, expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(box[2:], torch.full((2,), 0.8 * 64), atol=1e-3, rtol=0)
    white, red = (torch.tensor(COLOURS[name]) for name in ("white", "red"))
    torch.testing.assert_close(batch["image"][0, :, 32, 32], white, atol=1e-6, rtol=0)
    torch.testing.assert_close(batch["image"][0, :, 14, 32], red, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [16, 48, 65])
def test_every_class_is_drawn_and_no_two_look_alike(size: int) -> None:
    pictures = [SignSimulator(Config(size=size, classes=(name,), **STILL)).render(1, [0])["image"][0]
                for name in SIGNS]
    assert pictures[0].shape == (3, size, size)
    for number, one in enumerate(pictures):
        assert all((one - other).abs().mean() > 0.003 for other in pictures[number + 1 :])
    labels = SignSimulator(Config(size=16)).render(0, range(2000))["label"]
    counts = torch.bincount(labels, minlength=len(SIGNS))
    assert len(counts) == len(SIGNS) == 23 and counts.min() > 50


def test_each_interval_counts() -> None:
    """Widening one interval from a still sign changes the picture, and only plain grounds are of one tone."""
    still = SignSimulator(Config(classes=("speed_40",), **STILL)).render(0, [1])["image"]
    for name, wide in (("shift", (-0.2, 0.2)), ("aspect", (0.5, 0.9)), ("tilt", (0.1, 0.4)), ("extent", (0.3, 0.5)),
                       ("perspective", (0.1, 0.3)), ("proportion", (0.5, 0.8)), ("weight", (1.4, 2.0)), ("tint", 0.2),
                       ("background", "varied")):
        other = SignSimulator(Config(classes=("speed_40",), **(STILL | {name: wide}))).render(0, [1])["image"]
        assert not torch.equal(still, other), name
    batch = SignSimulator(Config(**STILL)).render(0, range(20))
    for image, mask in zip(batch["image"], batch["mask"], strict=True):
        corner = image[:, :5, :5].flatten(1)
        assert not mask[:5, :5].any() and (corner == corner[:, :1]).all()


def test_outlines_are_the_shapes() -> None:
    flat = outlines(["no_entry", "speed_5"])
    shapes = [*SIGNS["no_entry"], *SIGNS["speed_5"]]
    assert flat.sign.tolist() == [0, 3, len(shapes)] and len(flat.points) == flat.shape[-1]
    for number, shape in enumerate(shapes):
        assert flat.points[flat.shape[number] : flat.shape[number + 1]].tolist() == [list(p) for p in shape.points]
        assert (flat.half_width[number], list(COLOURS)[flat.colour[number]], flat.is_closed[number]) == (
            shape.half_width, shape.colour, shape.is_closed)


def test_names_of_classes_and_masks_are_written(tmp_path: Path) -> None:
    words = ["simulate", "signs", "--count", "6", "--size", "24", "--classes", "give_way", "no_entry", "--out",
             str(tmp_path / "out")]
    assert main(words) == 0
    folder = ImageFolder(tmp_path / "out")
    assert folder.classes == ["give_way", "no_entry"] and folder.class_names("classes") == ("give_way", "no_entry")
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["mask_classes"] == ["ground", "sign"]
    assert set(folder.labels) >= {"label", "boxes", "classes", "sign_corners"} and "mask" in folder.files
    assert folder.shape == (3, 24, 24) and folder.labels["boxes"].shape == (6, 1, 4)


@pytest.mark.parametrize(("wrong", "says"), [
    ({"size": 8}, "size is 8"), ({"classes": ("stop",)}, "give each once"),
    ({"classes": ("give_way", "give_way")}, "give each once"), ({"tilt": (0.2, 0.1)}, "tilt is"),
    ({"extent": (0.0, 0.5)}, "extent is above"), ({"perspective": (-0.9, 0.1)}, "perspective within"),
    ({"tint": -0.1}, "tint is"),
])
def test_what_cannot_be_drawn_is_refused(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        Config(**wrong)  # type: ignore[arg-type]
