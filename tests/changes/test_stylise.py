"""A style network in use: names, mixtures, maps, masks, tiles, films, and what is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from style_pictures import save, scene
from torch import Tensor

from migaki.changes import stylise as module
from migaki.changes.stylise import Stylise, filled, open_network, paint, parse_weights, read_map, statistics_of
from migaki.cli import main
from migaki.core.batch import Batch
from migaki.core.errors import UnfitPicture, UserError
from migaki.core.fit import Run, fit
from migaki.nets.style_net import StyleNet
from migaki.stages.apply_job import ApplyJob
from migaki.stages.change_work import ChangeWork
from migaki.systems.style_network import StyleNetwork


@dataclass
class Source:
    data: Batch

    def batch(self, step: int) -> Batch:
        return self.data


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A style network with opinions: its tail and its styles are no round numbers."""
    out = tmp_path_factory.mktemp("style") / "run"
    config, batch = StyleNetwork.tiny()
    torch.manual_seed(0)
    system = StyleNetwork(config)
    with torch.no_grad():
        for parameter in system.net.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.3)
    fit(system, Source(batch), Run(device="cpu", precision="fp32", log_every=1, sample_every=0), out, quiet=True)
    return out


def opened(run: Path, **options: object) -> Stylise:
    change = Stylise(Stylise.Config(run=run, **options))  # type: ignore[arg-type]
    change.open(run)
    return change


def painted(change: Stylise, image: Tensor, seed: int = 0, **more: Tensor) -> Tensor:
    return change.change({"image": image, **more}, torch.tensor([seed] * len(image)))["image"]


def test_a_name_is_one_style_and_numbers_a_mixture(run: Path) -> None:
    net, styles, _ = open_network(run)
    assert styles == ("dots", "lines")
    image = scene()
    one, two = (painted(opened(run, style=name), image) for name in styles)
    assert torch.allclose(one, net(image, torch.tensor([[1.0, 0.0]])), atol=1e-6)
    assert float((one - two).abs().mean()) > 0.01
    mixed = painted(opened(run, style="dots=3,lines=1"), image)
    assert torch.allclose(mixed, net(image, torch.tensor([[0.75, 0.25]])), atol=1e-6)


def test_mixing_is_monotone_in_the_weights(run: Path) -> None:
    """The scale and the shift go straight from one style to the other; so does each way."""
    net, _, _ = open_network(run)
    weights = [torch.tensor([[1 - part, part]]) for part in (0.0, 0.25, 0.5, 0.75, 1.0)]
    far = [float((net.mixed(one)[0] - net.mixed(weights[0])[0]).norm()) for one in weights]
    assert far == pytest.approx([part * far[-1] for part in (0.0, 0.25, 0.5, 0.75, 1.0)], rel=1e-4)


def test_a_constant_map_is_a_style_and_halves_are_both(run: Path, tmp_path: Path) -> None:
    image = scene(40, 48)
    constant = np.zeros((40, 48, 2), np.float32)
    constant[..., 1] = 1
    np.save(tmp_path / "constant.npy", constant)
    one = painted(opened(run, style=str(tmp_path / "constant.npy")), image)
    assert torch.allclose(one, painted(opened(run, style="lines"), image), atol=1e-5)
    halves = constant.copy()
    halves[:, :24] = (1, 0)
    np.save(tmp_path / "halves.npy", halves)
    both = painted(opened(run, style=str(tmp_path / "halves.npy")), image)
    assert float((both - one)[..., :16].abs().mean()) > float((both - one)[..., -4:].abs().mean())


def test_what_is_not_painted_keeps_its_bits(run: Path, tmp_path: Path) -> None:
    image, mask = scene(40, 48), torch.zeros(1, 40, 48, dtype=torch.uint8)
    mask[:, :, 20:30], mask[:, 30:] = 1, 255
    made = painted(opened(run, painted=("1=lines",)), image, mask=mask)
    outside = (mask != 1)[:, None].expand_as(made)
    assert torch.equal(made[outside], image[outside])
    assert float((made - image)[~outside].abs().mean()) > 0.01
    part = np.zeros((20, 24, 2), np.float32)
    part[:10, :, 0] = 1
    np.save(tmp_path / "part.npy", part)
    made = painted(opened(run, style=str(tmp_path / "part.npy")), image)
    assert torch.equal(made[..., 22:, :], image[..., 22:, :])


