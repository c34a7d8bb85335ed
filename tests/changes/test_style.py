"""Style by optimisation: the style comes nearer, colours and regions are kept where asked, mistakes are one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from style_pictures import dots, save, scene, stripes
from torch import Tensor

from migaki.changes.style import Painting, Style
from migaki.core.errors import UnfitPicture, UserError
from migaki.nets.style_features import StyleFeatures
from migaki.ops import style_colours
from migaki.ops.colour import luma
from migaki.ops.pixel_descent import Descent, NotFinite, descend_pixels, levels_of, resized

FAST: dict[str, Any] = {"steps": 8, "levels": 1, "learning_rate": 0.05, "style_layers": ("size_3", "size_7"),
                        "content_layers": ("size_7",), "smooth_weight": 0.1}


@pytest.fixture
def styles(tmp_path: Path) -> Path:
    save(stripes(), tmp_path / "styles" / "stripes.png")
    save(dots(), tmp_path / "styles" / "dots.png")
    return tmp_path / "styles"


def opened(folder: Path, **options: Any) -> Style:
    change = Style(Style.Config(to=folder, **{**FAST, **options}))
    change.open(folder)
    return change


def changed(change: Style, image: Tensor, seed: int = 0, **more: Tensor) -> dict[str, Tensor]:
    return change.change({"image": image, **more}, torch.tensor([seed] * len(image)))


def test_the_style_comes_nearer_and_the_content_stays_in_reach(styles: Path) -> None:
    made = changed(opened(styles, style="stripes", style_weight=5.0), scene())
    assert made["image"].shape == (1, 3, 36, 36)
    assert float(made["image"].min()) >= 0 and float(made["image"].max()) <= 1
    assert float(made["style_left"]) < 0.6
    assert float(made["content_moved"]) < 1


@pytest.mark.parametrize("options", [{"kind": "moments"}, {"kind": "sliced"}, {"descent": "lbfgs"}, {"softmax": True},
                                     {"standardise": False}], ids=str)
def test_every_way_lowers_the_distance(styles: Path, options: dict[str, Any]) -> None:
    assert float(changed(opened(styles, style="dots", style_weight=5.0, **options), scene())["style_left"]) < 0.9


def test_more_weight_means_more_style_and_less_content(styles: Path) -> None:
    low, high = (changed(opened(styles, style="dots", style_weight=weight, steps=15), scene())
                 for weight in (0.1, 10.0))
    assert float(high["style_left"]) < float(low["style_left"])
    assert float(high["content_moved"]) > float(low["content_moved"])


def test_its_own_style_changes_next_to_nothing(styles: Path, tmp_path: Path) -> None:
    content = scene(40, 40)
    save(content, tmp_path / "own" / "scene.png")
    made = changed(opened(tmp_path / "own", smooth_weight=0.0, learning_rate=0.005), content)["image"]
    assert -10 * float((made - content).square().mean().log10()) > 25


def test_one_seed_is_one_result_and_the_seed_draws_the_style(styles: Path) -> None:
    change = opened(styles, start="noise")
    first, again, other = (changed(change, scene(), seed)["image"] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    both = torch.cat([scene(), scene(seed=1)])
    together = change.change({"image": both}, torch.tensor([1, 2]))["image"]
    assert torch.equal(together[:1], first)  # a row does not depend on its neighbours


def test_kept_colours_are_the_pictures(styles: Path) -> None:
    content = scene()
    made = changed(opened(styles, style="dots", colours="luminance", style_weight=5.0), content)["image"]
    inside = ((made > 0.001) & (made < 0.999)).all(1, keepdim=True)
    tint, own = made - luma(made), content - luma(content)
    assert float(((tint - own).abs() * inside).max()) < 1e-4
    assert float((luma(made) - luma(content)).abs().mean()) > 0.005


def test_recolouring_gives_mean_and_covariance() -> None:
    content, style = 0.3 + 0.4 * scene(30, 30), 0.4 + 0.2 * torch.rand(1, 3, 20, 24)
    flat = style_colours.recoloured(style, content).flatten(2)[0]
    wanted = content.flatten(2)[0]
    assert torch.allclose(flat.mean(1), wanted.mean(1), atol=0.02)
    assert torch.allclose(torch.cov(flat, correction=0), torch.cov(wanted, correction=0), atol=0.01)
    grey = torch.full((1, 3, 8, 8), 0.5)
    assert bool(style_colours.recoloured(grey, content).isfinite().all())


def test_what_is_not_in_the_region_keeps_its_bits(styles: Path) -> None:
    content, mask = scene(), torch.zeros(1, 36, 36, dtype=torch.uint8)
    mask[:, 8:30, 10:28] = 2
    change = opened(styles, style="dots", region=(2,), style_weight=5.0)
    assert change.inputs == ("image", "mask")
    made = changed(change, content, mask=mask)["image"]
    outside = (mask != 2)[:, None].expand_as(made)
    assert torch.equal(made[outside], content[outside])
    assert float((made - content)[~outside].abs().mean()) > 0.01
    nothing = changed(change, content, mask=torch.zeros_like(mask))
    assert torch.equal(nothing["image"], content) and float(nothing["style_left"]) == 1


def test_tiles_are_blended_and_all_of_them_painted(monkeypatch: pytest.MonkeyPatch, styles: Path) -> None:
    from migaki.changes import style as module

    monkeypatch.setattr(module, "_TILE", 24)
    monkeypatch.setattr(module, "_OVERLAP", 8)
    config = Style.Config(to=styles, **{**FAST, "steps": 3, "style_weight": 5.0})
    net = StyleFeatures("random", config.style_layers, config.content_layers)
    content = scene(36, 70)
    made, _, _ = Painting(net, config, dots(), 0).paint(content)
    assert made.shape == content.shape
    assert all(float((made - content)[..., left : left + 10].abs().mean()) > 0.005 for left in range(0, 70, 10))


def test_levels_go_from_coarse_to_fine() -> None:
    assert levels_of((100, 64), 3, 16) == [(25, 16), (50, 32), (100, 64)]
    assert levels_of((100, 61), 3, 40) == [(100, 61)]
    assert resized(torch.zeros(1, 3, 100, 61), (50, 31)).shape == (1, 3, 50, 31)


def test_descent_finds_a_least_and_says_when_numbers_end() -> None:
    wanted = torch.full((1, 3, 4, 4), 0.7)
    ways: tuple[Descent, ...] = ("adam", "lbfgs")
    for how in ways:
        made = descend_pixels(torch.zeros(1, 3, 4, 4), lambda x: (x - wanted).square().sum(), 60, 0.1, how)
        assert torch.allclose(made, wanted, atol=0.05)
    with pytest.raises(NotFinite):
        descend_pixels(wanted, lambda x: (x * float("inf")).sum(), 3, 0.1)


@pytest.mark.parametrize(("size", "message"), [((8, 8), "8 x 8 px, too small for a style"), ((40, 20), "too small")])
def test_a_style_that_is_too_small_is_named(tmp_path: Path, size: tuple[int, int], message: str) -> None:
    save(torch.rand(1, 3, *size), tmp_path / "s" / "little.png")
    with pytest.raises(UserError, match=message) as caught:
        opened(tmp_path / "s")
    assert "little.png" in str(caught.value) and "\n" not in str(caught.value)


def test_mistakes_are_one_line(styles: Path, tmp_path: Path) -> None:
    save(torch.full((1, 3, 40, 40), 0.5), tmp_path / "flat" / "grey.png")
    with pytest.raises(UserError, match=r"grey\.png: is of one tone"):
        changed(opened(tmp_path / "flat"), scene())
    with pytest.raises(UserError, match="--style monet"):
        opened(styles, style="monet")
    with pytest.raises(UserError, match="--style-size 8"):
        opened(styles, style_size=8)
    with pytest.raises(UserError, match="--steps and --levels"):
        Style.Config(to=styles, steps=0)
    with pytest.raises(UserError, match="not be negative"):
        Style.Config(to=styles, style_weight=-1)
    with pytest.raises(UserError, match="no layer"):
        opened(styles, style_layers=("size_4",))
    change = opened(styles)
    with pytest.raises(UnfitPicture, match="4 channels"):
        changed(change, torch.rand(1, 4, 36, 36))
    with pytest.raises(UnfitPicture, match="at least 8x8"):
        changed(change, torch.rand(1, 3, 6, 36))
    wild = Style(replace(change.config, learning_rate=0.05))
    wild.open(styles)
    with pytest.raises(UnfitPicture, match="no number"):
        changed(wild, torch.full((1, 3, 36, 36), float("nan")))


def test_grey_pictures_are_shown_in_all_channels(styles: Path) -> None:
    assert changed(opened(styles, style="dots"), scene()[:, :1])["image"].shape == (1, 3, 36, 36)


def test_the_record_says_what_the_numbers_are_numbers_of(styles: Path) -> None:
    text = opened(styles).names["style_loss"]
    assert "random-" in text and "size_3, size_7" in text and "0 to 1" in text
