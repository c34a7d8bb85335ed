"""Views of copies: shapes and ranges, each kind as often as it says, what lies beside is told, mixing shows both."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
import torch

from migaki.nets.camera import jpeg_tables
from migaki.ops.copy_views import CopyViews, copy_views, laid_onto, mixed, moved, patched, written_on

NEVER: dict[str, Any] = {field.name: (1.0, 1.0) if field.name == "crop" else 0.0 for field in fields(CopyViews)}
NOTHING = CopyViews(**NEVER)
TABLES = jpeg_tables()


def pictures(count: int, channels: int = 3) -> torch.Tensor:
    return torch.rand(count, channels, 20, 24, generator=torch.Generator().manual_seed(0))


def test_nothing_happens_where_nothing_shall() -> None:
    images = pictures(4)
    seen, beside = copy_views(images, NOTHING, TABLES)
    torch.testing.assert_close(seen, images, atol=1e-5, rtol=0)
    assert not beside.any()


@pytest.mark.parametrize("name", [field.name for field in fields(CopyViews) if field.name != "crop"])
@pytest.mark.parametrize("channels", [1, 3])
def test_each_kind_alters_pictures_as_often_as_it_says(name: str, channels: int) -> None:
    if channels == 1 and name == "grey":
        return  # grey pictures stay grey
    torch.manual_seed(0)
    images, share = pictures(120, channels), 0.5
    changes: dict[str, Any] = {name: share}
    seen, beside = copy_views(images, replace(NOTHING, **changes), TABLES)
    assert seen.shape == images.shape and seen.min() >= 0 and seen.max() <= 1 and seen.isfinite().all()
    altered = ((seen - images).abs().flatten(1).amax(1) > 1e-3).float().mean()
    assert 0.2 < altered < 0.7  # the weakest blurs of so small pictures change nothing
    assert beside.any() == (name in ("onto", "patched"))


def test_a_crop_shows_a_part_of_its_area() -> None:
    torch.manual_seed(0)
    places = torch.stack(torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij"))[None] / 40
    seen = moved(places.expand(50, -1, -1, -1), replace(NOTHING, crop=(0.25, 0.25)))
    spans = (seen.flatten(2).amax(2) - seen.flatten(2).amin(2)).prod(1)
    torch.testing.assert_close(spans, torch.full((50,), 0.235), atol=0.03, rtol=0)
    assert seen[:, 0, 0, 0].std() > 0.1  # anywhere


def test_what_is_laid_on_leaves_the_rest_alone() -> None:
    torch.manual_seed(1)
    black, white = torch.zeros(60, 3, 30, 30), torch.ones(60, 3, 30, 30)
    share = (patched(black, white) > 0.01).float().mean((1, 2, 3))
    assert share.min() > 0.01 and share.max() < 0.35
    assert (laid_onto(white, black) > 0.99).float().mean((1, 2, 3)).min() > 0.1
    inked = (written_on(black) > 0.001).any(1).float().mean((1, 2))
    assert inked.min() > 0.01 and inked.max() < 0.25


def test_mixed_pictures_show_both() -> None:
    torch.manual_seed(0)
    images, happens = mixed(torch.zeros(200, 1, 16, 16), torch.ones(200, 1, 16, 16), 0.5)
    assert 0.4 < happens.float().mean() < 0.6 and (images[~happens] == 0).all()
    shares = images[happens].mean((1, 2, 3))
    assert shares.min() > 0.1 and shares.max() < 0.9
    is_cut = ((images[happens] == 0) | (images[happens] == 1)).all(3).all(2).all(1)
    assert 0.3 < is_cut.float().mean() < 0.7


def test_the_seed_decides_the_views() -> None:
    made = []
    for _ in "12":
        torch.manual_seed(5)
        made.append(copy_views(pictures(6), CopyViews(), TABLES)[0])
    torch.testing.assert_close(*made, rtol=0, atol=0)
