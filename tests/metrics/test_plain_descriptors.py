"""Descriptors without a network: each against its definition written out, and what each of them does not see."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from migaki.metrics.plain_descriptors import colour_histogram, cosine_hash, thumbnail


def picture(channels: int = 3) -> torch.Tensor:
    draw = torch.Generator().manual_seed(4)
    return F.interpolate(torch.rand(1, channels, 6, 9, generator=draw), (64, 96), mode="bilinear")[0]


def test_a_thumbnail_is_the_mean_of_each_field_less_that_of_all() -> None:
    own = picture()
    fields = [[float(own[:, y : y + 8, x : x + 12].mean()) for x in range(0, 96, 12)] for y in range(0, 64, 8)]
    torch.testing.assert_close(thumbnail(own).reshape(8, 8), torch.tensor(fields) - np.mean(fields))
    torch.testing.assert_close(thumbnail(own * 0.5 + 0.2), thumbnail(own) * 0.5)


def test_a_hash_is_the_signs_of_low_frequencies() -> None:
    """The transform as a sum of cosines; a brighter picture and a noisy one keep nearly all of its bits."""
    own = picture()
    small = F.adaptive_avg_pool2d(own.mean(0, keepdim=True), 32)[0].double().numpy()
    n, k = np.arange(32), np.arange(8)[:, None]
    waves = np.cos(np.pi * (2 * n + 1) * k / 64) * np.where(k == 0, np.sqrt(1 / 32), np.sqrt(2 / 32))
    low = waves @ small @ waves.T
    found = cosine_hash(own)
    np.testing.assert_array_equal(found.numpy().reshape(8, 8) > 0, low > np.median(low))
    assert set(found.tolist()) == {1.0, -1.0} and float(found.sum()) == pytest.approx(0)
    noisy = (own * 0.8 + 0.1 + 0.02 * torch.randn(own.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    assert float((cosine_hash(noisy) != found).float().mean()) < 0.1
    assert float((cosine_hash(own.flip(2)) != found).float().mean()) > 0.2


def test_a_histogram_counts_colours_wherever_they_are() -> None:
    own = picture()
    counted: dict[tuple[int, ...], int] = {}
    for values in (own.flatten(1).T * 4).long().clamp(max=3).tolist():
        counted[tuple(values)] = counted.get(tuple(values), 0) + 1
    found = colour_histogram(own).square() * own[0].numel()
    for (red, green, blue), count in counted.items():
        assert float(found[red * 16 + green * 4 + blue]) == pytest.approx(count, rel=1e-4)
    torch.testing.assert_close(colour_histogram(own.flip(2)), colour_histogram(own))
    assert float(colour_histogram(own).norm()) == pytest.approx(1)
    grey = picture(1)
    torch.testing.assert_close(colour_histogram(grey), colour_histogram(grey.expand(3, -1, -1)))
