"""The discriminator: the paper's layers, what each judgement sees, the softmax of two maps."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import nn

from migaki.nets.patch_discriminator import PatchDiscriminator

Layout = Literal["eyes", "hands"]


@pytest.mark.parametrize(("layout", "size", "expected"), [
    ("eyes", (35, 55), (9, 14)), ("eyes", (36, 60), (9, 15)), ("eyes", (37, 61), (10, 16)),
    ("hands", (224, 224), (7, 7)),
])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_map_of_judgements(layout: Layout, size: tuple[int, int], expected: tuple[int, int], channels: int) -> None:
    images = torch.rand(2, channels, *size)
    local = PatchDiscriminator(channels, layout, width=0.1)
    assert local(images).shape == (2, 1, *expected)
    whole = PatchDiscriminator(channels, layout, width=0.1, is_global=True, image_size=size)
    assert whole(images).shape == (2, 1, 1, 1)


def test_the_softmax_over_two_maps_is_our_difference() -> None:
    net = PatchDiscriminator(1, width=0.2)
    images = torch.rand(3, 1, 20, 24)
    maps = net.layers(images)
    assert maps.shape[1] == 2
    torch.testing.assert_close(torch.sigmoid(net(images))[:, 0], torch.softmax(maps, dim=1)[:, 1])


@pytest.mark.parametrize("layout", ["eyes", "hands"])
@pytest.mark.parametrize("is_global", [False, True])
@pytest.mark.parametrize("spectral", [False, True])
def test_a_relu_follows_every_layer_but_the_last(layout: Layout, is_global: bool, spectral: bool) -> None:
    net = PatchDiscriminator(1, layout, is_global=is_global, image_size=(36, 60), spectral=spectral)
    layers = [m for m in net.layers if not isinstance(m, nn.MaxPool2d | nn.Flatten | nn.Unflatten)]
    weighted, rest = layers[0::2], layers[1::2]
    assert all(isinstance(m, nn.Conv2d | nn.Linear) for m in weighted)
    assert len(rest) == len(weighted) - 1 and all(isinstance(m, nn.ReLU) for m in rest)
    images = torch.randn(2, 1, 36, 60)
    before = net(images).detach()
    last = weighted[-1]
    assert isinstance(last, nn.Conv2d | nn.Linear)
    if not spectral:  # (a normalised weight cannot be set)
        for parameter in (last.weight, last.bias):
            parameter.data.neg_()
        torch.testing.assert_close(net(images), -before)


def test_the_papers_layers() -> None:
    def layers(layout: Layout) -> list[tuple[str, int, int, int]]:
        found = []
        for m in PatchDiscriminator(1, layout).layers:
            if isinstance(m, nn.Conv2d):
                found.append(("conv", m.kernel_size[0], m.stride[0], m.out_channels))
            elif isinstance(m, nn.MaxPool2d):
                found.append(("pool", int(str(m.kernel_size)), int(str(m.stride)), 0))
        return found

    end = [("conv", 1, 1, 32), ("conv", 1, 1, 2)]
    assert layers("eyes") == [("conv", 3, 2, 96), ("conv", 3, 2, 64), ("pool", 3, 1, 0), ("conv", 3, 1, 32), *end]
    assert layers("hands") == [("conv", 7, 4, 96), ("conv", 5, 2, 64), ("pool", 3, 2, 0), ("conv", 3, 2, 32), *end]


def receptive_field(layout: Layout, size: int) -> int:
    """Height of what one judgement sees, found by a strong impulse at every place of a column."""
    net = PatchDiscriminator(1, layout, width=0.05)
    for parameter in net.parameters():
        nn.init.uniform_(parameter, 0.1, 0.2)  # positive, so that no ReLU hides a path
    assert isinstance(net.layers[-1], nn.Conv2d)
    nn.init.zeros_(net.layers[-1].weight.data[0])
    images = torch.zeros(size + 1, 1, size, size)
    images[torch.arange(size), 0, torch.arange(size), :] = 100.0  # image i: row i is bright; the last has none
    with torch.no_grad():
        out = net(images)
    row, column = out.shape[2] // 2, out.shape[3] // 2
    return int((out[:-1, 0, row, column] != out[-1, 0, row, column]).sum())


def test_receptive_field_is_the_papers() -> None:
    """3, stride 2; 3, stride 2; pool 3; 3 sees 3 + 2 * 2 + 2 * 4 + 2 * 4 px, about the refiner's 19."""
    assert receptive_field("eyes", 60) == 3 + 2 * 2 + 2 * 4 + 2 * 4
    assert receptive_field("hands", 224) == 7 + 4 * 4 + 2 * 8 + 2 * 16


def test_a_judgement_is_blind_to_what_is_far() -> None:
    net = PatchDiscriminator(1, width=0.2)
    images = torch.rand(1, 1, 36, 60)
    other = images.clone()
    other[..., 40:] = torch.rand(1, 1, 36, 20)
    before, after = net(images), net(other)
    assert torch.equal(before[..., :7], after[..., :7]) and not torch.equal(before[..., -1], after[..., -1])


def test_first_features_keep_the_resolution_and_teach_the_first_layer_nothing() -> None:
    net = PatchDiscriminator(2, width=0.2)
    images = torch.rand(1, 2, 9, 11, requires_grad=True)
    out = net.first_features(images)
    assert out.shape[2:] == (9, 11)
    out.sum().backward()
    assert images.grad is not None and all(p.grad is None for p in net.parameters())


def test_spectral_norm_bounds_each_layer() -> None:
    net = PatchDiscriminator(1, width=0.2, spectral=True)
    for _ in range(30):
        net(torch.rand(2, 1, 20, 20))
    for m in net.layers:
        if isinstance(m, nn.Conv2d):
            assert torch.linalg.matrix_norm(m.weight.flatten(1), ord=2).item() == pytest.approx(1, rel=0.1)
