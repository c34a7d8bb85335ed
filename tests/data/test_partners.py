"""Partners of pictures: those alike in layout, whatever their looks."""

from __future__ import annotations

import torch
from torch import Tensor

from migaki.data.partners import MOST_PHOTOS, Partners, spaced
from migaki.ops.clusters import coarse_layout


def picture(left: float, right: float, seed: int) -> Tensor:
    """Two halves, with noise."""
    image = torch.full((3, 16, 16), left)
    image[..., 8:] = right
    return image + 0.02 * torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(seed))


def layouts(pictures: list[Tensor]) -> Tensor:
    return torch.cat([coarse_layout(one[None]) for one in pictures])


PHOTOS = [picture(0.1 + 0.02 * n, 0.5 + 0.02 * n, n) for n in range(10)]  # bright on the right
PHOTOS += [picture(0.9 - 0.02 * n, 0.6, 50 + n) for n in range(10)]  # bright on the left
INDICES = [3 * n for n in range(20)]


def test_a_cluster_holds_pictures_of_one_layout() -> None:
    partners = Partners("cluster", INDICES, layouts(PHOTOS), clusters=2)
    assert partners.of(picture(0.3, 0.4, 99)) == INDICES[:10]
    assert partners.of(picture(0.9, 0.2, 98)) == INDICES[10:]
    assert len(Partners("cluster", INDICES[:2], layouts(PHOTOS[:2]), clusters=9).of(PHOTOS[0])) == 1


def test_the_nearest_are_the_nearest() -> None:
    found = Partners("nearest", INDICES, layouts(PHOTOS), clusters=1).of(PHOTOS[13])
    assert found[0] == INDICES[13] and len(found) == 8 and min(found) >= INDICES[10]


def test_large_folders_are_looked_at_evenly() -> None:
    assert list(spaced(5)) == [0, 1, 2, 3, 4]
    many = spaced(10 * MOST_PHOTOS)
    assert len(many) == MOST_PHOTOS and list(many[:3]) == [0, 10, 20]
