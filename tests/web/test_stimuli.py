"""Nothing but the picture may tell: not names, sizes, formats, metadata or dimensions."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from migaki.core.errors import UserError
from migaki.web.stimuli import Form, assemble, common_form, encode_png, is_grey, prepare


def test_all_images_have_one_form_and_one_number_of_bytes(folders: tuple[Path, Path]) -> None:
    found = assemble(*folders, per_class=20, seed=0)
    assert found.form == Form(width=55, height=35, channels=1)
    assert [one.is_real for one in found.stimuli] == [True] * 20 + [False] * 20
    files = [encode_png(one.pixels) for one in found.stimuli]
    assert len({len(file) for file in files}) == 1
    assert len({file[:41] for file in files}) == 1  # signature, header, start of the data
    for file, one in zip(files, found.stimuli, strict=True):
        assert one.name.encode() not in file
        image = Image.open(io.BytesIO(file))
        assert not image.getexif() and set(image.info) == set()
        np.testing.assert_array_equal(np.array(image), one.pixels[..., 0])


@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 5, 3), (300, 280, 3)])  # the last needs several stored blocks
def test_png_is_read_back_and_its_length_depends_on_the_form_alone(shape: tuple[int, int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    file = encode_png(noise)
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(file))).reshape(shape), noise)
    assert len(encode_png(np.zeros(shape, np.uint8))) == len(file)


def test_the_choice_is_random_repeatable_and_without_repetition(folders: tuple[Path, Path]) -> None:
    names = [[one.name for one in assemble(*folders, per_class=10, seed=seed).stimuli] for seed in (0, 0, 1)]
    assert names[0] == names[1] != names[2]
    assert len(set(names[0])) == 20


def test_mixed_sizes_are_reduced_to_the_smallest_and_it_says_so(tmp_path: Path) -> None:
    for name, sizes in (("real", [(60, 40), (50, 50)]), ("fake", [(48, 40), (48, 40)])):
        (tmp_path / name).mkdir()
        for number, size in enumerate(sizes):
            Image.new("RGB", size, (200, 100, 50)).save(tmp_path / name / f"{number}.png")
    found = assemble(tmp_path / "real", tmp_path / "fake", per_class=2, seed=0)
    assert found.form == Form(width=48, height=40, channels=3)
    assert all((one.pixels == (200, 100, 50)).all() for one in found.stimuli)
    assert "sharpness" in found.warnings[0]


def test_one_grey_set_makes_all_grey(tmp_path: Path) -> None:
    for name, mode, colour in (("real", "RGB", (250, 0, 0)), ("fake", "L", 80)):
        (tmp_path / name).mkdir()
        Image.new(mode, (9, 9), colour).save(tmp_path / name / "0.png")
    found = assemble(tmp_path / "real", tmp_path / "fake", per_class=1, seed=0)
    assert found.form.channels == 1 and "grey" in found.warnings[0]
    assert [int(one.pixels[0, 0, 0]) for one in found.stimuli] == [75, 80]  # 0.299 * 250


def test_large_images_are_reduced_and_crops_are_centred() -> None:
    large = torch.rand(3, 2048, 1024)
    assert common_form([large], [large]) == Form(width=512, height=1024, channels=3)
    stripe = torch.zeros(3, 4, 12)
    stripe[:, :, 4:8] = 1
    assert (prepare(stripe, Form(width=4, height=4, channels=1)) == 255).all()
    assert is_grey(torch.full((3, 2, 2), 0.5)) and not is_grey(torch.rand(3, 8, 8))


def test_mistakes_are_reported_in_one_line(folders: tuple[Path, Path], tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, words in (
        ((folders[0], folders[1], 41, 0), "--per-class 40"),
        ((folders[0], folders[1], 0, 0), "at least one"),
        ((folders[0], folders[0], 3, 0), "same folder"),
        ((folders[0], empty, 3, 0), "no images"),
        ((tmp_path / "missing", folders[1], 3, 0), "no such folder"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            assemble(*arguments)
        assert "\n" not in str(caught.value)
