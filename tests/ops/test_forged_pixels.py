"""Forgeries: against the exact membrane, plain loops, and what each choice says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage, sparse
from scipy.sparse.linalg import spsolve

from migaki.ops.forgery import (
    KINDS,
    RATIOS,
    REGIONS,
    Choice,
    Dice,
    altered,
    colour_matched,
    forge,
    region_levels,
    sharpness,
    soft_mask,
)
from migaki.ops.membrane import membrane


def dice(seed: int = 0) -> Dice:
    return Dice(torch.Generator().manual_seed(seed), torch.device("cpu"))


def pictures(count: int = 4, height: int = 24, width: int = 28, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 5, generator=draw)
    return 0.1 + 0.8 * torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)


def ellipse(height: int, width: int) -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    return ((x / 0.6) ** 2 + (y / 0.5) ** 2).sqrt()[None, None]


def exact(values: np.ndarray, known: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """Laplace's equation on the unknown pixels, with the border repeated beyond the edge."""
    height, width = values.shape
    number = -np.ones_like(known, int)
    number[~known] = np.arange((~known).sum())
    rows, columns, entries, right = [], [], [], np.zeros((~known).sum())
    for y, x in np.argwhere(~known):
        here = number[y, x]
        for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            b, a = min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)
            rows.append(here)
            columns.append(here)
            entries.append(1.0)
            if known[b, a]:
                right[here] += values[b, a]
            else:
                rows.append(here)
                columns.append(number[b, a])
                entries.append(-1.0)
    solved = values.copy()
    solved[~known] = spsolve(sparse.csr_matrix((entries, (rows, columns))), right)
    return solved


def test_the_membrane_is_nearly_the_exact_solution() -> None:
    values = pictures(1)[:, :1]
    known = (ellipse(24, 28) >= 1).float()
    found = membrane(values, known)[0, 0].numpy()
    wanted = exact(values[0, 0].double().numpy(), known[0, 0].numpy() > 0)
    inside = known[0, 0].numpy() == 0
    assert np.abs(found - wanted)[inside].max() < 0.05 * np.ptp(wanted) and inside.sum() > 100
    np.testing.assert_array_equal(found[~inside], values[0, 0].numpy()[~inside])
    assert np.abs(found - wanted)[inside].mean() < 0.01 * np.ptp(wanted)


def test_a_flat_border_gives_a_flat_membrane() -> None:
    known = (ellipse(9, 31) >= 1).float()
    made = membrane(torch.where(known > 0, 0.3, 7.0).expand(2, 3, 9, 31), known.expand(2, 1, 9, 31))
    torch.testing.assert_close(made, torch.full((2, 3, 9, 31), 0.3))
    assert torch.isfinite(membrane(torch.ones(1, 1, 5, 5), torch.zeros(1, 1, 5, 5))).all()  # nothing is known


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_what_it_says(kind: str) -> None:
    source, donor, levels = pictures(2), pictures(2, seed=1), ellipse(24, 28).expand(2, -1, -1, -1)
    softness = torch.tensor([0.2, 0.4])
    choice = Choice(torch.zeros(2, dtype=torch.long), torch.full((2,), KINDS.index(kind)), torch.tensor([0, 2]))
    made, touched = forge(source, donor, choice, levels, softness, torch.zeros(2, dtype=torch.bool))
    inside = (levels < 1).float()
    for number in range(2):
        one, other, mask = source[number].numpy(), donor[number].numpy(), inside[number].numpy()
        if kind == "gradient":
            fill = np.stack([exact(one[c].astype(float) - other[c], mask[0] == 0) for c in range(3)])
            expected = np.where(mask > 0, (other + fill).clip(0, 1), one)
            assert np.abs(made[number].numpy() - expected).max() < 0.05
        else:
            edge = (1 - levels[number].numpy()) / float(softness[number]) + 0.5
            opacity = mask if kind == "none" else edge.clip(0, 1) * (RATIOS[(0, 2)[number]] if kind == "mixup" else 1)
            np.testing.assert_allclose(made[number].numpy(), opacity * other + (1 - opacity) * one, atol=1e-5)
        changed = (made[number] - source[number]).abs().amax(0) > 1e-6
        assert not (changed & ~touched[number]).any() and float(touched[number].float().mean()) > 0.1
    assert choice.shares().tolist() == ([0.25, 0.75] if kind == "mixup" else [1.0, 1.0])


