"""The local adversarial loss against eq. 1-4 written out in NumPy, place by place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from migaki.losses.adversarial import gradient_penalty, patch_accuracy, patch_cross_entropy


def probability_of_refined(maps: np.ndarray) -> np.ndarray:
    """D of eq. 2: softmax over the two maps (B, 2, h, w), the second of which stands for refined."""
    e = np.exp(maps - maps.max(axis=1, keepdims=True))
    return (e / e.sum(axis=1, keepdims=True))[:, 1]


@pytest.mark.parametrize("shape", [(1, 2, 1, 1), (3, 2, 4, 5), (2, 2, 9, 14)])
def test_equations_1_to_4(shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    refined_maps, real_maps = random.normal(0, 2, shape), random.normal(0, 2, shape)
    d_refined, d_real = probability_of_refined(refined_maps), probability_of_refined(real_maps)
    discriminator = refiner = 0.0
    for b in range(shape[0]):
        for y in range(shape[2]):
            for x in range(shape[3]):
                discriminator -= np.log(d_refined[b, y, x]) + np.log(1 - d_real[b, y, x])  # eq. 2
                refiner -= np.log(1 - d_refined[b, y, x])  # eq. 4, first term
    places = d_refined.size
    logits = {name: torch.from_numpy(maps[:, 1:] - maps[:, :1])
              for name, maps in (("refined", refined_maps), ("real", real_maps))}
    ours = patch_cross_entropy(logits["refined"], is_refined=True) + patch_cross_entropy(logits["real"],
                                                                                       is_refined=False)
    assert ours.item() == pytest.approx(discriminator / places, rel=1e-9)
    assert patch_cross_entropy(logits["refined"], is_refined=False).item() == pytest.approx(refiner / places, rel=1e-9)


def test_gradients_point_the_right_way() -> None:
    logits = torch.zeros(2, 1, 3, 3, requires_grad=True)
    (up,) = torch.autograd.grad(patch_cross_entropy(logits, is_refined=True), logits)
    (down,) = torch.autograd.grad(patch_cross_entropy(logits, is_refined=False), logits)
    assert (up < 0).all() and (down > 0).all()  # a descent raises the first, lowers the second


def test_certain_judgements_stay_finite() -> None:
    for value in (-1e4, 1e4):
        logits = torch.full((1, 1, 2, 2), value, requires_grad=True)
        for is_refined in (True, False):
            loss = patch_cross_entropy(logits, is_refined=is_refined)
            (gradient,) = torch.autograd.grad(loss, logits)
            assert torch.isfinite(loss) and torch.isfinite(gradient).all()
    # A refiner that is found out still gets its full gradient: the reason for this form of the loss.
    logits = torch.full((1, 1, 1, 1), 50.0, requires_grad=True)
    (gradient,) = torch.autograd.grad(patch_cross_entropy(logits, is_refined=False), logits)
    assert gradient.item() == pytest.approx(1.0)


def test_accuracy_counts_places_of_the_set_in_question() -> None:
    logits = torch.tensor([1.0, 2.0, -3.0, 4.0]).view(1, 1, 2, 2)
    assert patch_accuracy(logits, is_refined=True) == 0.75
    assert patch_accuracy(logits, is_refined=False) == 0.25


def test_the_loss_does_not_depend_on_the_size_of_the_map() -> None:
    logits = torch.randn(2, 1, 3, 4)
    tiled = patch_cross_entropy(logits.repeat(2, 1, 5, 3), is_refined=True)
    torch.testing.assert_close(tiled, patch_cross_entropy(logits, is_refined=True))


def test_gradient_penalty_of_a_linear_judge() -> None:
    weights = torch.randn(1, 2, 3, 3)
    images = torch.randn(4, 2, 3, 3, requires_grad=True)
    logits = torch.nn.functional.conv2d(images, weights)  # (4, 1, 1, 1): the gradient is `weights` everywhere
    assert gradient_penalty(logits, images).item() == pytest.approx(0.5 * weights.square().sum().item(), rel=1e-5)
