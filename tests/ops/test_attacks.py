"""Attacks: against plain loops, the published equations and closed forms on a linear classifier."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage import color
from torch import Tensor, nn

from migaki.core.view_ranges import Views
from migaki.ops import attacks
from migaki.ops.attacks import Goal
from migaki.ops.views import draw_views, show_views


class Linear(nn.Module):
    """Scores that are linear in the pixels, so that gradients and distances have closed forms."""

    def __init__(self, classes: int = 4, pixels: int = 3 * 5 * 6, seed: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, pixels, generator=torch.Generator().manual_seed(seed)))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight.T


def pictures(count: int = 3) -> Tensor:
    return 0.2 + 0.6 * torch.rand(count, 3, 5, 6, generator=torch.Generator().manual_seed(1))


def towards(*classes: int) -> Goal:
    return Goal(torch.tensor(classes), is_target=True)


def away(*classes: int) -> Goal:
    return Goal(torch.tensor(classes), is_target=False)


def loss_of(net: nn.Module, images: Tensor, goal: Goal) -> Tensor:
    """Cross-entropy, to be lowered for a target and raised for a class that is to be left."""
    return F.cross_entropy(net(images), goal.classes, reduction="sum")


@pytest.mark.parametrize("goal", [towards(0, 1, 2), away(0, 1, 2)])
def test_fgsm_is_the_published_step(goal: Goal) -> None:
    net, images = Linear(), pictures()
    given = images.clone().requires_grad_()
    slope, = torch.autograd.grad(loss_of(net, given, goal), given)
    expected = (images + (-1 if goal.is_target else 1) * 0.03 * slope.sign()).clamp(0, 1)
    torch.testing.assert_close(attacks.fgsm(net, images, goal, 0.03), expected)
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd_is_a_plain_loop(norm: str) -> None:
    net, images, goal = Linear(), pictures(), towards(3, 0, 1)
    start = images + 0.04 * (2 * torch.rand(images.shape, generator=torch.Generator().manual_seed(2)) - 1)
    found = start.clone()
    if norm == "linf":
        found = torch.minimum(torch.maximum(found, images - 0.03), images + 0.03).clamp(0, 1)
    else:
        size = (found - images).square().mean((1, 2, 3), keepdim=True).sqrt()
        found = (images + (found - images) * torch.clamp(0.03 / size, max=1)).clamp(0, 1)
    for _ in range(4):
        given = found.clone().requires_grad_()
        slope, = torch.autograd.grad(-loss_of(net, given, goal), given)
        if norm == "linf":
            found = found + 0.01 * slope.sign()
            found = torch.minimum(torch.maximum(found, images - 0.03), images + 0.03).clamp(0, 1)
        else:
            found = found + 0.01 * slope / slope.square().mean((1, 2, 3), keepdim=True).sqrt()
            size = (found - images).square().mean((1, 2, 3), keepdim=True).sqrt()
            found = (images + (found - images) * torch.clamp(0.03 / size, max=1)).clamp(0, 1)
    made = attacks.pgd(net, images, goal, 0.03, 0.01, 4, norm=norm, start=start)
    torch.testing.assert_close(made, found)
    assert goal.gain(net(made)).sum() > goal.gain(net(images)).sum()


def test_lbfgs_finds_the_nearest_picture_of_another_class() -> None:
    """Of a linear classifier of two classes the distance to the boundary is |w x| / |w|, along w."""
    net, image = Linear(2), pictures(1)
    label = int(net(image).argmax())
    difference = (net.weight[1 - label] - net.weight[label]).detach()
    scores = net(image).detach()[0]
    distance = float((scores[label] - scores[1 - label]) / difference.norm())
    made = attacks.lbfgs(net, image, away(label), steps=100, searches=14)
    far = float((made - image).norm())
    assert net(made).argmax() != label
    assert distance <= far < 1.05 * distance
    direction = (made - image).flatten() / far
    assert float(direction @ difference / difference.norm()) > 0.99
    plain = attacks.pgd(net, image, away(label), 0.1, 0.02, 20)
    assert net(plain).argmax() != label and far < float((plain - image).norm())


def test_lbfgs_stays_in_the_box_and_gives_up_honestly() -> None:
    net, image = Linear(2, seed=5), pictures(1).round()  # every value lies at a bound
    made = attacks.lbfgs(net, image, away(int(net(image).argmax())), steps=60, searches=10)
    assert made.min() >= 0 and made.max() <= 1

    def constant(given: Tensor) -> Tensor:
        return torch.stack([given.sum((1, 2, 3)) * 0 + 1, given.sum((1, 2, 3)) * 0], 1)

    assert torch.equal(attacks.lbfgs(constant, image, towards(1), searches=3), image)


def test_eot_is_the_expectation_over_the_views() -> None:
    net, image, goal = Linear(), pictures(1), towards(2)
    views = Views(turn=15, shift=0.05, noise=0.02)
    made = attacks.eot(net, image, goal, 0.05, 0.01, 3, views=views, samples=5, lab_weight=0.7,
                       draw=torch.Generator().manual_seed(9))
    draw, found = torch.Generator().manual_seed(9), image
    for _ in range(3):
        seen = draw_views(views, 5, (5, 6), draw)
        given = found.clone().requires_grad_()
        total = torch.zeros(())
        for number in range(5):
            own = [show_views(one, seen)[number : number + 1] for one in (given, image)]
            log = F.log_softmax(net(own[0]), 1)[0, 2]
            colours = [attacks.rgb_to_lab(one) for one in own]
            apart = ((colours[0] - colours[1]).square().sum(1) + 1e-12).sqrt().mean() / 100
            total = total + (log - 0.7 * apart) / 5
        slope, = torch.autograd.grad(total, given)
        found = found + 0.01 * slope.sign()
        found = torch.minimum(torch.maximum(found, image - 0.05), image + 0.05).clamp(0, 1)
    torch.testing.assert_close(made, found, atol=1e-5, rtol=0)


def test_goals() -> None:
    scores = torch.tensor([[1.0, 2.0, 0.0], [3.0, 0.0, 0.0]])
    assert towards(1, 1).reached(scores).tolist() == [True, False]
    assert away(1, 1).reached(scores).tolist() == [False, True]
    torch.testing.assert_close(towards(1, 0).gain(scores), F.log_softmax(scores, 1)[[0, 1], [1, 0]])
    torch.testing.assert_close(towards(1, 0).chance(scores), towards(1, 0).gain(scores))
    torch.testing.assert_close(away(1, 0).chance(scores), torch.log(1 - scores.softmax(1)[[0, 1], [1, 0]]))
    torch.testing.assert_close(away(1, 0).gain(scores), -F.log_softmax(scores, 1)[[0, 1], [1, 0]])


def test_colours_are_compared_as_scikit_image_does() -> None:
    first, second = pictures(2), pictures(2).flip(3)
    lab = [color.rgb2lab(one.movedim(1, -1).numpy()) for one in (first, second)]
    expected = np.linalg.norm(lab[0] - lab[1], axis=-1).mean((1, 2)) / 100
    np.testing.assert_allclose(attacks.lab_distance(first, second).numpy(), expected, atol=1e-3)
    black, white = torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)
    for channels, compared in ((1, 1), (2, 1), (4, 3)):
        pair = [torch.cat([one.expand(1, compared, 4, 4), torch.rand(1, channels - compared, 4, 4)], 1)
                for one in (black, white)]
        assert math.isclose(float(attacks.lab_distance(pair[0], pair[1])), 1.0, rel_tol=1e-3)


def test_noise_has_the_norm_of_the_change() -> None:
    images = pictures().round(decimals=1)
    changed = (images + 0.08 * torch.randn(images.shape, generator=torch.Generator().manual_seed(4))).clamp(0, 1)
    noisy = attacks.noise_like(images, changed, [torch.Generator().manual_seed(seed) for seed in range(3)])
    for one, other, plain in zip(noisy, changed, images, strict=True):
        torch.testing.assert_close((one - plain).norm(), (other - plain).norm(), rtol=1e-2, atol=1e-6)
        assert one.min() >= 0 and one.max() <= 1 and not torch.equal(one, other)


def test_projection_and_rounding() -> None:
    around = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3)
    assert attacks.within(around + 0.2, around, 0.1).flatten().tolist() == pytest.approx([0.1, 0.6, 1.0])
    far = attacks.within(around.clamp(0.4, 0.6) + torch.tensor([0.3, 0.4, 0.0]), around.clamp(0.4, 0.6), 0.1, "l2")
    assert float((far - around.clamp(0.4, 0.6)).square().mean().sqrt()) == pytest.approx(0.1, rel=1e-5)
    assert attacks.rounded(torch.tensor([-0.1, 0.5, 1.2])).tolist() == pytest.approx([0, 128 / 255, 1])
