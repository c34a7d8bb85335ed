"""Films between two photographs: drawing of points, the background's motion, and a middle that is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pairs import texture
from PIL import Image

from migaki.changes.moments import Moments
from migaki.core.errors import UserError
from migaki.data.folder import ImageFolder
from migaki.ops.geometry.flow import FlowSettings
from migaki.ops.geometry.moment import (
    background_motion,
    both_flows,
    clouds,
    drawn,
    homography,
    lifted,
    moved_places,
    rims,
)
from migaki.ops.geometry.splat import fill_holes, splat
from migaki.stages.apply import apply_change
from migaki.stages.apply_job import ApplyJob

Array = np.ndarray[Any, Any]
HEIGHT, WIDTH, FOCAL = 48, 64, 60.0
FAST = FlowSettings(warps=3, rounds=15, radius=2)


def moment(time: float, shift: float = 0.0) -> tuple[Array, Array]:
    """A square at depth 2 that moves 4 px to the right before a wall at depth 4, and its depth.

    `shift` moves the camera so that the wall moves by as many px to the left, and the square by twice as many.
    """
    wall, square = texture(HEIGHT, WIDTH + 40, 1, 1.5), texture(20, 20, 2, 1.5)
    left, at = 20 + round(shift), 16 + round(4 * time - 2 * shift)
    picture, depth = wall[:, left:left + WIDTH].copy(), np.full((HEIGHT, WIDTH), 4, np.float32)
    picture[14:34, at:at + 20], depth[14:34, at:at + 20] = square, 2
    return picture, depth


def psnr(one: Array, other: Array) -> float:
    return float(-10 * np.log10(((one - other) ** 2).mean()))


def test_points_fall_on_four_pixels() -> None:
    places = np.float32([[1.25, 0.5], [-0.5, 2], [9, 9]])
    sums, whole = splat(places, np.float32([[1, 2], [3, 4], [5, 6]]), np.float32([2, 1, 1]), 3, 4)
    expected = np.zeros((3, 4))
    expected[0, 1], expected[0, 2], expected[1, 1], expected[1, 2], expected[2, 0] = 0.75, 0.25, 0.75, 0.25, 0.5
    np.testing.assert_allclose(whole, expected, atol=1e-6)
    assert sums[:, 2, 0].tolist() == [1.5, 2] and sums[:, 0, 1].tolist() == [0.75, 1.5]


def test_holes_take_the_colour_around() -> None:
    picture, weight = np.full((2, 9, 7), 0.25, np.float32), np.ones((9, 7), np.float32)
    picture[:, 3:6, 2:5], weight[3:6, 2:5] = 9, 0
    np.testing.assert_allclose(fill_holes(picture, weight), 0.25, atol=1e-6)
    kept = fill_holes(np.float32([[[0.2, 0.9, 0.4]]]), np.float32([[1, 0, 1]]))
    assert kept[0, 0, 0] == np.float32(0.2) and 0.2 < kept[0, 0, 1] < 0.4


def test_the_background_is_followed_and_not_what_moves_before_it() -> None:
    matrix = np.array([[1.01, 0.02, 1.5], [-0.01, 0.99, -0.7], [1e-4, -5e-5, 1]])
    rows, columns = np.mgrid[:100, :120].astype(np.float64)
    places = np.stack([columns, rows], -1)
    flow = (moved_places(matrix, places) - places).transpose(2, 0, 1).astype(np.float32)
    flow[:, 30:60, 30:70] += 9
    np.testing.assert_allclose(background_motion(flow, 0), matrix, atol=2e-3)
    noise = np.random.default_rng(0).normal(0, 30, flow.shape).astype(np.float32)
    assert (background_motion(noise, 0) == np.eye(3)).all()
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])
    np.testing.assert_allclose(homography(square, moved_places(matrix, square)), matrix, atol=1e-9)


def test_what_lies_behind_a_rim_is_taken_from_beside() -> None:
    picture, depth = moment(0)
    behind, colours, hidden = rims(depth, picture, 4)
    assert hidden[14:34, 16:20].all() and not hidden[20:28, 22:30].any() and not hidden[:, :16].any()
    assert (behind[hidden] == 4).all() and colours.shape == picture.shape
    assert not rims(np.ones((5, 5)), np.zeros((5, 5, 3)))[2].any()


@pytest.fixture(scope="module")
def pair() -> Any:
    (first, near), (second, far) = moment(0), moment(1)
    return clouds(first, second, (near, far * 3), FOCAL, both_flows(first, second, FAST))  # depths of another scale


def test_the_ends_are_the_photographs_and_the_middle_is_between(pair: Any) -> None:
    still = np.eye(3, 4)
    for time, least in ((0.0, 32), (1.0, 26)):
        found = drawn(pair, time, still, FOCAL, (HEIGHT, WIDTH))[0].transpose(1, 2, 0)
        assert psnr(found, moment(time)[0]) > least
    middle = drawn(pair, 0.5, still, FOCAL, (HEIGHT, WIDTH))[0].transpose(1, 2, 0)
    fade = (moment(0)[0] + moment(1)[0]) / 2
    assert psnr(middle, moment(0.5)[0]) > psnr(fade, moment(0.5)[0]) + 2


def test_the_camera_sees_parallax(pair: Any) -> None:
    """A step of 1/15 of a unit to the right moves the wall by 1 px and the square by 2."""
    beside = np.concatenate([np.eye(3), [[1 / 15], [0], [0]]], 1)
    found = drawn(pair, 0.0, beside, FOCAL, (HEIGHT, WIDTH))[0].transpose(1, 2, 0)
    truth = moment(0, 1)[0]
    inner = np.s_[2:-2, 2:-4]
    assert psnr(found[inner], truth[inner]) > psnr(moment(0)[0][inner], truth[inner]) + 6
    nearer = lifted(np.array([[31.5, 23.5]]), np.array([2.0]), FOCAL, (HEIGHT, WIDTH))
    assert nearer.tolist() == [[0, 0, 2]]


def test_a_known_camera_is_taken_off() -> None:
    """The second photograph is taken from a step beside: the wall rests in space, and only the square moves."""
    (first, near), (second, far) = moment(0), moment(1, 1)
    moved = np.concatenate([np.eye(3), [[1 / 15], [0], [0]]], 1)
    one, two = clouds(first, second, (near, far), FOCAL, both_flows(first, second, FAST), moved)
    wall = one.start[:, 2] > 3
    assert np.median(abs(one.end - one.start)[wall]) < 0.01 < 0.1 < np.median((one.end - one.start)[~wall, 0])
    assert np.median(abs(two.end - two.start)[two.end[:, 2] > 3]) < 0.01


def write(folder: Path, time: float) -> Path:
    (folder / "depths").mkdir(parents=True)
    picture, depth = moment(time)
    Image.fromarray(np.rint(picture * 255).astype(np.uint8)).save(folder / "a.png")
    Image.fromarray(depth).save(folder / "depths" / "a.tif")
    (folder / "metadata.jsonl").write_text('{"file_name": "a.png", "depth_file_name": "depths/a.tif"}\n')
    return folder


def test_a_pair_becomes_a_film(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", 0), write(tmp_path / "two", 1)
    change = Moments(Moments.Config(next=two, frames=3, path="side"))
    apply_change("moments", change, ApplyJob(input=one, out=tmp_path / "out", variants=3), quiet=True)
    made = ImageFolder(tmp_path / "out")
    assert [row["time"] for row in made.rows] == [0, 0.5, 1] and [row["frame"] for row in made.rows] == [0, 1, 2]
    assert psnr(made.decode(0).transpose(1, 2, 0) / 255, moment(0)[0]) > 30  # the sine is 0 at both ends
    assert psnr(made.decode(1).transpose(1, 2, 0) / 255, moment(0.5)[0]) > 18
    assert abs(made.plane("depth", 1) - moment(0.5)[1]).mean() < 0.15
    flat = Moments(Moments.Config(next=two, frames=2, depth="flat"))
    job = ApplyJob(input=one / "a.png", out=tmp_path / "flat")
    apply_change("moments", flat, job, quiet=True)
    assert len(ImageFolder(tmp_path / "flat")) == 1


def refusal(folder: Path, out: Path, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        apply_change("moments", Moments(Moments.Config(**options)), ApplyJob(input=folder, out=out), quiet=True)
    return str(caught.value)


def test_photographs_of_different_scenes(tmp_path: Path) -> None:
    one, other = write(tmp_path / "one", 0), texture(HEIGHT, WIDTH, 9, 1.5)
    Image.fromarray(np.rint(other * 255).astype(np.uint8)).save(tmp_path / "other.png")
    said = refusal(one / "a.png", tmp_path / "out", next=tmp_path / "other.png", depth="flat", frames=2)
    assert "show different things" in said and not (tmp_path / "out").exists()


def test_pairs_without_depth_or_second_photograph(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", 0), write(tmp_path / "two", 1)
    out = tmp_path / "out"
    assert "has no second pictures" in refusal(one, out)
    assert "does not say depth" in refusal(one / "a.png", out, next=two)
    assert "or its next photograph has none" in refusal(one, out, next=two / "a.png")
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.float32)).save(two / "depths" / "a.tif")
    assert "has no depth anywhere" in refusal(one, out, next=two)
    (one / "metadata.jsonl").write_text('{"file_name": "a.png", "boxes": [[1, 2, 3, 4]]}\n')
    assert "its boxes would not follow the pixels" in refusal(one, out, next=two)
    for options, said in (({"frames": 1}, "--frames 1"), ({"swing": 2.0}, "--swing is 0 to 1"),
                          ({"depth": "network"}, "belong together")):
        with pytest.raises(UserError, match=said):
            Moments.Config(**options)  # type: ignore[arg-type]
