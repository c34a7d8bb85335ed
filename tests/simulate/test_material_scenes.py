"""Scenes of materials: masks that fit the pixels, textures from folders, kinds of texture that differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from migaki.cli import main
from migaki.core.errors import UserError
from migaki.simulate.material_scenes import MaterialScenes, blob
from migaki.simulate.texture_painter import KINDS, paint_texture

Config = MaterialScenes.Config


def test_the_mask_is_where_the_material_is(tmp_path: Path) -> None:
    for name, colour in (("blue", (0, 0, 255)), ("red", (255, 0, 0))):
        (tmp_path / name).mkdir()
        Image.new("RGB", (50, 40), colour).save(tmp_path / name / "a.png")
    (tmp_path / "grounds").mkdir()
    Image.new("RGB", (40, 40), (0, 255, 0)).save(tmp_path / "grounds" / "a.png")
    (tmp_path / "words").mkdir()
    for name in ("blue", "red"):
        (tmp_path / name).rename(tmp_path / "words" / name)
    scenes = MaterialScenes(Config(size=40, textures=tmp_path / "words", grounds=tmp_path / "grounds", noise=0.0))
    assert scenes.names["mask_classes"] == ["background", "blue", "red"]
    batch = scenes.render(0, range(6))
    assert batch["label"].tolist() == [0, 1, 0, 1, 0, 1]
    for image, mask, label in zip(batch["image"].numpy(), batch["mask"].numpy(), batch["label"].tolist(), strict=True):
        assert set(np.unique(mask).tolist()) == {0, label + 1}
        channel = {0: 2, 1: 0}[label]
        inside, outside = ndimage.binary_erosion(mask > 0), ndimage.binary_erosion(mask == 0)  # the rim is mixed
        assert (image.argmax(0)[inside] == channel).all() and (image.argmax(0)[outside] == 1).all()
        light = image[channel][inside]
        assert light.max() - light.min() > 0.05  # the surface is shaded


def test_shapes_lie_in_the_picture_and_bulge() -> None:
    for seed in range(20):
        cover, bulge = blob(np.random.default_rng(seed), 60, (0.25, 0.38))
        assert 0.08 < cover.mean() < 0.7 and cover.max() == 1
        assert bulge.max() > 0.95 and (bulge[cover == 0] == 0).all()


def test_kinds_differ_and_pictures_of_a_kind_too() -> None:
    for kind in KINDS:
        pictures = [paint_texture(kind, np.random.default_rng(seed), 48) for seed in range(4)]
        assert all(picture.shape == (48, 48, 3) and picture.std() > 0.05 for picture in pictures)
        assert not np.array_equal(pictures[0], pictures[1])
    stripes = paint_texture("striped", np.random.default_rng(1), 64).mean(2)
    power = np.abs(np.fft.fft2(stripes - stripes.mean())) ** 2
    assert np.sort(power.ravel())[-12:].sum() > 0.6 * power.sum()  # one direction and width


def test_folders_without_pictures_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="no folder of pictures for any material"):
        MaterialScenes(Config(textures=tmp_path))
    (tmp_path / "moss").mkdir()
    with pytest.raises(UserError, match="moss: holds no picture"):
        MaterialScenes(Config(textures=tmp_path))
    assert main(["simulate", "material_scenes", "--textures", str(tmp_path / "none"), "--out",
                 str(tmp_path / "o")]) == 2
    assert main(["simulate", "textures", "--kinds", "mossy", "--out", str(tmp_path / "o")]) == 2
    assert capsys.readouterr().err.count("\n") == 2 and not (tmp_path / "o").exists()
