"""Maps of classes: gradients as written out by hand, differences as in the paper's equations, thresholds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migaki.ops.distinct_maps import (
    class_gradients,
    class_shares,
    distinct,
    joined,
    otsu,
    saliency,
    squashed,
    unit,
)
from migaki.ops.guided import GuidedReLUs, guided_relu


class Two(nn.Module):
    """Two convolutions with ReLUs of either kind, and a score a class."""

    def __init__(self, relu: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.head = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 5, 3), nn.Linear(5, 3)
        self.relu = relu

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        one = self.relu(self.first(images))
        two = F.relu(self.second(one))
        return self.head(two.mean((2, 3))), [one, two]


IMAGES = torch.rand(2, 1, 9, 8, generator=torch.Generator().manual_seed(1))
CANDIDATES = torch.tensor([[0, 2], [1, 0]])


def test_the_gradient_is_that_of_the_scores() -> None:
    net = Two(nn.ReLU())
    (found,) = class_gradients(net, IMAGES, CANDIDATES, guided=False, of_image=True)
    assert found.shape == (2, 2, 1, 9, 8) and net.first.weight.grad is None
    for row in range(2):
        for place in range(2):
            image = IMAGES[row : row + 1].clone().requires_grad_()
            net(image)[0][0, CANDIDATES[row, place]].backward()
            assert image.grad is not None
            torch.testing.assert_close(found[row, place], image.grad[0])


@pytest.mark.parametrize("relu", [nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6()])
def test_guided_gradients_pass_where_unit_and_gradient_are_positive(relu: nn.Module) -> None:
    net = Two(relu)
    with torch.no_grad():  # some units reach beyond 6
        net.first.weight.mul_(12)
    found = class_gradients(net, IMAGES, CANDIDATES, guided=True)
    one = net.first(IMAGES).detach()
    top = float("inf") if isinstance(relu, nn.ReLU) else 6.0
    two = net.second(one.clamp(0, top)).detach()
    for place in range(2):
        grad = net.head.weight[CANDIDATES[:, place]].detach()[:, :, None, None].expand_as(two) / two[0, 0].numel()
        torch.testing.assert_close(found[1][:, place], grad)
        down = F.conv_transpose2d(grad * (grad > 0) * (two > 0), net.second.weight.detach())
        torch.testing.assert_close(found[0][:, place], down)
    inner = class_gradients(net, IMAGES, CANDIDATES, guided=True, of_image=True)[0][:, 0]
    down = found[0][:, 0]
    expected = F.conv_transpose2d(down * (down > 0) * (one > 0) * (one < top), net.first.weight.detach())
    torch.testing.assert_close(inner, expected)


def test_after_the_context_relus_are_what_they_were() -> None:
    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    with GuidedReLUs():
        (inside,) = torch.autograd.grad(F.relu(x).mul(torch.tensor([1.0, -1.0])).sum(), x)
    (outside,) = torch.autograd.grad(F.relu(x).mul(torch.tensor([1.0, -1.0])).sum(), x)
    assert inside.tolist() == [0, 0] and outside.tolist() == [0, -1]
    assert torch.equal(guided_relu(torch.tensor([-1.0, 3.0, 9.0]), 6.0), torch.tensor([0.0, 3.0, 6.0]))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_are_had_where_they_are_switched_off(mode: type) -> None:
    net = Two(nn.ReLU())
    expected = class_gradients(net, IMAGES, CANDIDATES, guided=True)
    with mode():
        found = class_gradients(net, IMAGES.clone(), CANDIDATES.clone(), guided=True)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_saliency_is_the_largest_over_the_channels() -> None:
    grads = torch.tensor([[1.0, -5.0], [-2.0, 3.0]]).view(1, 1, 2, 1, 2)
    assert saliency(grads, positive=True).flatten().tolist() == [1, 3]
    assert saliency(grads, positive=False).flatten().tolist() == [2, 5]


def test_differences_are_those_of_the_paper_by_loops() -> None:
    maps = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(2))
    found = distinct(maps)
    for image, one in zip(maps.double().numpy(), found.numpy(), strict=True):
        for c in range(3):
            total = np.zeros((4, 5))
            for other in range(3):
                if other != c:
                    apart = image[c] - image[other]
                    total += np.tanh(3 * apart / apart.max())
            np.testing.assert_allclose(one[c], np.tanh(3 * total / total.max()), atol=1e-5)
    alone = maps[:, :1]
    torch.testing.assert_close(distinct(alone), squashed(alone))
    assert float(squashed(alone).amax()) == pytest.approx(math.tanh(3))


def test_maps_are_joined_at_one_size_and_brought_to_a_unit() -> None:
    small, large = torch.full((1, 1, 2, 2), 0.5), torch.full((1, 1, 4, 6), -0.1)
    torch.testing.assert_close(joined([small, large], (4, 6)), torch.full((1, 1, 4, 6), 0.2))
    found = unit(torch.tensor([[[[-1.0, 2.0], [4.0, 1.0]], [[-3.0, -1.0], [-2.0, -1.0]]]]))
    assert found[0, 0].tolist() == [[0, 0.5], [1, 0.25]] and not found[0, 1].any()


def test_otsu_is_the_best_split_by_loops() -> None:
    draw = torch.Generator().manual_seed(0)
    values = torch.cat([0.15 + 0.05 * torch.randn(300, generator=draw), 0.7 + 0.1 * torch.randn(80, generator=draw)])
    values = values.clamp(0, 1).view(2, 190)
    counted = torch.ones_like(values)
    counted[0, :20] = 0
    kept = values[counted > 0].numpy()
    binned = (np.floor(kept * 64).clip(0, 63) + 0.5) / 64
    gains = []
    for edge in range(1, 64):
        low, high = binned[binned < edge / 64], binned[binned >= edge / 64]
        gains.append(len(low) * len(high) * (low.mean() - high.mean()) ** 2 if len(low) and len(high) else 0.0)
    assert float(otsu(values, counted)) == pytest.approx((int(np.argmax(gains)) + 1) / 64)
    assert 0.25 < float(otsu(values, counted)) < 0.55


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_shares_have_their_border_at_the_threshold(threshold: float) -> None:
    maps = torch.tensor([threshold - 0.01, threshold, threshold + 0.01, 0.0, 1.0]).view(1, 1, 1, 5)
    both = torch.cat([maps, torch.zeros_like(maps)], 1)
    shares = class_shares(both, torch.tensor(threshold))
    torch.testing.assert_close(shares.sum(1), torch.ones(1, 1, 5))
    assert shares[0, 1, 0].tolist()[3:] == [0, 1] and not shares[0, 2].any()
    assert float(shares[0, 1, 0, 0]) < 0.5 < float(shares[0, 1, 0, 2])
    assert float(shares[0, 1, 0, 1]) == pytest.approx(0.5, abs=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(class_shares(both, torch.tensor(threshold)), shares)
