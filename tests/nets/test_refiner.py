"""The refiner: sizes, the identity it starts from, its receptive field, its noise."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from migaki.core.errors import UserError
from migaki.nets.refiner import RefinerNet, _lose


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


@pytest.mark.parametrize("scale", [1, 2])
def test_lost_readings_are_drawn_with_the_dice(scale: int) -> None:
    """At first one pixel in twenty, all or nothing, other ones with other dice, and none without dice."""
    net = RefinerNet(1, 8, 1, shortcut=True, scale=scale, noise_channels=1, lost_readings=True)
    images = torch.full((8, 1, 40, 40), -0.5)
    first, again = net(images, torch.randn(8, 1, 40, 40)), net(images, torch.randn(8, 1, 40, 40))
    lost = first > 0
    torch.testing.assert_close(first[lost], torch.ones_like(first[lost]))
    torch.testing.assert_close(first[~lost], images[~lost], atol=1e-5, rtol=0)
    assert 0.03 < lost.float().mean() < 0.07  # sigmoid(-3) = 0.047 of 12,800
    assert ((again > 0) != lost).any()
    torch.testing.assert_close(net(images), images, atol=1e-5, rtol=0)


def test_the_chance_of_a_loss_is_learned() -> None:
    """Gradients of the relaxed draw bring the share of lost pixels to where a loss wants it, 30 % here."""
    torch.manual_seed(0)
    picture, logit = torch.full((1, 1, 64, 64), -1.0), torch.tensor(-3.0, requires_grad=True)
    descend = torch.optim.Adam([logit], 0.1)
    for _ in range(150):
        descend.zero_grad()
        out = _lose(picture, logit.expand(1, 1, 64, 64), torch.randn(1, 1, 64, 64))
        ((out.mean() + 1) / 2 - 0.3).square().backward()
        descend.step()
    assert torch.sigmoid(logit).item() == pytest.approx(0.3, abs=0.04)


def test_dice_are_needed() -> None:
    with pytest.raises(UserError, match="--noise-channels 1"):
        RefinerNet(1, 8, 1, lost_readings=True)


def test_at_half_size_noise_is_learned_to_be_used_and_no_phase_of_a_cell_is_another() -> None:
    """Sub-pixel convolution gave each pixel of a cell filters of its own: a flat picture got a pattern of 2 px."""
    torch.manual_seed(0)
    net = RefinerNet(1, 16, 1, scale=2, noise_channels=1)
    images, noise = torch.full((1, 1, 24, 24), 0.3), torch.randn(1, 1, 24, 24)
    torch.testing.assert_close(net(images, noise), net(images))  # at first noise does nothing
    inside = net(images)[0, 0, 8:16, 8:16]
    assert float(inside.max() - inside.min()) < 1e-5
    (slope,) = torch.autograd.grad(net(images, noise).square().sum(), net.near.weight)
    assert slope[:, 1].any()  # but its weights learn