def test_the_seed_draws_styles_and_mixtures(run: Path) -> None:
    image = scene()
    drawn = opened(run).change({"image": image.expand(12, -1, -1, -1)}, torch.arange(12))
    assert set(drawn["style_weights"].argmax(1).tolist()) == {0, 1}
    assert drawn["style_weights"].sum(1).tolist() == pytest.approx([1.0] * 12)
    mixed = opened(run, style="mixed").change({"image": image.expand(3, -1, -1, -1)}, torch.arange(3))
    assert float(mixed["style_weights"].min()) > 0 and float(mixed["style_weights"].max()) < 1
    assert torch.equal(painted(opened(run), image, 5), painted(opened(run), image, 5))


def test_colours_and_strength(run: Path) -> None:
    image = scene()
    assert torch.equal(painted(opened(run, style="dots", strength=0.0), image), image)
    whole, half = (painted(opened(run, style="dots", strength=part), image) for part in (1.0, 0.5))
    assert torch.allclose(half, (whole + image) / 2, atol=1e-6)
    kept = painted(opened(run, style="dots", colours="luminance"), image)
    inside = ((kept > 0.001) & (kept < 0.999)).all(1)
    assert float(((kept - image).diff(dim=1).abs().amax(1) * inside).max()) < 1e-4


