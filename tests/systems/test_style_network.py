"""The style network beyond the contract: folders in, styles learned, frozen and added, exported; what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from style_pictures import dots, save, scene, stripes

from migaki.changes.stylise import open_network
from migaki.core.errors import UserError
from migaki.core.fit import Run
from migaki.core.trained import load_system
from migaki.data.batches.styled import smooth_tone
from migaki.metrics.style_watch import grey_share, spot_share
from migaki.nets.style_net import StyleNet, _scaled, _statistics
from migaki.stages.export import export
from migaki.stages.train import train
from migaki.systems.style_network import StyleNetwork, one_hot

RUN = Run(device="cpu", precision="fp32", log_every=2, sample_every=0)
SMALL: dict[str, Any] = {"steps": 4, "patch": 32, "style_size": 32, "features": 4, "blocks": 1, "learning_rate": 0.01,
                         "style_layers": ("size_3", "size_5"), "content_layers": ("size_5",)}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs, two styles, another style, and a trained run."""
    place = tmp_path_factory.mktemp("styles")
    for number in range(4):
        save(scene(40, 30 + 10 * number, number), place / "photos" / f"{number}.png")  # one is smaller than a patch
    save(stripes(), place / "styles" / "stripes.png")
    save(dots()[:, :1], place / "styles" / "grey.png")
    save(dots(48), place / "more" / "dots.png")
    trained(place, place / "styles", place / "run")
    return place


def trained(root: Path, styles: Path, out: Path, start: Path | None = None, **changes: Any) -> StyleNetwork:
    data = StyleNetwork.Data(data=root / "photos", styles=styles, start=start)
    made = train(StyleNetwork, data, StyleNetwork.Config(**{**SMALL, **changes}), RUN, out, quiet=True)
    assert isinstance(made, StyleNetwork)
    return made


def test_styles_are_called_by_their_files(root: Path) -> None:
    net, styles, context = open_network(root / "run")
    assert styles == ("grey", "stripes") and net.scales.shape[0] == 2 and context % 4 == 0


def test_training_nears_the_style(root: Path, tmp_path: Path) -> None:
    made = trained(root, root / "styles", tmp_path / "run", steps=30, style_weight=5.0, kind="gram", recolour=False)
    rows = [line for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines() if '"net/style"' in line]
    first, last = (float(row.split('"net/style": ')[1].split(",")[0]) for row in (rows[0], rows[-1]))
    assert last < 0.8 * first
    assert not made.watch({"net/skipped": 0, "net/style": 0.2, "net/style_of_another": 1, "net/content": 0.3,
                           "net/spots": 0, "net/grey": 1}, 30)


def test_frozen_training_adds_a_style_and_moves_nothing_else(root: Path, tmp_path: Path) -> None:
    before = load_system(root / "run")
    after = trained(root, root / "more", tmp_path / "more", root / "run", freeze=True)
    assert after.config.style_names == ("grey", "stripes", "dots")
    old, new = before.state_dict(), after.state_dict()
    for name, value in old.items():
        if name in ("net.scales", "net.shifts"):
            assert torch.equal(new[name][:2], value)
        elif name.startswith("net."):
            assert torch.equal(new[name], value), name
    assert not torch.equal(new["net.scales"][2], old["net.scales"].mean(0))


def test_without_freezing_all_of_it_goes_on_for_the_new_styles(root: Path, tmp_path: Path) -> None:
    after = trained(root, root / "more", tmp_path / "on", root / "run")
    before = load_system(root / "run").state_dict()
    assert after.config.style_names == ("dots",)
    assert not torch.equal(after.state_dict()["net.down.0.weight"], before["net.down.0.weight"])