def test_colours_are_matched_inside() -> None:
    source, donor = pictures(2), 0.3 * pictures(2, seed=1) + 0.4
    mask = (ellipse(24, 28) < 1).float().expand(2, -1, -1, -1)
    made = colour_matched(donor, source, mask)
    for image, other in zip(made, source, strict=True):
        for plane, wanted in zip(image, other, strict=True):
            inside = mask[0, 0] > 0
            assert float(plane[inside].mean()) == pytest.approx(float(wanted[inside].mean()), abs=1e-4)
    choice = Choice(*(torch.zeros(2, dtype=torch.long) for _ in range(3)))
    levels = ellipse(24, 28).expand(2, -1, -1, -1)
    first = forge(source, donor, choice, levels, torch.ones(2), torch.tensor([True, False]))[0]
    torch.testing.assert_close(first[1], forge(source, donor, choice, levels, torch.ones(2),
                                               torch.tensor([False, False]))[0][1])
    assert not torch.equal(first[0], forge(source, donor, choice, levels, torch.ones(2),
                                           torch.tensor([False, False]))[0][0])


def test_regions_lie_where_they_should() -> None:
    middles = {"face": (0.5, 0.52), "eyes": (0.5, 0.4), "nose": (0.5, 0.55), "mouth": (0.5, 0.75)}
    for number, name in enumerate(REGIONS):
        inside = region_levels(torch.full((200,), number), 40, 30, dice(number))[:, 0] < 1
        shares = inside.float().mean((1, 2))
        assert shares.min() > 0.005 and shares.max() < 0.95 and shares.std() > 0.003
        mean = inside.float().mean(0)
        place = [float((mean.sum(axis) * torch.linspace(0, 1, size)).sum() / mean.sum())
                 for axis, size in ((0, 30), (1, 40))]
        if name in middles:
            assert place == pytest.approx(middles[name], abs=0.06)
    assert not torch.equal(region_levels(torch.zeros(1, dtype=torch.long), 20, 20, dice(1)),
                           region_levels(torch.zeros(1, dtype=torch.long), 20, 20, dice(2)))


def test_the_edge_is_as_soft_as_it_should_be() -> None:
    levels = torch.linspace(0.5, 1.5, 101).view(1, 1, 1, 101)
    made = soft_mask(levels, torch.tensor([0.2]))[0, 0, 0]
    assert made[levels[0, 0, 0] <= 0.9].min() > 0.999 and made[levels[0, 0, 0] >= 1.1].max() < 1e-3
    assert float(made[50]) == pytest.approx(0.5, abs=1e-4)


def test_the_picture_altered_is_near_itself_and_not_itself() -> None:
    image = pictures(20)
    made = altered(image, dice())
    apart = (made - image).abs().mean((1, 2, 3))
    assert float(apart.min()) > 0.005 and float(apart.max()) < 0.25
    assert float(made.min()) >= 0 and float(made.max()) <= 1


def test_sharpness_falls_with_blur() -> None:
    image = pictures(3) + 0.05 * torch.randn(3, 3, 24, 28, generator=torch.Generator().manual_seed(0))
    soft = torch.nn.functional.avg_pool2d(image, 3, 1, 1)
    assert (sharpness(soft) < sharpness(image)).all()
    grey = image[:1].mean(1)[0].double().numpy()
    expected = ndimage.laplace(grey)[1:-1, 1:-1].var(ddof=1)
    assert float(sharpness(image[:1])[0]) == pytest.approx(expected, rel=1e-3)


def test_forging_is_float32_under_autocast() -> None:
    source, donor, levels = pictures(2), pictures(2, seed=1), ellipse(24, 28).expand(2, -1, -1, -1)
    choice = Choice(torch.zeros(2, dtype=torch.long), torch.tensor([1, 2]), torch.zeros(2, dtype=torch.long))
    given = (source, donor, choice, levels, torch.ones(2), torch.tensor([True, False]))
    with torch.autocast("cpu", torch.bfloat16):
        made = forge(*given)
    for one, other in zip(made, forge(*given), strict=True):
        assert torch.equal(one, other)
