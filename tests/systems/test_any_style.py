"""A network of any style: what reads styles, the batches, styles that were never seen, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from style_pictures import dots, save, scene, stripes

from migaki.changes.stylise import Stylise, open_network
from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.core.trained import load_system
from migaki.stages.train import train
from migaki.systems.any_style import AnyStyle
from migaki.web.style_page import StylePage

RUN = Run(device="cpu", precision="fp32", log_every=2, sample_every=0)
SMALL: dict[str, Any] = {"steps": 4, "patch": 32, "style_size": 32, "features": 4, "blocks": 1, "code": 6,
                         "style_layers": ("size_3", "size_5"), "content_layers": ("size_5",), "learning_rate": 0.01}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs, five styles, two styles that are never seen, and a trained run."""
    place = tmp_path_factory.mktemp("any")
    for number in range(4):
        save(scene(40, 30 + 10 * number, number), place / "photos" / f"{number}.png")
    for number, style in enumerate((stripes(), dots(), stripes().flip(1), dots().flip(2), stripes(turn=True))):
        save(style, place / "styles" / f"{number}.png")
    save(stripes().roll(1, 1), place / "unseen" / "bars.png")
    save(dots()[:, :1], place / "unseen" / "grey.png")
    made = train(AnyStyle, AnyStyle.Data(data=place / "photos", styles=place / "styles"), AnyStyle.Config(**SMALL), RUN,
                 place / "run", quiet=True)
    assert isinstance(made, AnyStyle)
    return place


def opened(root: Path, **options: Any) -> Stylise:
    change = Stylise(Stylise.Config(run=root / "run", **options))
    change.open(root)
    return change


def painted(change: Stylise) -> torch.Tensor:
    return change.change({"image": scene()}, torch.zeros(1, dtype=torch.int64))["image"]


def test_training_nears_styles(root: Path, tmp_path: Path) -> None:
    data = AnyStyle.Data(data=root / "photos", styles=root / "styles")
    options = {**SMALL, "steps": 24, "own": 0.0, "style_weight": 10.0, "learning_rate": 0.03}
    config = AnyStyle.Config(**options)
    made = train(AnyStyle, data, config, RUN, tmp_path / "run", quiet=True)
    rows = [line for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines() if '"net/style"' in line]
    first, last = (np.mean([float(row.split('"net/style": ')[1].split(",")[0]) for row in part])
                   for part in (rows[:3], rows[-3:]))
    assert last < 0.93 * first
    with torch.no_grad():
        scales, _ = made.style_rows(torch.cat([stripes(), dots()]))  # type: ignore[operator]
    assert float((scales[0] - scales[1]).abs().mean()) > 1e-3


def test_the_styles_are_those_of_the_pictures_that_are_given(root: Path) -> None:
    net, names, _ = open_network(root / "run", root / "unseen")
    assert names == ("bars", "grey") and net.scales.shape[0] == 2
    system = load_system(root / "run")
    near = torch.nn.functional.interpolate(stripes().roll(1, 1), size=(32, 32), mode="bilinear", antialias=True)
    scales, shifts = system.style_rows(near)  # type: ignore[operator]
    assert torch.allclose(net.scales[:1], scales, atol=0.02) and torch.allclose(net.shifts[:1], shifts, atol=0.02)
    image = scene()
    one, mixed = (painted(opened(root, to=root / "unseen", style=style)) for style in ("bars", "bars=1,grey=3"))
    assert torch.allclose(mixed, net(image, torch.tensor([[0.25, 0.75]])), atol=1e-5)
    assert torch.equal(painted(opened(root, to=root / "unseen" / "bars.png")), one)


def test_a_picture_of_any_size_is_a_style_and_none_is_enlarged(root: Path) -> None:
    """A pattern is the same style whatever number of its periods a picture shows."""
    system = load_system(root / "run")
    with torch.no_grad():
        small, large, other = (system.style_rows(one)[0] for one in (  # type: ignore[operator]
            stripes(40), stripes(80), dots(40)))
    assert float((small - large).norm()) < 0.3 * float((small - other).norm())


