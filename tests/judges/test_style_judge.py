"""The judge of style: what is nearer has less left, what is unchanged has all of it, colours are moved earth."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from style_pictures import dots, save, scene, stripes

from migaki.core.errors import UserError
from migaki.judges.style import Style, colour_distance, distances, nearest_style
from migaki.nets.style_features import StyleFeatures
from migaki.ops.colour import rgb_to_lab
from migaki.stages.evaluate import judge_into

LAYERS = (("size_3", "size_7"), ("size_7",))


def test_unchanged_pictures_have_all_of_the_way_and_the_style_itself_has_none() -> None:
    judge, content, style = StyleFeatures("random", *LAYERS), scene(), dots(36)
    same, there = distances(judge, content, content, style), distances(judge, content, style, style)
    for name in ("style_gram", "style_moments", "style_sliced", "style_luminance", "style_structure"):
        assert same[name] == pytest.approx(1, rel=1e-4) and there[name] < 5e-3
    assert same["content"] == 0 and there["content"] > 0.5
    half = distances(judge, content, (content + style) / 2, style)
    assert 0 < half["style_gram"] < 1


def test_structure_does_not_see_mean_colours() -> None:
    """A picture that has taken the mean colour alone has come far by Gram matrices, and nowhere by structure."""
    judge, style = StyleFeatures("random", ("size_3",), ("size_3",)), dots(36)
    content = 0.7 + 0.3 * scene()
    moved = content + (style - content).mean((2, 3), keepdim=True)
    found = distances(judge, content, moved, style)
    assert found["style_gram"] < 0.75 * found["style_structure"]


def test_the_nearest_style_is_its_own() -> None:
    judge, styles = StyleFeatures("random", *LAYERS), [dots(36), stripes(36)]
    for number, style in enumerate(styles):
        assert nearest_style(judge, 0.9 * style + 0.1 * scene(), styles) == number
        assert nearest_style(judge, style[..., 4:28, 6:30], styles[:1] if number == 0 else styles) == number


def test_styles_share_their_units() -> None:
    """A style that is near a plain grey, and one far from it: what lies nearer to the first is not given to the second.

    In units of the distance of a grey from each it would be.
    """
    judge, grey = StyleFeatures("random", *LAYERS), torch.full((1, 3, 36, 36), 0.5)
    faint, strong = 0.5 + 0.1 * (dots(36) - 0.5), stripes(36)
    made = 0.5 + 0.3 * (strong - 0.5)
    assert nearest_style(judge, made, [faint, strong]) == 0
    there = [distances(judge, grey, made, style)["style_gram"] for style in (faint, strong)]
    assert there[0] > there[1]


def test_colour_distance_is_moved_earth() -> None:
    first = scene()
    assert colour_distance(first, first.flip(3)) < 1e-4  # places do not count
    grey, lighter = torch.full((1, 3, 4, 4), 0.3), torch.full((1, 3, 4, 4), 0.5)
    apart = (rgb_to_lab(grey) - rgb_to_lab(lighter)).abs().mean((0, 2, 3)).mean()
    assert colour_distance(grey, lighter) == pytest.approx(float(apart), rel=1e-4)


def test_a_page_of_figures_beside_what_costs_nothing(tmp_path: Path) -> None:
    for number in range(2):
        save(scene(seed=number), tmp_path / "before" / f"{number}.png")
        save((scene(seed=number) + dots(36)) / 2, tmp_path / "after" / f"{number}.png")
    style = save(dots(36), tmp_path / "style.png")
    judge = Style(Style.Config(before=tmp_path / "before", after=tmp_path / "after", to=style,
                               networks=("random", "random=7")))
    place, findings = judge_into(judge, [], tmp_path / "page", quiet=True)
    assert {"style_gram_random", "style_gram_random_7", "colours_from_content"} <= set(findings.figures)
    assert findings.figures["style_gram_random"] < 1 == findings.baseline["style_gram_random"]
    assert findings.baseline["content_random"] == findings.baseline["colours_from_content"] == 0
    text = (place / "style.html").read_text()
    assert "size_3" in text and "0 to 1" in text and "style.csv" not in findings.figures


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    save(scene(), tmp_path / "before" / "a.png")
    save(scene(20, 20), tmp_path / "after" / "a.png")
    save(dots(), tmp_path / "styles" / "one.png")
    save(stripes(), tmp_path / "styles" / "two.png")

    def judged(to: Path) -> None:
        Style(Style.Config(before=tmp_path / "before", after=tmp_path / "after", to=to)).judge([], lambda *_: None)

    with pytest.raises(UserError, match="holds 2 pictures"):
        judged(tmp_path / "styles")
    with pytest.raises(UserError, match="another size"):
        judged(tmp_path / "styles" / "one.png")
    with pytest.raises(UserError, match="at least 1"):
        Style.Config(before=tmp_path, after=tmp_path, to=tmp_path, count=0)
