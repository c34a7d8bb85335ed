"""Clusters by style: against scikit-learn, and on textures whose kinds are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score, silhouette_score

from migaki.losses.style import gram
from migaki.ops.style_clusters import silhouette, style_clusters, style_vectors


def test_the_silhouette_is_that_of_a_library() -> None:
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(30, 5, generator=draw)
    rows[:12] += 3
    members = torch.tensor([0] * 12 + [1] * 17 + [2])  # a cluster of one counts 0
    assert silhouette(rows, members) == pytest.approx(float(silhouette_score(rows.numpy(), members.numpy())), abs=1e-5)


def test_vectors_keep_the_distances_of_rooted_grams() -> None:
    maps = torch.randn(9, 4, 6, 6, generator=torch.Generator().manual_seed(1))
    grams = gram(maps)
    rows, columns = np.triu_indices(4)
    plain = grams.numpy()[:, rows, columns]
    plain = np.sign(plain) * np.sqrt(abs(plain))
    plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    found = style_vectors([grams]).numpy()
    naive = np.linalg.norm(plain[:, None] - plain[None], axis=2)
    assert np.allclose(np.linalg.norm(found[:, None] - found[None], axis=2), naive, atol=1e-4)
    assert style_vectors([grams], 3).shape == (9, 3)
    assert np.allclose(style_vectors([grams], 3).numpy(), found[:, :3], atol=1e-5)


def test_kinds_of_texture_are_found_again() -> None:
    """Stripes across and along, of any width and contrast: their Grams differ in which edges are strong."""
    draw = np.random.default_rng(0)
    y, x = np.mgrid[:40, :40]
    images = torch.from_numpy(np.stack([
        draw.uniform(0.2, 0.5) * np.sin((x, y)[number % 2] * draw.uniform(0.5, 1.5)) + draw.normal(0, 0.05, (40, 40))
        for number in range(24)])).float()
    maps = torch.stack([images.diff(dim=2)[:, :-1].abs(), images.diff(dim=1)[..., :-1].abs()], 1)
    found = style_clusters(style_vectors([gram(maps)]))
    assert adjusted_rand_score([number % 2 for number in range(24)], found.members.tolist()) == 1
    sizes = [len(order) for order in found.order]
    assert sizes == sorted(sizes, reverse=True) and sum(sizes) == 24
    assert all((found.members[list(order)] == number).all() for number, order in enumerate(found.order))


def test_the_best_number_is_chosen_and_the_most_central_come_first() -> None:
    draw = torch.Generator().manual_seed(2)
    centres = torch.tensor([[0.0, 0], [9, 0], [0, 9]])
    rows = torch.cat([centres[k] + 0.3 * torch.randn(count, 2, generator=draw)
                      for k, count in ((0, 5), (1, 9), (2, 7))])
    found = style_clusters(rows)
    assert [len(order) for order in found.order] == [9, 7, 5] and found.silhouette > 0.8
    assert set(found.order[0]) == set(range(5, 14))
    own = rows[5:14]
    first = 5 + int((own[:, None] - own).norm(dim=2).sum(1).argmin())
    assert found.order[0][0] == first
    with pytest.raises(ValueError, match="at least 4"):
        style_clusters(rows[:3])
    alike = style_clusters(torch.ones(5, 2))  # nothing to part
    assert len(alike.order) == 1 and alike.order[0] == (0, 1, 2, 3, 4)
