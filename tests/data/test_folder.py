"""Image folders: what is delivered, in which shape and with which labels, and what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from refusals import message
from sample_pictures import picture, save

from migaki.data.batches.two_folders import open_two
from migaki.data.files.framing import asked_size, cover_box, resize, shift_points
from migaki.data.folder import ImageFolder
from migaki.systems.deep3d import Deep3d


def write_rows(folder: Path, rows: list[dict[str, object]]) -> None:
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_images_and_labels(labelled: Path) -> None:
    folder = ImageFolder(labelled)
    assert len(folder) == 12 and folder.shape == (1, 4, 6)
    assert folder.names == [f"{i}.png" for i in range(12)]
    assert {k: (v.shape, v.dtype.name) for k, v in folder.labels.items()} == {
        "gaze": ((12, 2), "float32"),
        "side": ((12,), "int64"),
        "bad_crop": ((12,), "bool"),
        "lighting": ((12, 3), "float32"),
    }
    assert folder.rows[3]["who"] == "person 3" and next(iter(folder.rows[3])) == "file_name"
    batch = folder.read([3, 5])
    assert torch.equal(batch["image"], torch.from_numpy(np.stack([picture(3), picture(5)])).float() / 255)
    assert batch["image"].dtype == torch.float32 and batch["bad_crop"].tolist() == [1, 0]
    assert torch.equal(batch["gaze"], torch.tensor([[0.3, -0.3], [0.5, -0.5]]))
    folder.require("gaze", "side", "image")


def test_unlabelled_nested_and_natural_order(tmp_path: Path) -> None:
    for name in ("10.png", "2.png", "sub/deep/1.png"):
        save(tmp_path / name, picture(0))
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_text("no image")
    folder = ImageFolder(tmp_path)
    assert folder.names == ["2.png", "10.png", "sub/deep/1.png"]
    assert folder.labels == {} and folder.classes == [] and folder.rows[0] == {"file_name": "2.png"}
    assert "has no label 'gaze'" in message(lambda: folder.require("gaze"))


def test_class_per_folder(tmp_path: Path) -> None:
    for name in ("dog/1.png", "cat/1.png", "dog/2.png"):
        save(tmp_path / name, picture(0))
    folder = ImageFolder(tmp_path)
    assert folder.classes == ["cat", "dog"] and folder.labels["label"].tolist() == [0, 1, 1]


def test_hugging_face_sees_the_same_classes(tmp_path: Path) -> None:
    for name in ("dog/1.png", "cat/1.png", "dog/2.png", "emu/a.png"):
        save(tmp_path / "set" / name, picture(len(name)))
    loaded = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "set"), split="train", cache_dir=str(tmp_path / "cache")
    )
    folder = ImageFolder(tmp_path / "set")
    assert loaded.features["label"].names == folder.classes
    assert sorted(loaded["label"]) == sorted(folder.labels["label"].tolist())


def test_select_and_fingerprint(labelled: Path) -> None:
    folder = ImageFolder(labelled)
    good = folder.select(~folder.labels["bad_crop"])
    assert len(good) == 11 and "3.png" not in good.names
    assert torch.equal(good.read([3])["image"], folder.read([4])["image"])
    assert good.labels["gaze"].tolist() == folder.labels["gaze"][~folder.labels["bad_crop"]].tolist()
    assert folder.fingerprint == ImageFolder(labelled).fingerprint != good.fingerprint
    save(labelled / "5.png", picture(5, 40, 60))
    assert ImageFolder(labelled).fingerprint != folder.fingerprint
    assert "no image is left" in message(lambda: folder.select([]))


@pytest.mark.parametrize("looked_before", [False, True])
def test_a_selection_has_its_own_further_pictures_and_knows_the_problems(tmp_path: Path, looked_before: bool) -> None:
    rows = []
    for index in range(5):
        save(tmp_path / f"{index}.png", picture(index))
        save(tmp_path / "masks" / f"{index}.png", np.full((1, 4, 6), index, np.uint8))
        rows.append({"file_name": f"{index}.png", "mask_file_name": f"masks/{index}.png", "number": index,
                     "ragged": [1.0] * (index + 1)} | ({"depth_file_name": "0.png"} if index == 0 else {}))
    write_rows(tmp_path, rows)
    folder = ImageFolder(tmp_path)
    if looked_before:
        assert len(folder.labels["number"]) == len(folder.files["mask"]) == 5
    part = folder.select([4, 2])
    assert part.files == {"mask": ["masks/4.png", "masks/2.png"]}  # no depth: neither row has one
    batch = part.read([0, 1], ("mask", "number"))
    assert batch["mask"][:, 0, 0].tolist() == batch["number"].tolist() == [4, 2]
    again = part.select([1])
    assert again.read([0], ("mask",))["mask"][0, 0, 0] == 2 and again.files == {"mask": ["masks/2.png"]}
    for view in (part, again):
        assert "label 'ragged' cannot be used" in message(lambda view=view: view.require("ragged"))
        assert view.keys == ("image", "mask", "number")
        view.require("mask")


def test_sizes_that_differ(tmp_path: Path) -> None:
    save(tmp_path / "a.png", picture(0))
    save(tmp_path / "b.png", picture(1, 8, 6))
    assert "a.png is 6 x 4, b.png 6 x 8): give a size" in message(lambda: ImageFolder(tmp_path).shape)
    folder = ImageFolder(tmp_path, size=(4, 4))
    assert folder.read([0, 1])["image"].shape == (2, 1, 4, 4)
    assert torch.equal(folder.read([0])["image"][0, 0] * 255, torch.from_numpy(picture(0)[0, :, 1:5]).float())


def test_points_follow_the_scaling(tmp_path: Path) -> None:
    image = np.zeros((1, 20, 40), np.uint8)
    image[0, 8:12, 20:24] = 255
    save(tmp_path / "a.png", image)
    write_rows(tmp_path, [{"file_name": "a.png", "pupil_x": 21.5, "pupil_y": 9.5, "joints": [[21.5, 9.5, 400.0]]}])
    folder = ImageFolder(tmp_path, size=(10, 10))
    batch = folder.read([0])
    y, x = torch.nonzero(batch["image"][0, 0] > 0.5).float().mean(dim=0).tolist()
    assert batch["pupil_centre"][0].tolist() == pytest.approx([x, y], abs=0.26)
    row = folder.row(0)
    assert [row["pupil_x"], row["pupil_y"]] == pytest.approx(batch["pupil_centre"][0].tolist())
    assert row["joints"] == [pytest.approx(batch["joints"][0, 0].tolist())] and "pupil_centre" not in row
    assert {"file_name": "a.png"} | ImageFolder(tmp_path).row(0) == ImageFolder(tmp_path).rows[0]
    assert batch["joints"][0, 0].tolist() == pytest.approx([*batch["pupil_centre"][0].tolist(), 400.0])


def test_cover_box_keeps_the_middle() -> None:
    assert cover_box(20, 40, (10, 10)) == (10, 0, 30, 20)
    assert cover_box(10, 10, (20, 10)) == (2.5, 0, 7.5, 10)
    assert shift_points(np.array([19.5, 9.5]), 20, 40, (10, 10)).tolist() == [4.5, 4.5]
    array = picture(0, 7, 9)
    assert resize(array, (7, 9)) is array


def test_channel_rules(tmp_path: Path) -> None:
    rgba = picture(0, channels=4)
    save(tmp_path / "a.png", rgba)
    assert ImageFolder(tmp_path).shape == (4, 4, 6)
    colours = ImageFolder(tmp_path, channels=3).decode(0)
    np.testing.assert_array_equal(colours, rgba[:3])
    grey = ImageFolder(tmp_path, channels=1).decode(0)
    np.testing.assert_array_equal(
        grey[0], np.rint(np.array([0.299, 0.587, 0.114]) @ rgba[:3].reshape(3, -1)).reshape(4, 6)
    )
    save(tmp_path / "b.png", picture(1))
    assert "differ in channels" in message(lambda: ImageFolder(tmp_path).shape)
    mixed = ImageFolder(tmp_path, channels=3)
    assert np.ptp(mixed.decode(1), axis=0).max() == 0
    opaque = ImageFolder(tmp_path, channels=4).decode(1)
    assert (opaque[3] == 255).all() and opaque.shape == (4, 4, 6)


def test_bands_have_no_channel_rule(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((6, 8, 8), np.uint8))
    assert ImageFolder(tmp_path).shape == (6, 8, 8)
    assert "no rule" in message(lambda: ImageFolder(tmp_path, channels=3).read([0]))


def test_depths_and_values(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[0, 65535]], np.uint16))
    Image.fromarray(np.array([[0, 255]], np.uint8)).save(tmp_path / "b.png")
    np.save(tmp_path / "c.npy", np.array([[0.0, 1.0]], np.float32))
    folder = ImageFolder(tmp_path)
    assert folder.dtype == np.float32 and folder.select([0, 1]).dtype == np.uint16
    assert folder.read([0, 1, 2])["image"].tolist() == [[[[0.0, 1.0]]]] * 3
    np.save(tmp_path / "c.npy", np.array([[-1.0, 3.0]], np.float32))
    assert "values from -1 to 3 have no rule" in message(lambda: ImageFolder(tmp_path).read([2]))
    ranged = ImageFolder(tmp_path, value_range=(-1, 3)).read([2])["image"]
    assert ranged.tolist() == [[[[0.0, 1.0]]]]
    np.save(tmp_path / "c.npy", np.array([[np.nan, 0]], np.float32))
    assert "not finite" in message(lambda: ImageFolder(tmp_path).read([2]))


def test_further_pictures_keep_their_unit(tmp_path: Path) -> None:
    save(tmp_path / "a.png", picture(0))
    save(tmp_path / "masks" / "a.png", picture(1) % 3)
    Image.fromarray(np.full((4, 6), 812.5, np.float32)).save(tmp_path / "a.tif")
    save(tmp_path / "t.png", picture(2))
    row = {
        "file_name": "a.png",
        "mask_file_name": "masks/a.png",
        "depth_file_name": "a.tif",
        "target_file_name": "t.png",
    }
    write_rows(tmp_path, [row])
    folder = ImageFolder(tmp_path)
    batch = folder.read([0])
    assert folder.keys == ("image", "mask", "depth", "target")
    assert torch.equal(batch["mask"][0], torch.from_numpy(picture(1)[0] % 3)) and batch["mask"].dtype == torch.uint8
    assert batch["depth"].shape == (1, 4, 6) and (batch["depth"] == 812.5).all()
    assert torch.equal(batch["target"], torch.from_numpy(picture(2))[None].float() / 255)
    assert ImageFolder(tmp_path, size=(2, 2)).read([0])["mask"].shape == (1, 2, 2)


def test_empty_and_missing_folders(tmp_path: Path) -> None:
    assert "no images" in message(lambda: ImageFolder(tmp_path))
    assert "no such folder" in message(lambda: ImageFolder(tmp_path / "nowhere"))
    assert "no such picture" in message(lambda: ImageFolder(tmp_path / "nowhere" / "a.jpg"))
    assert "no such film" in message(lambda: ImageFolder(tmp_path / "a.mp4"))
    (tmp_path / "file").write_text("")
    assert "not a folder" in message(lambda: ImageFolder(tmp_path / "file"))


@pytest.mark.parametrize("value", [None, float("nan")])
def test_missing_labels(labelled: Path, value: float | None) -> None:
    rows = list(ImageFolder(labelled).rows)
    rows[7] = {**rows[7], "gaze_yaw": value}
    write_rows(labelled, rows)
    folder = ImageFolder(labelled)
    text = message(lambda: folder.require("gaze"))
    assert "7.png (row 8)" in text and "1 of 12" in text and str(labelled) in text


def test_lists_of_different_lengths(labelled: Path) -> None:
    rows = list(ImageFolder(labelled).rows)
    rows[2] = {**rows[2], "lighting": [1.0]}
    write_rows(labelled, rows)
    assert "row 3 holds a list of another type or length" in message(lambda: ImageFolder(labelled).require("lighting"))


@pytest.mark.parametrize("name", ["../out.png", "/etc/passwd", "sub/../../out.png", "link.png", "..", "a\0.png"])
def test_names_that_climb_out(tmp_path: Path, name: str) -> None:
    save(tmp_path / "out.png", picture(0))
    folder = tmp_path / "in"
    save(folder / "a.png", picture(0))
    if name == "link.png":
        (folder / name).symlink_to(tmp_path / "out.png")
    write_rows(folder, [{"file_name": name}])
    assert "leads out of the folder" in message(lambda: ImageFolder(folder))


def test_links(tmp_path: Path) -> None:
    save(tmp_path / "sub" / "a.png", picture(0))
    (tmp_path / "b.png").symlink_to("sub/a.png")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    assert ImageFolder(tmp_path).names == ["b.png", "sub/a.png"]
    write_rows(tmp_path, [{"file_name": "sub/loop/b.png"}])
    assert len(ImageFolder(tmp_path)) == 1
    (tmp_path / "c.png").symlink_to("c.png")
    assert "c.png: a loop of links or a broken link" in message(lambda: ImageFolder(tmp_path))


def test_names_missing_or_twice(labelled: Path) -> None:
    rows = list(ImageFolder(labelled).rows)
    write_rows(labelled, [*rows, {"file_name": "nowhere.png"}])
    assert "names 'nowhere.png', which is missing" in message(lambda: ImageFolder(labelled))
    write_rows(labelled, [*rows, {"file_name": "./0.png"}])
    assert "names '0.png' twice" in message(lambda: ImageFolder(labelled))
    write_rows(labelled, [*rows, {"file_name": 5}])
    assert "row 13 has no 'file_name'" in message(lambda: ImageFolder(labelled))


def test_strange_names(tmp_path: Path) -> None:
    save(tmp_path / "new\nline.png", picture(0))
    os.rename(tmp_path / "new\nline.png", os.fsencode(tmp_path) + b"/\xff\xfe.png")
    save(tmp_path / "new\nline.png", picture(1))
    folder = ImageFolder(tmp_path)
    assert folder.read([0, 1])["image"].shape == (2, 1, 4, 6) and len(folder.fingerprint) == 16
    (tmp_path / "new\nline.png").write_text("rubbish")
    assert r"new\nline.png" in message(lambda: ImageFolder(tmp_path).shape)


def test_unfinished_folder(labelled: Path) -> None:
    (labelled / ".journal").write_text("")
    assert "is not finished" in message(lambda: ImageFolder(labelled))


@pytest.mark.long  # a speed; rows themselves are read above
def test_a_hundred_thousand_rows_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{index}.png" for index in range(100_000)]
    rest = '"gaze_pitch": -0.106013, "gaze_yaw": 0.172298, "side": 1, "bad_crop": false, "light": [0.1, 0.2, 0.3]}'
    (tmp_path / "metadata.jsonl").write_text("".join(f'{{"file_name": "{name}", {rest}\n' for name in names))
    # Making so many files takes longer than reading their rows; listing them takes 0.1 s.
    monkeypatch.setattr("migaki.data.folder.list_files", lambda path, left_out: ["metadata.jsonl", *names])
    assert ImageFolder(tmp_path).labels["gaze"].shape == (100_000, 2)  # how fast: benchmarks/speed_start.py


def test_real_patches(real_data: Callable[[str], Path]) -> None:
    folder = ImageFolder(real_data("mpiigaze/labelled"))
    assert folder.shape == (1, 36, 60) and len(folder) == 1000
    folder.require("gaze", "side", "bad_crop")
    assert folder.labels["gaze"].min() > -0.3
    assert "has no label" in message(lambda: ImageFolder(real_data("mpiigaze/unlabelled")).require("gaze"))
    scaled = ImageFolder(real_data("mpiigaze/unlabelled_many_people"), size=(36, 60))
    assert scaled.read([0, 1])["image"].shape == (2, 1, 36, 60)


def test_a_height_without_a_width_is_refused(tmp_path: Path) -> None:
    """It would be ignored, and the pictures read as they are."""
    assert asked_size(0, 0) is None and asked_size(8, 12) == (8, 12)
    save(tmp_path / "a.png", picture(3))
    for height, width in ((8, 0), (0, 8)):
        config = Deep3d.Config(height=height, width=width)
        for call in (partial(asked_size, height, width), partial(open_two, tmp_path, tmp_path, 3, height, width),
                     partial(Deep3d.open, Deep3d.Data(data=tmp_path), config, 0)):
            assert f"--height {height} --width {width}: give both" in message(call)


@pytest.mark.parametrize("key", ["file_name", "target_file_name"])
@pytest.mark.parametrize("name", ["", " ", ".", "./"])
def test_a_blank_name_is_no_file(tmp_path: Path, key: str, name: str) -> None:
    """It had led to the folder itself, which "leads out of the folder"."""
    save(tmp_path / "a.png", picture(3))
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": "a.png"} | {key: name}))
    assert "metadata.jsonl: " in message(lambda: ImageFolder(tmp_path))
    expected = "names no file" if name or key != "file_name" else "row 1 has no 'file_name'"
    assert expected in message(lambda: ImageFolder(tmp_path))
