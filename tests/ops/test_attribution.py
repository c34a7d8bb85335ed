"""Attributions of pixels against finite differences, closed forms and naive twins; what they refuse and leave."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from toy_nets import Linear, Pooled, conv_back, pictures, ready

from migaki.ops import attribution as a
from migaki.ops.taps import UnfitModel

TARGETS = torch.tensor([0, 3, 1])


def finite_differences(model: nn.Module, image: Tensor, target: int) -> Tensor:
    """The gradient (C, H, W) of one picture by central differences in float64."""
    model, found = copy.deepcopy(model).double(), torch.zeros_like(image, dtype=torch.float64)
    step = 1e-5
    for place in range(image.numel()):
        sides = []
        for sign in (1, -1):
            moved = image.double().clone().flatten()
            moved[place] += sign * step
            sides.append(model(moved.view(1, *image.shape))[0, target])
        found.view(-1)[place] = ((sides[0] - sides[1]) / (2 * step)).item()
    return found.float()


def test_the_gradient_is_that_of_the_targets_score() -> None:
    model, images = ready(Pooled()), pictures(2, height=5, width=4)
    targets = torch.tensor([2, 0])
    found = a.gradient(model, images, targets)
    for one, image, target in zip(found, images, targets, strict=True):
        assert torch.allclose(one, finite_differences(model, image, int(target)), atol=1e-5)


def test_a_linear_model_has_its_weights_as_gradient_and_its_score_as_sum() -> None:
    model, images = ready(Linear(bias=False)), pictures(2, 3, 4, 5)
    assert isinstance(model, Linear)
    targets = torch.tensor([2, 1])
    weights = model.head.weight[targets].view_as(images)
    assert torch.allclose(a.gradient(model, images, targets), weights)
    score = model(images)[[0, 1], targets]
    assert torch.allclose(a.added(a.gradient_x_input(model, images, targets)).sum((1, 2)), score, atol=1e-5)
    assert torch.allclose(a.integrated_gradients(model, images, targets, steps=1), weights * images, atol=1e-6)
    assert torch.allclose(a.smooth_grad(model, images, targets, torch.tensor([1, 2]), samples=2), weights, atol=1e-6)


@pytest.mark.parametrize("baseline", [0.0, 0.7])
def test_integrated_gradients_are_complete(baseline: float) -> None:
    model, images = ready(Pooled()), pictures()
    found = a.integrated_gradients(model, images, TARGETS, baseline, steps=300)
    rise = (model(images) - model(torch.full_like(images, baseline)))[[0, 1, 2], TARGETS]
    assert rise.abs().min() > 0.01
    assert torch.allclose(found.sum((1, 2, 3)), rise, atol=2e-3)
    gap = a.completeness_gap(model, images, TARGETS, found, baseline)
    assert torch.allclose(gap, found.sum((1, 2, 3)) - rise, atol=1e-5)
    assert a.completeness_gap(model, images, TARGETS, 2 * found, baseline).abs().min() > 0.005
    rough = a.integrated_gradients(model, images, TARGETS, baseline, steps=1)
    assert torch.allclose(rough, (images - baseline) * a.gradient(model, (images + baseline) / 2, TARGETS), atol=1e-6)


def twin_guided(model: Pooled, image: Tensor, target: int) -> Tensor:
    """Guided backpropagation of one picture, layer by layer."""
    first = model.first(image[None])
    second = model.second(first.clamp(min=0))
    positions = second.shape[2] * second.shape[3]
    back = (model.head.weight[target] / positions)[None, :, None, None].expand_as(second)
    back = torch.where((second > 0) & (back > 0), back, 0.0)
    back = conv_back(first.shape, model.second.weight, back, 2)
    back = torch.where((first > 0) & (back > 0), back, 0.0)
    return conv_back(image[None].shape, model.first.weight, back)[0]


@pytest.mark.parametrize("kind", ["modules", "functions", "reused", "in_place"])
def test_guided_backpropagation_whoever_calls_the_relu(kind: str) -> None:
    model, images = ready(Pooled(kind)), pictures()
    assert isinstance(model, Pooled)
    found = a.guided(model, images, TARGETS)
    with torch.no_grad():
        for one, image, target in zip(found, images, TARGETS, strict=True):
            assert torch.allclose(one, twin_guided(model, image, int(target)), atol=1e-6)
    assert not torch.allclose(found, a.gradient(model, images, TARGETS), atol=1e-3)


def test_a_relu_with_a_bound_lets_nothing_pass_above_it() -> None:
    class Six(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return F.relu6(images.flatten(1) * torch.tensor([1.0, 20.0, -1.0, 1.0]))

    images = torch.full((1, 1, 2, 2), 0.5)
    for target, slope in enumerate((1.0, 0.0, 0.0, 1.0)):
        found = a.guided(Six().eval(), images, torch.tensor([target]))
        assert found.sum() == slope


def test_occlusion_against_a_loop_over_squares() -> None:
    model, images = ready(Pooled()), pictures(1, height=11, width=8)
    found = a.occlusion(model, images, torch.tensor([1]), patch=4, stride=3, fill=0.25)[0]
    total, seen = torch.zeros(11, 8), torch.zeros(11, 8)
    whole = model(images)[0, 1].item()
    for top in (0, 3, 6, 7):
        for left in (0, 3, 4):
            hidden = images.clone()
            hidden[..., top : top + 4, left : left + 4] = 0.25
            total[top : top + 4, left : left + 4] += whole - model(hidden)[0, 1].item()
            seen[top : top + 4, left : left + 4] += 1
    assert torch.allclose(found, total / seen, atol=1e-5)
    large = a.occlusion(model, images, torch.tensor([1]), patch=50, stride=50)
    fall = whole - model(torch.full_like(images, 0.5))[0, 1].item()
    assert torch.allclose(large, torch.full_like(large, fall), atol=1e-5)


def test_smooth_grad_is_the_mean_over_noisy_copies_row_by_row() -> None:
    model, images, seeds = ready(Pooled()), pictures(), torch.tensor([5, 6, 7])
    found = a.smooth_grad(model, images, TARGETS, seeds, samples=3, noise=0.3)
    for row in range(3):
        draw = torch.Generator().manual_seed(int(seeds[row]))
        spread = 0.3 * (images[row].max() - images[row].min())
        noisy = torch.stack([images[row] + spread * torch.randn(3, 12, 10, generator=draw) for _ in range(3)])
        mean = a.gradient(model, noisy, TARGETS[row].expand(3)).mean(0)
        assert torch.allclose(found[row], mean, atol=1e-6)
        alone = a.smooth_grad(model, images[row : row + 1], TARGETS[row : row + 1], seeds[row : row + 1], 3, 0.3)
        assert torch.allclose(found[row], alone[0], atol=1e-6)


METHODS: dict[str, Callable[[nn.Module, Tensor, Tensor], Tensor]] = {
    "gradient": a.gradient, "gradient_x_input": a.gradient_x_input, "guided": a.guided,
    "integrated": lambda model, images, targets: a.integrated_gradients(model, images, targets, steps=4),
    "occlusion": lambda model, images, targets: a.occlusion(model, images, targets, patch=4, stride=4)}


@pytest.mark.parametrize("name", METHODS)
def test_nothing_is_left_behind_and_the_batch_decides_nothing(name: str) -> None:
    model, images = ready(Pooled()), pictures()
    whole = METHODS[name](model, images, TARGETS)
    for row in range(3):
        alone = METHODS[name](model, images[row : row + 1], TARGETS[row : row + 1])[0]
        assert torch.allclose(alone, whole[row], atol=1e-6)
    assert all(value.grad is None for value in model.parameters()) and not images.requires_grad
    assert all(not module._forward_hooks and not module._backward_hooks for module in model.modules())
    assert not whole.requires_grad and whole.dtype == torch.float32


@pytest.mark.parametrize("name", METHODS)
def test_float32_under_autocast_and_gradients_in_inference_mode(name: str) -> None:
    model, images = ready(Pooled()), pictures()
    plain = METHODS[name](model, images, TARGETS)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(METHODS[name](model, images, TARGETS), plain)
    with torch.inference_mode():
        assert torch.equal(METHODS[name](model, images.clone(), TARGETS), plain)


def test_what_is_refused() -> None:
    model, images = ready(Pooled()), pictures()
    with pytest.raises(UnfitModel, match="training mode"):
        a.gradient(Pooled(), images, TARGETS)
    for wrong in (torch.tensor([0, 4, 1]), torch.tensor([0, -1, 1]), torch.tensor([0, 1])):
        with pytest.raises(ValueError, match="classes must be"):
            a.gradient(model, images, wrong)
    with pytest.raises(UnfitModel, match="no ReLU"):
        a.guided(ready(Linear(360)), images, torch.tensor([0, 1, 2]))
    with pytest.raises(UnfitModel, match="activation silu"):
        a.guided(nn.Sequential(nn.Flatten(), nn.Linear(360, 4), nn.SiLU()).eval(), images, TARGETS)
    with pytest.raises(UnfitModel, match="no classifier"):
        a.gradient(nn.Conv2d(3, 2, 1).eval(), images, TARGETS)

    class Detached(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.detach().flatten(1)

    with pytest.raises(UnfitModel, match="without a gradient"):
        a.gradient(Detached().eval(), images, TARGETS)
    for patch, stride in ((2, 3), (0, 0)):
        with pytest.raises(ValueError, match="occlusion"):
            a.occlusion(model, images, TARGETS, patch, stride)


def test_reductions() -> None:
    values = torch.tensor([[[[1.0]], [[-3.0]]]])
    assert a.largest(values).item() == 3 and a.added(values).item() == -2
    assert a.window_starts(10, 4, 3) == [0, 3, 6] and a.window_starts(11, 4, 3) == [0, 3, 6, 7]
    assert a.window_starts(3, 4, 2) == [0]