def test_what_reads_styles_is_part_of_the_run_and_rounds_nothing(root: Path) -> None:
    system: Any = load_system(root / "run")
    assert system.reader.features.name == "random" and float(system.reader.unit.min()) > 0
    rows = system.reader.statistics(dots())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(system.reader.statistics(dots()), rows)
        assert system.reader(dots())[0].dtype == torch.float32
    maps = system.reader.features.maps(dots(), ("size_3",))["size_3"][0].flatten(1).numpy()
    assert rows[0, :32].numpy() == pytest.approx(maps.mean(1), abs=1e-5)
    assert rows[0, 32:64].numpy() == pytest.approx(maps.std(1), abs=1e-3)


def test_batches_hold_flat_pictures_and_own_styles(root: Path) -> None:
    def batches(**changes: Any) -> tuple[torch.Tensor, torch.Tensor]:
        source = AnyStyle.open(AnyStyle.Data(data=root / "photos", styles=root / "styles"),
                               replace(AnyStyle.Config(**SMALL), **changes), 0)[1]
        found = [source.batch(step) for step in range(3)]
        assert torch.equal(source.batch(1)["style"], found[1]["style"])
        return torch.cat([one["image"] for one in found]), torch.cat([one["style"] for one in found])

    images, styles = batches(own=1.0, flat=0.0)
    assert torch.equal(images, styles)
    images, styles = batches(own=0.0, flat=1.0)
    assert float(images.diff(dim=3).abs().mean()) < 0.1 and not torch.equal(images, styles)
    images, styles = batches(own=0.5, flat=0.0)
    same = [torch.equal(*pair) for pair in zip(images, styles, strict=True)]
    assert 0 < sum(same) < len(same)


def test_a_model_asks_for_the_picture_of_the_style_as_well(root: Path) -> None:
    """What `export` writes as inputs."""
    system: Any = load_system(root / "run")
    assert system.input_shapes((32, 40)) == {"image": (3, 32, 40), "style": (3, 32, 40)}
    batch = {"image": scene(32, 40)[:, :1], "style": dots()}
    assert system.predict(batch)["target"].shape == (1, 3, 32, 40)


def test_mistakes_are_one_line(root: Path, tmp_path: Path) -> None:
    save(stripes(), tmp_path / "few" / "a.png")
    for number in range(5):
        save(torch.rand(1, 3, 16, 40), tmp_path / "tiny" / f"{number}.png")

    def opening(styles: Path = root / "styles", **changes: Any) -> None:
        config = replace(AnyStyle.Config(**SMALL), **changes)
        AnyStyle.open(AnyStyle.Data(data=root / "photos", styles=styles), config, 0)

    for message, call in (("of the 4 styles", lambda: opening(tmp_path / "few")),
                          ("too small for a style", lambda: opening(tmp_path / "tiny")),
                          ("'random' needs at least", lambda: opening(patch=8)),
                          ("reads other things", lambda: opening(loss_network=str(root / "run"))),
                          ("--vivid lie from 0 to 1", lambda: AnyStyle(AnyStyle.Config(**SMALL, vivid=2))),
                          ("give it, or a folder of several, with --to", lambda: opened(root)),
                          ("no such picture", lambda: opened(root, to=tmp_path / "none.jpg")),
                          ("leave out --ort", StylePage(StylePage.Config(
                              run=root / "run", to=root / "unseen", ort=tmp_path)).serve),
                          ("has no style 'monet'", lambda: opened(root, to=root / "unseen", style="monet"))):
        with pytest.raises(UserError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_watchmen_speak_after_a_fifth_of_the_steps() -> None:
    system = AnyStyle(replace(AnyStyle.tiny()[0], grain=0))
    fine = {"net/skipped": 0.0, "net/style": 0.2, "net/style_of_another": 1.0, "net/content": 0.3, "net/spots": 0.0,
            "net/grey": 1.0}
    assert system.watch(fine, 6) == []
    for name, value, word in (("net/style", 0.95, "alike"), ("net/content", 1.2, "lost"), ("net/spots", 0.01, "spots"),
                              ("net/grey", 0.1, "contrast")):
        (line,) = system.watch(fine | {name: value}, 6)
        assert word in line
    assert system.watch(fine | {"net/content": 2.0}, 0) == []
    assert AnyStyle(AnyStyle.tiny()[0]).watch(fine | {"net/spots": 0.01}, 6) == []  # grain paints flat areas