def test_tiles_with_shared_statistics_are_the_whole_picture(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net, _, context = open_network(run)
    picture, weights = scene(64, 600), torch.tensor([[0.3, 0.7]])
    shared = statistics_of(net, picture, weights)
    whole = net(picture, weights, shared)
    assert torch.allclose(whole, net(picture, weights), atol=1e-5)  # its own statistics are these
    monkeypatch.setattr(module, "WHOLE", 500)
    assert torch.allclose(paint(net, picture, weights, shared, context), whole, atol=1e-4)
    laid = weights[..., None, None].expand(1, 2, 64, 600)
    assert torch.allclose(paint(net, picture, laid, shared, context), whole, atol=1e-4)
    alone = paint(net, picture, weights, None, context)  # measured on a smaller copy
    assert float((alone - whole).abs().mean()) < 0.1


def test_measured_statistics_take_the_place_of_the_own(run: Path) -> None:
    change, image = opened(run, style="dots"), scene()
    own = change.measured({"image": image})["style_statistics"]
    assert torch.allclose(painted(change, image, style_statistics=own), painted(change, image), atol=1e-5)
    assert not torch.allclose(painted(change, image, style_statistics=1.5 * own), painted(change, image), atol=1e-3)


def test_apply_run_takes_a_style_and_keeps_labels(run: Path, tmp_path: Path,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    save(scene(), tmp_path / "set" / "a.png")
    save(scene(seed=1)[:, :1], tmp_path / "set" / "b.png")
    rows = [{"file_name": "a.png", "boxes": [[1, 2, 3, 4]], "classes": ["x"]}, {"file_name": "b.png"}]
    (tmp_path / "set" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["apply", str(run), "--style", "dots=1,lines=1", "--input", str(tmp_path / "set"), "--out",
                 str(tmp_path / "out")]) == 0
    made = [json.loads(line) for line in (tmp_path / "out" / "metadata.jsonl").read_text().splitlines()]
    assert made[0]["boxes"] == [[1, 2, 3, 4]] and made[0]["style_weights"] == [0.5, 0.5]
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["styles"] == ["dots", "lines"]
    assert main(["apply", str(run), "--style", "monet", "--input", str(tmp_path / "set"), "--out",
                 str(tmp_path / "no")]) == 2
    assert "has no style 'monet': it has dots, lines" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(("text", "message"), [
    ("dots=-1", "no weight"), ("dots=x", "no weight"), ("dots=inf", "no weight"), ("dots=0", "all weights are 0"),
    ("", "names no style: run has dots, lines"), (" , ", "names no style"), ("dots,,lines", "no style ''"),
    ("dots,dots=2", "names 'dots' twice")])
def test_wrong_weights_are_one_line(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_weights(text, ("dots", "lines"), Path("run"))


@pytest.mark.parametrize("array", [
    np.zeros((4, 5, 3), np.float32), np.zeros((4, 5, 2), np.uint8), np.full((4, 5, 2), np.nan, np.float32),
    np.full((4, 5, 2), -1, np.float32)], ids=["styles", "whole numbers", "nan", "negative"])
def test_wrong_maps_are_one_line(array: np.ndarray, tmp_path: Path) -> None:  # type: ignore[type-arg]
    np.save(tmp_path / "map.npy", array)
    with pytest.raises(UserError, match=r"map\.npy"):
        read_map(tmp_path / "map.npy", 2)


def test_wrong_runs_and_pictures_are_one_line(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        opened(tmp_path / "nothing")
    for wrong, message in ((("one=dots",), "--painted one=dots"), (("1=",), "--painted 1="),
                           (("1=dots", "2=dots", "1=lines"), "class 1 has the style 'dots' already")):
        with pytest.raises(UserError, match=message):
            opened(run, painted=wrong)
    with pytest.raises(UserError, match="paint all of each picture with --style NAME"):
        ChangeWork("stylise", Stylise(Stylise.Config(run=run, painted=("1=dots",))),
                   ApplyJob(input=save(scene(), tmp_path / "a.png"), out=tmp_path / "out"))
    with pytest.raises(UserError, match="--strength 2"):
        Stylise.Config(run=run, strength=2)
    with pytest.raises(UnfitPicture, match="from 16x16 px on"):
        painted(opened(run), torch.rand(1, 3, 12, 40))
    with pytest.raises(UnfitPicture, match="2 channels"):
        painted(opened(run), torch.rand(1, 2, 40, 40))
    with pytest.raises(UnfitPicture, match="mask of another size"):
        painted(opened(run, painted=("1=dots",)), scene(), mask=torch.zeros(1, 8, 8))


def test_a_network_that_knows_its_styles_takes_no_other(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has learned its styles and takes no other: name one with --style \(dots, "):
        opened(run, to=save(scene(), tmp_path / "a.png"))


def test_noise_is_the_same_in_tiles_as_in_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net, weights = StyleNet(2, features=4, blocks=1, grain=2), torch.tensor([[0.4, 0.6]])
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.3)
    flat = torch.full((1, 3, 48, 560), 0.5)
    whole = net(flat, weights)
    assert float(whole.std(dim=3).mean()) > 0.01  # a flat picture gets strokes
    assert torch.equal(net.grained(flat)[:, 3:, :, :48], net.grained(flat)[:, 3:, :, 256:304])
    shared = statistics_of(net, flat, weights)
    monkeypatch.setattr(module, "WHOLE", 500)
    assert torch.allclose(paint(net, flat, weights, shared, 64), whole, atol=1e-4)
    laid = weights[..., None, None].expand(1, 2, 48, 560)
    assert torch.allclose(paint(net, flat, laid, shared, 64), whole, atol=1e-4)


def test_filled_weights_have_sum_one_everywhere() -> None:
    weights = torch.zeros(1, 3, 2, 2)
    weights[0, 1, 0, 0], weights[0, 2, 0, 1] = 0.5, 1.0
    full, cover = filled(weights)
    assert full.sum(1).flatten().tolist() == pytest.approx([1.0] * 4)
    assert cover.flatten().tolist() == [0.5, 1, 0, 0]
    assert full[0, :, 1, 1].tolist() == pytest.approx([0, 1 / 3, 2 / 3])
    assert filled(torch.zeros(1, 4, 2, 2))[0].unique().tolist() == [0.25]
