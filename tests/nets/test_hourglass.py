"""The stacked hourglass: shapes, one map a stack, gradients everywhere, and what each part of it sees."""

from __future__ import annotations

import pytest
import torch

from migaki.nets.hourglass import Hourglass, StackedHourglass


@pytest.mark.parametrize("stride", [2, 4])
@pytest.mark.parametrize("size", [(16, 16), (36, 60), (35, 55), (33, 17)])
def test_shapes(stride: int, size: tuple[int, int]) -> None:
    net = StackedHourglass(1, 5, features=8, stacks=3, depth=2, stride=stride).eval()
    maps = net(torch.rand(2, 1, *size))
    assert maps.shape == (3, 2, 5, *(-(-side // stride) for side in size)) and maps.dtype == torch.float32


def test_every_weight_learns_from_every_stack() -> None:
    net = StackedHourglass(1, 2, features=8, stacks=2, depth=2)
    net(torch.rand(4, 1, 16, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters() if p.dim() > 1)


def test_the_first_stack_does_not_see_the_second() -> None:
    net = StackedHourglass(1, 2, features=8, stacks=2, depth=2)
    net(torch.rand(2, 1, 16, 16))[0].sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in net.hourglasses[1].parameters())
    assert any(p.grad is not None and p.grad.any() for p in net.hourglasses[0].parameters())


def test_an_hourglass_looks_at_the_whole() -> None:
    """At depth 4 a corner of 32x32 hears of the opposite one; the outermost branch alone reaches one pixel."""
    torch.manual_seed(0)
    x = torch.randn(1, 4, 32, 32, requires_grad=True)
    Hourglass(4, 4).eval()(x)[0, :, 0, 0].sum().backward()  # max pooling hears one pixel of four
    assert x.grad is not None and x.grad[0, :, 24:, 24:].abs().sum() > 0


def test_a_stride_that_is_not_built_is_refused() -> None:
    with pytest.raises(ValueError, match="2 or 4"):
        StackedHourglass(1, 2, stride=3)