def test_a_run_from_before_there_was_grain_still_loads(root: Path, tmp_path: Path) -> None:
    trained(root, root / "more", tmp_path / "old", grain=0)
    record = json.loads((tmp_path / "old" / "config.json").read_text())
    del record["config"]["grain"], record["config"]["recolour"]
    (tmp_path / "old" / "config.json").write_text(json.dumps(record))
    assert open_network(tmp_path / "old")[0].grain == 0 and open_network(root / "run")[0].grain == 2
    with pytest.raises(UserError, match="--grain is 0 to 4"):
        StyleNetwork(replace(StyleNetwork.tiny()[0], grain=5))


def test_the_network_begins_as_the_identity_and_makes_pictures_of_any_size() -> None:
    net = StyleNet(2, features=4, blocks=1)
    for size in ((16, 16), (37, 50)):
        picture = torch.rand(1, 3, *size)
        assert torch.allclose(net(picture, torch.tensor([[0.5, 0.5]])), picture, atol=1e-4)
    assert StyleNet(2, features=4, blocks=1, shortcut=False)(torch.rand(1, 3, 20, 24), torch.ones(1, 2)).shape == (
        1, 3, 20, 24)


def test_conditional_instance_norm_is_the_equation() -> None:
    """Dumoulin et al., eq. 5, for every layer: gamma (x - mean) / deviation + beta."""
    net = StyleNet(2, features=4, blocks=1)
    with torch.no_grad():
        net.scales.normal_()
        net.shifts.normal_()
    weights = torch.tensor([[0.3, 0.7]])
    scales, shifts = net.mixed(weights)
    assert torch.allclose(scales, 1 + 4 * (0.3 * net.scales[:1] + 0.7 * net.scales[1:]), atol=1e-6)
    maps = net.down[0](torch.rand(1, 3, 16, 16))
    mean, variance = maps.mean((2, 3), keepdim=True), maps.var((2, 3), keepdim=True, correction=0)
    naive = (maps - mean) / (variance + 1e-3).sqrt() * scales[:, :4, None, None] + shifts[:, :4, None, None]
    assert torch.allclose(_scaled(maps, *_statistics(maps), scales[:, :4], shifts[:, :4]), naive, atol=1e-5)


def test_the_model_is_small() -> None:
    net = StyleNet(16)
    assert 4 * sum(one.numel() for one in net.parameters()) < 2.2e6
    assert 4 * (net.scales[0].numel() + net.shifts[0].numel()) < 8000  # what a style adds


