"""Layouts and clusters of pictures: what they know and what they do not, and k-means on clear cases."""

from __future__ import annotations

import torch

from migaki.ops.clusters import coarse_layout, k_means, squared_distances


def test_a_layout_knows_places_and_no_looks() -> None:
    image = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    layout = coarse_layout(image)
    assert layout.shape == (2, 48)
    torch.testing.assert_close(layout.norm(dim=1), torch.ones(2))
    dim = 0.3 * image + torch.tensor([0.1, 0.0, 0.5]).view(3, 1, 1)
    torch.testing.assert_close(coarse_layout(dim), layout, atol=1e-5, rtol=0)
    assert (coarse_layout(image.flip(3)) - layout).abs().max() > 0.1
    means = image.view(2, 3, 4, 4, 4, 6).mean((3, 5))
    naive = (means - means.mean((2, 3), keepdim=True)).flatten(1)
    torch.testing.assert_close(layout, naive / naive.norm(dim=1, keepdim=True))
    assert torch.equal(coarse_layout(torch.full((1, 3, 9, 9), 0.2)).round(decimals=2), torch.zeros(1, 48))


def test_distances_are_squares() -> None:
    rows, others = torch.tensor([[0.0, 0.0], [3.0, 1.0]]), torch.tensor([[3.0, 4.0]])
    torch.testing.assert_close(squared_distances(rows, others), torch.tensor([[25.0], [9.0]]))


def test_clear_clusters_are_found() -> None:
    draw = torch.Generator().manual_seed(3)
    truth = torch.randint(4, (200,), generator=draw)
    places = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0], [5.0, 5.0]])
    rows = places[truth] + 0.2 * torch.randn(200, 2, generator=draw)
    centres, members = k_means(rows, 4)
    for cluster in range(4):
        inside = truth[members == cluster]
        assert len(inside) and (inside == inside[0]).all()
        torch.testing.assert_close(centres[cluster], rows[members == cluster].mean(0))
    again, _ = k_means(rows, 4)
    assert torch.equal(again, centres)


def test_few_different_rows_give_few_clusters() -> None:
    centres, members = k_means(torch.tensor([[1.0], [2.0]]).repeat(5, 1), 7)
    assert sorted(centres.flatten().tolist()) == [1.0, 2.0] and len(set(members.tolist())) == 2
    assert len(k_means(torch.ones(3, 2), 2)[0]) == 1
