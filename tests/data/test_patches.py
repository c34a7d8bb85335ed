"""Patches: pure in the step, at the same places of a pair, from photographs of any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from migaki.core.damage import DamagedSource
from migaki.core.errors import UserError
from migaki.data.patches import PatchSource
from migaki.simulate.noise import Noise


def picture(path: Path, height: int, width: int, colour: int | None = None) -> None:
    """Each pixel tells where it is: red = row, green = column, blue = the picture."""
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([rows, columns, np.full_like(rows, colour or 0)], axis=-1).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number, (height, width) in enumerate([(40, 50), (60, 30), (33, 90)]):
        picture(tmp_path / "photos" / f"{number}.png", height, width, 10 * number)
    return tmp_path / "photos"


def open_patches(photos: Path, **more: object) -> PatchSource:
    settings = {"channels": {"target": 3}, "patch": 16, "batch_size": 5, "seed": 3} | more
    return PatchSource({"target": photos}, **settings)  # type: ignore[arg-type]


def test_a_batch_depends_on_its_step_alone(photos: Path) -> None:
    source = open_patches(photos)
    later, first = source.batch(7)["target"], source.batch(0)["target"]
    assert later.shape == (5, 3, 16, 16) and later.dtype == torch.float32
    fresh = open_patches(photos, memory_limit=0)
    assert torch.equal(fresh.batch(0)["target"], first) and torch.equal(fresh.batch(7)["target"], later)
    assert not torch.equal(first, later)


def test_patches_are_cut_out_unchanged(photos: Path) -> None:
    source = open_patches(photos, flip=False)
    seen = set()
    for step in range(30):
        for patch in source.batch(step)["target"] * 255:
            rows, columns, colour = patch.round().int()
            seen.add(int(colour[0, 0]))
            assert torch.equal(rows - rows[0, 0], torch.arange(16)[:, None].expand(16, 16).int())
            assert torch.equal(columns - columns[0, 0], torch.arange(16).expand(16, 16).int())
    assert seen == {0, 10, 20}


def test_shards_see_different_patches_of_the_same_order(photos: Path) -> None:
    whole = open_patches(photos, batch_size=4).batch(2)["target"]
    parts = [open_patches(photos, batch_size=2, shard=(rank, 2)).batch(2)["target"] for rank in (0, 1)]
    assert torch.equal(torch.cat(parts), whole)


def test_pairs_are_cut_at_one_place(photos: Path, tmp_path: Path) -> None:
    for number, (height, width) in enumerate([(40, 50), (60, 30), (33, 90)]):
        picture(tmp_path / "input" / f"{number}.bmp", height, width, 100 + 10 * number)
    source = PatchSource(
        {"image": tmp_path / "input", "target": photos}, channels={}, patch=20, batch_size=8, seed=1, zoom=(1, 1.5)
    )
    batch = source.batch(0)
    assert torch.equal(batch["image"][:, :2], batch["target"][:, :2])
    torch.testing.assert_close(batch["image"][:, 2] - batch["target"][:, 2], torch.full((8, 20, 20), 100 / 255))


def test_what_does_not_fit_is_said(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="smaller than a patch"):
        open_patches(photos, patch=64).batch(0)
    with pytest.raises(UserError, match="zoom"):
        open_patches(photos, zoom=(0.5, 1.0))
    picture(tmp_path / "other" / "1.png", 40, 50)
    with pytest.raises(UserError, match="to pair with"):
        PatchSource({"image": tmp_path / "other", "target": photos}, channels={}, patch=8, batch_size=1, seed=0)
    for number in range(3):
        picture(tmp_path / "sizes" / f"{number}.png", 41, 50)
    with pytest.raises(UserError, match="differ in size"):
        PatchSource({"image": tmp_path / "sizes", "target": photos}, channels={}, patch=8, batch_size=9, seed=0).batch(
            0
        )


def test_damage_is_a_function_of_the_step_too(photos: Path) -> None:
    source = DamagedSource(clean=open_patches(photos), damage=Noise(), seed=4, keep=("sigma",))
    batch, again = source.batch(3), source.batch(3)
    assert all(torch.equal(batch[key], again[key]) for key in ("image", "target", "sigma"))
    assert len(batch["sigma"].unique()) == 5 and not torch.equal(batch["image"], batch["target"])
    assert not torch.equal(source.batch(4)["sigma"], batch["sigma"])
