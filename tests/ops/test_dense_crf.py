"""The dense CRF: as loops over all pairs of pixels compute it, and on the lattice nearly so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from migaki.ops.dense_crf import Potentials, exact_bilateral, lattice_bilateral, mean_field
from migaki.ops.permutohedral import build_lattice

POTENTIALS = Potentials(spatial_sigma=1.7, spatial_weight=1.3, bilateral_sigma=4.0, colour_sigma=0.15,
                        bilateral_weight=2.1, rounds=2)


def picture(batch: int, height: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Flat patches of 4x4 px with a little noise, and random scores of three classes."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 3, -(-height // 4), -(-width // 4), generator=draw)
    flat = coarse.repeat_interleave(4, 2).repeat_interleave(4, 3)[..., :height, :width]
    noise = 0.02 * torch.randn(flat.shape, generator=draw)
    return (flat + noise).clamp(0, 1), torch.randn(batch, 3, height, width, generator=draw)


def naive(scores: Tensor, image: Tensor, own: Potentials) -> np.ndarray:
    """Mean field of one picture by loops, in double precision."""
    classes, height, width = scores.shape
    places = [(y, x) for y in range(height) for x in range(width)]
    near, alike = np.zeros((len(places),) * 2), np.zeros((len(places),) * 2)
    for i, (y, x) in enumerate(places):
        for j, (v, u) in enumerate(places):
            apart = (y - v) ** 2 + (x - u) ** 2
            colour = float(((image[:, y, x] - image[:, v, u]).double() ** 2).sum())
            near[i, j] = np.exp(-apart / (2 * own.spatial_sigma**2))
            alike[i, j] = np.exp(-apart / (2 * own.bilateral_sigma**2) - colour / (2 * own.colour_sigma**2))
    unary = scores.double().numpy().reshape(classes, -1)

    def softmax(values: np.ndarray) -> np.ndarray:
        powers = np.exp(values - values.max(0))
        return powers / powers.sum(0)

    found = softmax(unary)
    for _ in range(own.rounds):
        message = unary.copy()
        for weight, kernel in ((own.spatial_weight, near), (own.bilateral_weight, alike)):
            root = 1 / np.sqrt(kernel.sum(1))
            message += weight * found @ (root[:, None] * kernel * root)
        found = softmax(message)
    return found.reshape(classes, height, width)


@pytest.mark.parametrize("changes", [{}, {"spatial_weight": 0.0}, {"bilateral_weight": 0.0}, {"rounds": 4}])
def test_the_exact_sum_is_that_of_loops_over_all_pairs(changes: dict[str, float]) -> None:
    images, scores = picture(2, 6, 7)
    own = replace(POTENTIALS, **changes)  # type: ignore[arg-type]
    found = mean_field(scores, images, own, exact=True)
    for one, score, image in zip(found, scores, images, strict=True):
        np.testing.assert_allclose(one.numpy(), naive(score, image, own), atol=2e-5)


def test_the_lattice_sums_nearly_what_the_exact_filter_sums() -> None:
    images, scores = picture(2, 32, 32)
    own = replace(POTENTIALS, bilateral_sigma=8.0)
    for values in (scores, torch.ones_like(scores[:, :1])):
        exact, fast = (make(images, own)(values) for make in (exact_bilateral, lattice_bilateral))
        fast = fast * exact.norm() / fast.norm()  # the factor of the lattice is free
        assert float((fast - exact).norm() / exact.norm()) < 0.25
    own = replace(own, bilateral_weight=5.0, rounds=5)
    exact, fast = (mean_field(scores, images, own, exact=is_exact).argmax(1) for is_exact in (True, False))
    assert float((exact == fast).float().mean()) > 0.9 > 0.6 > float((exact == scores.argmax(1)).float().mean())


def test_pictures_of_a_batch_do_not_speak_with_each_other() -> None:
    images, scores = picture(3, 9, 12)
    together = mean_field(scores, images, POTENTIALS)
    alone = torch.cat([mean_field(scores[k : k + 1], images[k : k + 1], POTENTIALS) for k in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together.sum(1), torch.ones(3, 9, 12))


def test_noise_in_the_scores_of_two_flat_regions_goes() -> None:
    truth = torch.zeros(1, 24, 24, dtype=torch.int64)
    truth[:, 5:17, 6:20] = 1
    image = torch.where(truth[:, None] == 1, torch.tensor([0.8, 0.2, 0.3]).view(1, 3, 1, 1), 0.5)
    scores = torch.stack([1 - truth, truth], 1).float() + torch.randn(1, 2, 24, 24, generator=torch.Generator(
    ).manual_seed(1))
    own = Potentials(spatial_sigma=1, bilateral_sigma=8, colour_sigma=0.1, rounds=5)
    before = float((scores.argmax(1) == truth).float().mean())
    for is_exact in (True, False):
        after = float((mean_field(scores, image, own, exact=is_exact).argmax(1) == truth).float().mean())
        assert before < 0.85 and after > 0.97


@pytest.mark.parametrize("is_exact", [True, False])
def test_it_is_differentiable_in_the_scores(is_exact: bool) -> None:
    images, scores = picture(1, 6, 6)
    scores.requires_grad_()
    pick = torch.randn(scores.shape, generator=torch.Generator().manual_seed(3))

    def loss(values: Tensor) -> Tensor:
        return (pick * mean_field(values, images, POTENTIALS, exact=is_exact)).sum()

    (slope,) = torch.autograd.grad(loss(scores), scores)
    step = 1e-2 * torch.randn(scores.shape, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        risen = (loss(scores + step) - loss(scores - step)) / 2
    assert float(risen) == pytest.approx(float((slope * step).sum()), rel=2e-2) and float(slope.abs().max()) > 1e-3


def test_it_computes_in_float32_under_autocast() -> None:
    images, scores = picture(1, 8, 8)
    expected = mean_field(scores, images, POTENTIALS)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(mean_field(scores, images, POTENTIALS), expected)
        assert mean_field(scores.bfloat16(), images, POTENTIALS).dtype == torch.float32


def test_what_cannot_be_summed_is_refused() -> None:
    images, scores = picture(1, 8, 8)
    with pytest.raises(ValueError, match="do not fit pictures"):
        mean_field(scores, images[..., :7], POTENTIALS)
    with pytest.raises(ValueError, match="at most 4096"):
        mean_field(torch.zeros(1, 2, 80, 80), torch.zeros(1, 3, 80, 80), POTENTIALS, exact=True)
    with pytest.raises(ValueError, match="larger standard deviations"):
        mean_field(scores, images, replace(POTENTIALS, colour_sigma=1e-6))


def test_barycentric_weights_are_shares_of_the_corners_around() -> None:
    features = 3 * torch.rand(50, 4, generator=torch.Generator().manual_seed(0))
    lattice = build_lattice(features, torch.zeros(50, dtype=torch.int64), 1, (3.0,) * 4)
    assert float(lattice.weight.min()) > -1e-5
    torch.testing.assert_close(lattice.weight.sum(1), torch.ones(50))
    count = lattice.before.shape[1]
    assert int(lattice.corner.max()) == count - 1 and lattice.before.shape == (5, count)
    # Whose neighbour before I am, is my neighbour after.
    for before, after in zip(lattice.before, lattice.after, strict=True):
        there = (before < count).nonzero()[:, 0]
        assert torch.equal(after[before[there]], there)
