"""Neighbours against loops: no picture votes for itself."""

from __future__ import annotations

import math

import pytest
import torch
from refusals import message

from migaki.metrics.neighbourhood import Neighbourhood


def test_against_loops() -> None:
    draw = torch.Generator().manual_seed(0)
    features, labels = 3 + torch.randn(30, 4, generator=draw), torch.randint(0, 3, (30,), generator=draw)
    features[:, 2] *= 40
    metric = Neighbourhood(count=5)
    for part in (slice(0, 12), slice(12, 30)):
        metric.update({"features": features[part].clone()}, {"label": labels[part]})
    for column in features.T:  # in units of its deviation from its mean
        column -= sum(map(float, column)) / 30
        column /= math.sqrt(sum(float(value) ** 2 for value in column) / 30)
    right = 0
    for i in range(30):
        near = sorted(((float(torch.cosine_similarity(features[i], features[k], 0)), k) for k in range(30) if k != i),
                      reverse=True)[:5]
        votes = [0.0] * 3
        for cosine, k in near:
            votes[int(labels[k])] += math.exp(cosine / 0.07)
        right += votes.index(max(votes)) == int(labels[i])
    assert metric.compute() == {"count": 30, "neighbours": pytest.approx(right / 30)}
    assert metric.baseline().figures["neighbours"] == pytest.approx(float(torch.bincount(labels).max()) / 30)


def test_a_picture_alone_has_no_neighbours() -> None:
    metric = Neighbourhood()
    metric.update({"features": torch.ones(1, 3)}, {"label": torch.tensor([0])})
    assert "two labelled pictures" in message(metric.compute)
