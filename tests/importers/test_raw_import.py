"""Raw photographs, by a stand-in for rawpy (an extra): levels, mosaic, colours, cameras of another set, refusals."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from migaki.core.errors import UserError
from migaki.data.batches.raw_pixels import RAW_COLUMNS
from migaki.data.folder import ImageFolder
from migaki.importers.raw import Raw, _matrix
from migaki.ops.linear_light import to_linear

XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                [0.0193339, 0.1191920, 0.9503041]])
COLOURS = np.array([[0.7, 0.25, 0.05], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7]])  # a camera's, of sRGB light


class Photograph:
    """What rawpy opens: an even grey of a camera whose red and blue are weak, GBRG, with black levels of its own."""

    color_desc, num_colors, white_level = b"RGBG", 3, 1000
    black_level_per_channel = (60, 64, 60, 68)
    camera_whitebalance = (1024.0, 512.0, 768.0, 512.0)
    daylight_whitebalance = (2.0, 1.0, 1.5, 0.0)

    def __init__(self, **changes: Any) -> None:
        self.other = SimpleNamespace(shutter_speed=0.5, iso_speed=800.0)
        self.raw_pattern = np.array([[3, 2], [0, 1]])
        self.raw_colors_visible = np.tile(self.raw_pattern, (4, 5))
        value = 0.2 / np.array([2.0, 1.0, 1.5, 1.0])  # grey, before it is balanced
        self.raw_image_visible = np.rint(
            np.array(self.black_level_per_channel) + value * 940)[self.raw_colors_visible].astype(np.uint16)
        self.color_matrix = np.zeros((3, 4))
        self.rgb_xyz_matrix = np.concatenate([COLOURS @ np.linalg.inv(XYZ), np.zeros((1, 3))])
        for name, one in changes.items():
            setattr(self, name, one)

    def __enter__(self) -> Photograph:
        return self

    def __exit__(self, *_: Any) -> None:
        pass


Shots = Callable[..., Path]


@pytest.fixture
def shots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shots:
    """Writes a folder of raw files, each of which the stand-in opens as given."""
    stand_in: Any = ModuleType("rawpy")

    class LibRawError(Exception):
        pass

    def made(**files: Any) -> Path:
        folder = tmp_path / "shots"
        folder.mkdir(exist_ok=True)
        for name in files:
            (folder / f"{name}.DNG").write_bytes(b"II*\0" + name.encode())

        def imread(file: Any) -> Any:
            found = files[file.read()[4:].decode()]
            if found is None:
                raise LibRawError(b"Unsupported file format or not RAW file")
            return found

        stand_in.imread, stand_in.LibRawError = imread, LibRawError
        monkeypatch.setitem(sys.modules, "rawpy", stand_in)
        return folder

    return made


def posed(folder: Path, *names: str, size: tuple[int, int] = (20, 16)) -> Path:
    folder.mkdir()
    lines = []
    for number, name in enumerate(names):
        Image.new("RGB", size).save(folder / f"{name}.png")
        lines.append({"file_name": f"{name}.png", "camera_to_world": np.eye(3, 4).tolist(), "split": "test",
                      "intrinsics": [20.0 + number, 21.0, 10.0, 8.0]})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "dataset.json").write_text(json.dumps({"scene": {"bounds": [[-1, -1, -1], [1, 1, 1]], "near": 1,
                                                               "far": 6, "background": [1, 1, 1]}}))
    return folder


def test_a_grey_card_stays_grey_at_every_shutter(shots: Shots, tmp_path: Path) -> None:
    short = Photograph(other=SimpleNamespace(shutter_speed=0.125, iso_speed=800.0))
    short.raw_image_visible = np.rint(np.array(short.black_level_per_channel) + 940 * 0.05 / np.array(
        [2.0, 1.0, 1.5, 1.0]))[short.raw_colors_visible].astype(np.uint16)
    folder = shots(a=Photograph(), b=short)
    assert Raw.recognises(folder) and not Raw.recognises(tmp_path)
    importer = Raw(Raw.Config(poses=posed(tmp_path / "posed", "a", "b")))
    assert importer.run(folder, tmp_path / "out") == 2
    made = ImageFolder(tmp_path / "out")
    made.require(*RAW_COLUMNS)
    rows = made.rows
    assert [row["shutter"] for row in rows] == [0.5, 0.125] and [row["preview_gain"] for row in rows] == [1.0, 4.0]
    assert rows[0]["mosaic"] == [1, 2, 0, 1] and rows[0]["black_level"] == 60 and rows[0]["white_level"] == 1000
    assert rows[0]["white_balance"] == [2.0, 1.0, 1.5] and rows[0]["split"] == "test"
    values = (made.plane("raw", 0) - 60) / 940
    assert np.unique(values[0, ::2].round(3)).tolist() == pytest.approx([0.2])  # green, its own black level taken away
    for picture in made.read([0, 1], ("image",))["image"]:
        torch.testing.assert_close(to_linear(picture), torch.full((3, 8, 10), 0.2), atol=0.01, rtol=0)
    assert rows[1]["intrinsics"] == [10.5, 10.5, 5.0, 4.0]  # half of 20 x 16
    assert made.made["scene"]["bounds"] == [[-1, -1, -1], [1, 1, 1]] and made.made["scene"]["background"] is None


def test_the_matrix_undoes_the_camera() -> None:
    """Rows that sum to 1: balanced colours of the camera become the sRGB light that it saw."""
    nothing, light = np.zeros((3, 3)), np.array([0.3, 0.5, 0.1])
    for matrix in (_matrix(nothing, 2.5 * COLOURS @ np.linalg.inv(XYZ)), _matrix(2 * np.linalg.inv(COLOURS), nothing)):
        np.testing.assert_allclose(matrix @ (COLOURS @ light), light, atol=1e-6)
        np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-6)
    assert np.array_equal(_matrix(nothing, nothing), np.eye(3))


@pytest.mark.parametrize(("changes", "reason"), [
    ({"raw_pattern": None}, "no mosaic"), ({"num_colors": 4}, "no mosaic"), ({"white_level": 50}, "white level"),
    ({"raw_image_visible": np.zeros((1, 9000), np.uint16)}, "px")])
def test_other_sensors_are_refused_in_one_line(shots: Shots, tmp_path: Path, changes: Any, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        Raw().run(shots(a=Photograph(**changes)), tmp_path / "out")
    assert "a.DNG" in str(caught.value) and "\n" not in str(caught.value)


def test_sets_that_do_not_fit_are_refused_in_one_line(shots: Shots, tmp_path: Path) -> None:
    other = Photograph(other=SimpleNamespace(shutter_speed=0.5, iso_speed=100.0))
    with pytest.raises(UserError, match="of one ISO"):
        Raw().find(shots(a=Photograph(), b=other))
    with pytest.raises(UserError, match=r"LibRaw reads \(Unsupported file format or not RAW file\)"):
        Raw().find(shots(a=None))
    with pytest.raises(UserError, match="no name agrees"):
        Raw(Raw.Config(poses=posed(tmp_path / "c", "c"))).find(shots(a=Photograph()))
    with pytest.raises(UserError, match="cut or turned"):
        Raw(Raw.Config(poses=posed(tmp_path / "turned", "a", size=(16, 20)))).run(shots(a=Photograph()), tmp_path / "o")
    with pytest.raises(UserError, match="no raw photographs"):
        Raw().find(posed(tmp_path / "pictures", "a"))
    with pytest.raises(UserError, match="--stops"):
        Raw.Config(stops=99.0)


def test_unbalanced_cameras_take_daylight(shots: Shots, tmp_path: Path) -> None:
    Raw().run(shots(a=Photograph(camera_whitebalance=(0.0, 0.0, 0.0, 0.0))), tmp_path / "out")
    assert ImageFolder(tmp_path / "out").rows[0]["white_balance"] == [2.0, 1.0, 1.5]


def test_the_extra_is_named(shots: Shots, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shots(a=Photograph())
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(UserError, match=r"pip install 'migaki\[raw\]'"):
        Raw().find(folder)
