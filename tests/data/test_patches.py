"""Patches: pure in the step, at the same places of a pair, from photographs of any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from migaki.core.damage import DamagedSource
from migaki.core.errors import UserError
from migaki.data.batches.patches import PatchSource
from migaki.data.batches.scene_balance import describe, group, lay_out
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


def test_turned_patches_are_transposed_and_pairs_turn_together(photos: Path) -> None:
    source = PatchSource({"image": photos, "target": photos}, channels={}, patch=16, batch_size=5, seed=3, flip=False,
                         turn=True)
    turned = 0
    for step in range(12):
        batch = source.batch(step)
        assert torch.equal(batch["image"], batch["target"])
        for rows, columns, _ in (batch["target"] * 255).round().int():
            lies = bool((rows[:, 0] == rows[0, 0]).all())  # the row number grows to the right
            assert torch.equal(rows - rows[0, 0], torch.arange(16).expand(16, 16).int() if lies
                               else torch.arange(16)[:, None].expand(16, 16).int())
            assert torch.equal((columns - columns[0, 0]).T if lies else columns - columns[0, 0],
                               torch.arange(16).expand(16, 16).int())
            turned += lies
    assert 15 < turned < 45


def test_rare_scenes_are_drawn_more_often_than_their_area(tmp_path: Path) -> None:
    """A tenth of the picture is rough land, the rest plain sea: evenly over the map, land is seen far more often."""
    random = np.random.default_rng(0)
    sea = np.clip(40 + random.normal(0, 1, (60, 600, 1)), 0, 255).repeat(3, axis=2)
    sea[:, 540:] = random.integers(60, 256, (60, 60, 3))
    (tmp_path / "scenes").mkdir()
    Image.fromarray(sea.astype(np.uint8)).save(tmp_path / "scenes" / "coast.png")

    def land(balance: int) -> float:
        source = open_patches(tmp_path / "scenes", balance=balance)
        return float(np.mean([(source.batch(step)["target"].std((1, 2, 3)) > 0.05).float().mean()
                              for step in range(60)]))

    assert land(0) < 0.2
    assert land(120) > 1.7 * land(0)
    first, again = (open_patches(tmp_path / "scenes", balance=40).batch(0)["target"] for _ in range(2))
    assert torch.equal(first, again)
    with pytest.raises(UserError, match="at least 8"):
        open_patches(tmp_path / "scenes", balance=3)


def test_alike_windows_share_a_cell() -> None:
    random = np.random.default_rng(1)
    dark, bright = random.random((2, 20, 3, 8, 8)) * 0.05
    groups = group(lay_out(describe(np.concatenate([dark, bright + 0.9]))), cells=4)
    assert sorted(np.concatenate(groups)) == list(range(40))
    assert all(len({int(i) // 20 for i in members}) == 1 for members in groups)


def test_vivid_patches_change_colours_alike_in_a_pair(photos: Path) -> None:
    source, plain = (PatchSource({"image": photos, "target": photos}, channels={}, patch=16, batch_size=5, seed=3,
                                 vivid=vivid) for vivid in (0.4, 0.0))
    batch, before = source.batch(1), plain.batch(1)["target"]
    assert torch.equal(batch["image"], batch["target"]) and batch["target"].dtype == torch.float32
    assert batch["target"].min() >= 0 and batch["target"].max() <= 1
    assert (batch["target"] - before).abs().mean((1, 2, 3)).min() > 0.002  # the same places, other colours
    assert torch.equal(source.batch(1)["target"], batch["target"])
    with pytest.raises(UserError, match="vivid"):
        open_patches(photos, vivid=2.0)


def test_vivid_keeps_grey_pictures_grey_up_to_a_tint(tmp_path: Path) -> None:
    (tmp_path / "grey").mkdir()
    Image.fromarray(np.full((20, 20, 3), 100, np.uint8)).save(tmp_path / "grey" / "g.png")
    patches = open_patches(tmp_path / "grey", vivid=0.3).batch(0)["target"]
    assert (patches == patches[:, :, :1, :1]).all()
    low, high = 100 / 255 * np.exp(-0.3), 100 / 255 * np.exp(0.3)
    assert patches.min() >= low - 1e-5 and patches.max() <= high + 1e-5 and patches.std() > 0.01
