"""The refiner: sizes, the identity it starts from, its receptive field, its noise."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from migaki.nets.refiner import RefinerNet


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("shortcut", [False, True])
@pytest.mark.parametrize(("channels", "size"), [(1, (35, 55)), (3, (37, 61)), (5, (8, 9)), (1, (1, 1))])
def test_any_size_and_any_number_of_channels(scale: int, shortcut: bool, channels: int, size: tuple[int, int]) -> None:
    net = RefinerNet(channels, 8, 1, shortcut=shortcut, scale=scale)
    images = torch.rand(2, channels, *size, requires_grad=True) * 2 - 1
    out = net(images)
    assert out.shape == images.shape and out.dtype == torch.float32 and out.abs().max() <= 1 / 0.98
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(out.sum(), list(net.parameters())))


@pytest.mark.parametrize("scale", [1, 2])
def test_with_a_shortcut_it_starts_as_the_identity_black_and_white_included(scale: int) -> None:
    images = torch.linspace(-1, 1, 2 * 36 * 60).view(2, 1, 36, 60)
    torch.testing.assert_close(RefinerNet(1, 8, 1, shortcut=True, scale=scale)(images), images, atol=1e-5, rtol=0)


def test_the_papers_layers() -> None:
    for net, count, first in ((RefinerNet(1, 64, 4), 4, 3), (RefinerNet(1, 64, 10, 7), 10, 7)):
        convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
        assert [m.kernel_size[0] for m in convolutions] == [first, *[3] * (2 * count), 1]
        assert {m.out_channels for m in convolutions[:-1]} == {64} and convolutions[-1].out_channels == 1
        assert all(m.stride == (1, 1) for m in convolutions)
        assert not any(isinstance(m, nn.MaxPool2d | nn.AvgPool2d | nn.BatchNorm2d) for m in net.modules())


@pytest.mark.parametrize(("blocks", "first", "expected"), [(4, 3, 19), (10, 7, 47)])
def test_receptive_field(blocks: int, first: int, expected: int) -> None:
    net = RefinerNet(1, 2, blocks, first)
    for parameter in net.parameters():  # positive, so that no ReLU hides a path
        nn.init.constant_(parameter, 0.05)
    images = torch.rand(1, 1, 61, 61, requires_grad=True)
    before_tanh = net.tail(net.body(net.head(images)))
    (gradient,) = torch.autograd.grad(before_tanh[0, 0, 30, 30], images)
    seen = gradient[0, 0] != 0
    assert seen.any(0).sum() == seen.any(1).sum() == expected


def test_noise_makes_several_images_of_one() -> None:
    net = RefinerNet(1, 8, 1, noise_channels=2)
    images = torch.rand(2, 1, 10, 12)
    zero = net(images)
    torch.testing.assert_close(net(images, torch.zeros(2, 2, 10, 12)), zero)
    assert (net(images, torch.randn(2, 2, 10, 12)) - zero).abs().max() > 1e-4


def test_blocks_are_residual() -> None:
    """Zero weights inside a block leave its (non-negative) input as it is."""
    net = RefinerNet(1, 4, 1)
    x = torch.rand(1, 4, 5, 5)
    for parameter in net.body.parameters():
        nn.init.zeros_(parameter)
    torch.testing.assert_close(net.body(x), x)


def test_half_precision_keeps_the_identity() -> None:
    net, images = RefinerNet(1, 8, 1, shortcut=True, scale=2), torch.rand(1, 1, 12, 12) * 2 - 1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(net(images), images, atol=1e-5, rtol=0)
