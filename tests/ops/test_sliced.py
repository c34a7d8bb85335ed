"""Sliced transport: against a naive twin in NumPy, and by what it promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from migaki.ops.appearance import mean_deviation
from migaki.ops.sliced import match_sliced, random_bases, sliced_quantiles

SIDES = [1, 3]


def pictures(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def patches_of(image: np.ndarray, side: int) -> np.ndarray:
    """(C, H, W) to (H, W, C side side), the border repeated."""
    half = side // 2
    padded = np.pad(image, ((0, 0), (half, half), (half, half)), mode="edge")
    rows = [[padded[:, y : y + side, x : x + side].ravel() for x in range(image.shape[2])]
            for y in range(image.shape[1])]
    return np.array(rows)


def naive(image: np.ndarray, photo: np.ndarray, bases: np.ndarray, side: int) -> np.ndarray:
    """Sorted projections are swapped for the photograph's, and each pixel takes the mean of its patches.

    For two pictures of one size without ties."""
    half, (channels, height, width) = side // 2, image.shape
    for basis in bases:
        seen, wanted = patches_of(image, side) @ basis.T, patches_of(photo, side) @ basis.T
        moved = np.empty_like(seen)
        for k in range(len(basis)):
            order = seen[..., k].ravel().argsort()
            flat = np.empty(height * width)
            flat[order] = np.sort(wanted[..., k].ravel())
            moved[..., k] = flat.reshape(height, width) - seen[..., k]
        moves = moved @ basis
        image = image.copy()
        total, count = np.zeros_like(image), np.zeros((height, width))
        for y in range(height):
            for x in range(width):
                patch = moves[y, x].reshape(channels, side, side)
                for dy in range(-half, half + 1):
                    for dx in range(-half, half + 1):
                        if 0 <= y + dy < height and 0 <= x + dx < width:
                            total[:, y + dy, x + dx] += patch[:, dy + half, dx + half]
                            count[y + dy, x + dx] += 1
        image = image + total / count
    return image


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_the_naive_twin(side: int, channels: int) -> None:
    image, photo = pictures((1, channels, 6, 7)), pictures((1, channels, 6, 7), 1) ** 2
    bases = random_bases(channels, side, 2)
    if channels == side == 1:
        bases = bases.abs()
    found = match_sliced(image, sliced_quantiles(photo, bases, side, 42), bases, side)
    twin = naive(image[0].numpy(), photo[0].numpy(), bases.double().numpy(), side)
    np.testing.assert_allclose(found[0], twin, atol=1e-5)


def test_bases_are_orthonormal_and_the_same_at_every_call() -> None:
    bases = random_bases(3, 3, 4)
    torch.testing.assert_close(bases @ bases.mT, torch.eye(27).expand(4, 27, 27), atol=1e-5, rtol=0)
    assert torch.equal(bases, random_bases(3, 3, 4)) and not torch.equal(bases[0], bases[1])


def test_colours_that_go_together_are_taken() -> None:
    """Red and green of the photograph rise together; statistics by channel would not know."""
    image, grey = pictures((1, 3, 24, 24)), pictures((1, 1, 24, 24), 1)
    photo = torch.cat([grey, 1 - 0.5 * grey, 0.3 * grey], 1)
    bases = random_bases(3, 1, 24)
    found = match_sliced(image, sliced_quantiles(photo, bases, 1, 256), bases, 1)
    for one, other in zip(mean_deviation(found), mean_deviation(photo), strict=True):
        torch.testing.assert_close(one, other, atol=0.01, rtol=0)
    wanted, given, made = (np.corrcoef(one[0].flatten(1).numpy()) for one in (photo, image, found))
    assert np.abs(made - wanted).max() < 0.05 < np.abs(given - wanted).max()


@pytest.mark.parametrize("side", SIDES)
def test_equal_patches_stay_equal(side: int) -> None:
    """A drawing's flat ground takes one colour, however often it is moved."""
    drawing = torch.zeros(1, 3, 41, 57)
    drawing[..., 10:20, 10:20] = torch.tensor([0.8, 0.1, 0.3]).view(3, 1, 1)
    photo = pictures((1, 3, 41, 57), 2).float()
    bases = random_bases(3, side, 3)
    found = match_sliced(drawing, sliced_quantiles(photo, bases, side, 256), bases, side)
    far = found[..., 8:-8, 30:-8]  # nothing but ground within reach of three passes, 2 px each
    assert torch.equal(far, far[..., :1, :1].expand_as(far))
    assert found.std() > 0.01


def test_patches_take_structure_that_colours_do_not() -> None:
    """Checks of the photograph: their neighbours differ, as those of a picture matched by single pixels do not."""
    image = torch.linspace(0, 1, 24).view(1, 1, 1, 24).expand(1, 1, 24, 24).double() + 0.05 * pictures((1, 1, 24, 24))
    photo = ((torch.arange(24).view(-1, 1) + torch.arange(24)) % 2).double().view(1, 1, 24, 24)
    photo = photo + 0.01 * pictures((1, 1, 24, 24), 1)
    steps = {}
    for side in SIDES:
        bases = random_bases(1, side, 8)
        found = match_sliced(image, sliced_quantiles(photo, bases, side, 256), bases, side)
        steps[side] = float(found.diff(dim=3).abs().mean())
    assert steps[3] > 1.5 * steps[1]