@pytest.mark.long  # tracing takes many seconds; tests/stages/test_export.py
def test_an_exported_model_takes_the_weights_of_the_styles(root: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    export(root / "run", tmp_path / "style.onnx", (32, 40), quiet=True)
    assert (tmp_path / "style.onnx").stat().st_size < 14.2e6
    session = onnxruntime.InferenceSession(str(tmp_path / "style.onnx"), providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_inputs()] == ["image", "style_weights"]
    picture, weights = torch.rand(1, 3, 32, 40), torch.tensor([[0.25, 0.75]])
    (made,) = session.run(None, {"image": picture.numpy(), "style_weights": weights.numpy()})
    net, _, _ = open_network(root / "run")
    assert torch.allclose(torch.from_numpy(made), net(picture, weights), atol=2e-3)


def test_watchmen_speak_after_a_fifth_of_the_steps() -> None:
    system = StyleNetwork(StyleNetwork.tiny()[0])
    fine = {"net/skipped": 0.0, "net/style": 0.2, "net/style_of_another": 1.0, "net/content": 0.3, "net/spots": 0.0,
            "net/grey": 1.0}
    assert system.watch(fine, 6) == []
    for name, value, word in (("net/style", 0.95, "alike"), ("net/content", 1.2, "lost"), ("net/spots", 0.01, "spots"),
                              ("net/grey", 0.1, "contrast"), ("net/skipped", 0.1, "not finite")):
        (line,) = system.watch(fine | {name: value}, 6)
        assert word in line and "\n" not in line
    assert system.watch(fine | {"net/content": 2.0}, 0) == []


def test_spots_and_grey() -> None:
    flat = torch.full((1, 3, 30, 30), 0.5)
    spotted = flat.clone()
    spotted[..., 10, 10] = spotted[..., 20, 15] = 1.0
    assert float(spot_share(spotted, flat)) == pytest.approx(2 / 900)
    assert float(spot_share(spotted, torch.rand(1, 3, 30, 30))) == 0  # no flat area
    assert float(grey_share(flat, torch.rand(1, 3, 30, 30))) == 0


def test_smooth_tones_have_no_edges_and_no_zero_variance() -> None:
    made = smooth_tone(24, torch.Generator().manual_seed(0))
    assert made.shape == (3, 24, 24) and 0.005 < float(made.diff(dim=2).std()) < 0.1


def test_the_source_draws_every_style_equally_often(root: Path) -> None:
    config, source = StyleNetwork.open(StyleNetwork.Data(data=root / "photos", styles=root / "styles"),
                                       StyleNetwork.Config(**{**SMALL, "flat": 1.0}), 0)
    batches = [source.batch(step) for step in range(3)]
    numbers = torch.cat([batch["style_number"] for batch in batches])
    assert torch.bincount(numbers).tolist() == [6, 6]
    assert torch.equal(source.batch(1)["image"], batches[1]["image"])
    assert float(batches[0]["image"].diff(dim=3).abs().mean()) < 0.1  # all of them smooth
    assert config.num_styles == 2 and one_hot(numbers, 2).sum() == 12


def test_mistakes_are_one_line(root: Path, tmp_path: Path) -> None:
    def opened(styles: Path, photos: Path = root / "photos", start: Path | None = None, **changes: Any) -> None:
        config = replace(StyleNetwork.Config(**SMALL), **changes)
        StyleNetwork.open(StyleNetwork.Data(data=photos, styles=styles, start=start), config, 0)[1].batch(0)

    save(torch.rand(1, 3, 8, 8), tmp_path / "tiny" / "a.png")
    save(torch.rand(1, 3, 12, 12), tmp_path / "little" / "a.png")
    save(stripes(), tmp_path / "twice" / "a" / "one.png")
    save(dots(), tmp_path / "twice" / "b" / "one.png")
    save(stripes(), tmp_path / "odd" / "a=b.png")
    for message, words in (("too small for a style", {"styles": tmp_path / "tiny"}),
                           ("another style is called 'one'", {"styles": tmp_path / "twice"}),
                           ("must not hold", {"styles": tmp_path / "odd"}),
                           ("too small to learn from", {"styles": root / "styles", "photos": tmp_path / "little"}),
                           ("--freeze: nothing is there", {"styles": root / "styles", "freeze": True}),
                           ("is a style of .* already",
                            {"styles": root / "styles", "start": root / "run", "freeze": True}),
                           ("--patch 8", {"styles": root / "styles", "patch": 8})):
        with pytest.raises(UserError, match=message) as caught:
            opened(**words)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
    one = trained(root, root / "more", tmp_path / "one")  # a single style is fine
    assert one.config.num_styles == 1


def test_every_second_step_sees_squares_of_half_the_side() -> None:
    """Of one size alone a network learns what fails on larger pictures; see `Painter.cut`."""
    config = replace(StyleNetwork.tiny()[0], patch=80)
    system, images = StyleNetwork(config), torch.rand(2, 3, 80, 80)
    assert system.cut(images, 4) is images
    cut = [system.cut(images, step) for step in (1, 3, 3)]
    assert all(one.shape == (2, 3, 40, 40) for one in cut)
    assert torch.equal(cut[1], cut[2]) and not torch.equal(cut[0], cut[1])
    pieces = images.unfold(2, 40, 1).unfold(3, 40, 1)
    assert bool((pieces == cut[0][:, :, None, None]).flatten(4).all(4).all(1).all(0).any())
    assert system.cut(images[..., :48, :48], 1).shape[2] == 48  # too small to be halved
