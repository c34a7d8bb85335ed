"""`demo style` and `study styles` in a small form: what is drawn, what the pages say, nothing made twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from style_pictures import dots, scene, stripes

from migaki.core.errors import UserError
from migaki.data.style_pictures import read_style, shorter_side
from migaki.lab.study import run_study
from migaki.nets.style_features import StyleFeatures
from migaki.nets.style_net import StyleNet
from migaki.studies import any_styles, demo_style, styles
from migaki.studies.parts import style_measures
from migaki.studies.parts.style_pictures import PATTERNS, draw_scenes, draw_styles, landscape
from migaki.systems.style_network import StyleNetwork


def test_drawings_are_pure_in_their_seed_and_differ(tmp_path: Path) -> None:
    one, again, other = (landscape(24, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert one.shape == (24, 24, 3) and one.min() >= 0 and one.max() <= 1
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    draw_scenes(tmp_path / "scenes", 2, 24, 0)
    draw_styles(tmp_path / "styles", 32, 0)
    assert {path.stem for path in (tmp_path / "styles").glob("*.png")} == set(PATTERNS)
    for pattern in PATTERNS.values():
        assert pattern(32, np.random.default_rng(0)).std() > 0.1  # a style needs texture


def test_the_demo_in_a_small_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_LAYERS", ("size_3", "size_5")), ("_SIDE", 48), ("_JUDGED", 48)):
        monkeypatch.setattr(demo_style, name, value)
    draw_scenes(tmp_path / "scenes", 4, 96, 0)  # pictures that are there are not drawn anew
    demo = demo_style.StyleDemo(demo_style.StyleDemo.Config(steps=2, count=1))
    page = run_study("demo_style", demo, tmp_path, quiet=True)
    text = page.read_text(encoding="utf-8")
    assert "migaki train style_network" in text and "migaki apply stylise" in text and "random-" in text
    assert (tmp_path / "figures" / "mixtures.png").exists()


def test_the_study_in_a_small_form(tmp_path: Path) -> None:
    config = styles.StylesStudy.Config(weights=(2.0,), seeds=1, steps=2, patch=32, optimised=(2,), count=1, size=48,
                                       own_steps=2, sides=(32,))
    page = run_study("styles", styles.StylesStudy(config), tmp_path, quiet=True)
    text = page.read_text(encoding="utf-8")
    assert "the content in its own style, dB" in text and "network, r = 2" in text and "optimised 2 times" in text
    assert "the content as it was" in text and "25.0 by chance" in text


@pytest.mark.long  # the network itself is tested in test_any_style.py
def test_the_study_of_any_style_in_a_small_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(any_styles, "_SIDE", 48)
    config = any_styles.AnyStylesStudy.Config(seeds=1, steps=2, patch=32, num_styles=4, optimised=(2,), count=1,
                                              size=48)
    page = run_study("any_styles", any_styles.AnyStylesStudy(config), tmp_path, quiet=True)
    text = page.read_text(encoding="utf-8")
    assert all(name in text for name in ("any style, never seen", "any style, seen", "optimised 2 times"))
    assert len(list((tmp_path / "unseen").glob("*.png"))) == 6 and len(list((tmp_path / "seen").glob("*.png"))) == 4
    with pytest.raises(UserError, match="at least 32 px"):
        any_styles.AnyStylesStudy.Config(size=20)
    with pytest.raises(UserError, match="at least 1"):
        any_styles.AnyStylesStudy.Config(steps=0)


def test_measures_of_a_painter_that_pastes_the_style() -> None:
    """Whoever returns the style has nothing left of the way, and whoever returns the content all of it."""
    judge, manners = StyleFeatures("random", ("size_3", "size_5"), ("size_5",)), [dots(40), stripes()]
    pair = (judge, judge)
    there, pictures = style_measures.measure(lambda _, number: manners[number], [scene(40, 40)], manners, pair)
    assert there["style_gram"] < 1e-3 and there["other_style_gram"] == there["style_gram"] and len(pictures) == 2
    stays, _ = style_measures.measure(lambda content, _: content, [scene(40, 40)], manners, (judge,))
    assert stays["style_gram"] == pytest.approx(1, rel=1e-3) and stays["content"] == 0
    assert style_measures.gatys_loss(stays, 3.0) == pytest.approx(3, rel=1e-3)


def test_regions_and_places_outside() -> None:
    torch.manual_seed(0)
    net, judge = StyleNet(2, 4, 1), StyleFeatures("random", ("size_3",), ("size_3",))
    found = style_measures.quarters_right(net, [scene(64, 64)], [dots(), stripes()], judge, 8)
    assert found["changed_outside"] == 0 and 0 <= found["regions_right"] <= 1
    assert style_measures.milliseconds(net, (32,), 1)["ms_32"] > 0
    assert style_measures.decibels(scene(), scene()) > 98


def test_nonsense_is_refused() -> None:
    with pytest.raises(UserError, match="at least 1"):
        styles.StylesStudy.Config(steps=0)
    with pytest.raises(UserError, match="at least 48 px"):
        styles.StylesStudy.Config(size=20)
    with pytest.raises(UserError, match="at least 1"):
        demo_style.StyleDemo.Config(steps=0)


def test_what_has_the_style_already_is_among_the_photographs(tmp_path: Path) -> None:
    """With `--own 1` every photograph is a piece of the style's own picture, and with 0 none is."""
    draw_scenes(tmp_path / "photos", 4, 48, 0)
    draw_styles(tmp_path / "styles", 64, 0)
    data = StyleNetwork.Data(data=tmp_path / "photos", styles=tmp_path / "styles")
    for own in (0.0, 1.0):
        config = StyleNetwork.Config(patch=32, style_size=40, style_layers=("size_3",), content_layers=("size_3",),
                                     flat=0.0, own=own)
        _, source = StyleNetwork.open(data, config, 0)
        batch = source.batch(0)
        for image, number in zip(batch["image"], batch["style_number"], strict=True):
            picture = shorter_side(read_style(sorted((tmp_path / "styles").glob("*.png"))[int(number)]), 40)[0]
            pieces = picture.unfold(1, 32, 1).unfold(2, 32, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
            assert bool((pieces - image).abs().flatten(1).amax(1).min() < 1e-6) == bool(own)
