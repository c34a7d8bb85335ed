"""Terms on unlabelled photographs, against NumPy written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from migaki.losses.adaptation import (
    centroid_labels,
    confident_cross_entropy,
    domain_cross_entropy,
    moved_centroids,
    mutual_information,
)

DRAW = np.random.default_rng(0)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def test_mutual_information() -> None:
    logits = DRAW.normal(size=(7, 4)) * 2
    p = softmax(logits)
    mean = p.mean(axis=0)
    expected = -(mean * np.log(mean)).sum() + (p * np.log(p)).sum(axis=1).mean()
    assert mutual_information(torch.from_numpy(logits)).item() == pytest.approx(expected, rel=1e-5)
    sure = torch.eye(4) * 50
    assert mutual_information(sure).item() == pytest.approx(math.log(4), abs=1e-5)  # sure, every class: the most
    assert mutual_information(sure[:1].repeat(5, 1)).item() == pytest.approx(0, abs=1e-5)  # sure, one class: nothing
    assert mutual_information(torch.zeros(5, 4)).item() == pytest.approx(0, abs=1e-5)  # unsure: nothing


def test_confident_cross_entropy() -> None:
    logits, teacher = DRAW.normal(size=(6, 3)), softmax(DRAW.normal(size=(6, 3)) * 2)
    threshold = float(np.median(teacher.max(axis=1)))
    total = 0.0
    for row, known in zip(softmax(logits), teacher, strict=True):
        if known.max() >= threshold:
            total -= math.log(row[known.argmax()])
    loss, share = confident_cross_entropy(torch.from_numpy(logits), torch.from_numpy(teacher), threshold)
    assert loss.item() == pytest.approx(total / 6, rel=1e-5)
    assert 0 < share.item() < 1


def test_centroids() -> None:
    features, weights = DRAW.normal(size=(9, 5)), softmax(DRAW.normal(size=(9, 3)))
    centres = (weights.T @ features) / weights.sum(axis=0)[:, None]
    begun = moved_centroids(torch.zeros(3, 5), torch.from_numpy(features), torch.from_numpy(weights), 0.9)
    np.testing.assert_allclose(begun.numpy(), centres, rtol=1e-4)
    cosine = [[f @ c / np.linalg.norm(f) / np.linalg.norm(c) for c in centres] for f in features]
    assert centroid_labels(torch.from_numpy(features), begun).tolist() == np.argmax(cosine, axis=1).tolist()
    certain = np.eye(3)[[0] * 9]  # a batch of the first class alone leaves the other centroids where they are
    moved = moved_centroids(begun, torch.from_numpy(features), torch.from_numpy(certain), 0.9)
    torch.testing.assert_close(moved[1:], begun[1:])
    np.testing.assert_allclose(moved[0].numpy(), 0.9 * centres[0] + 0.1 * features.mean(axis=0), rtol=1e-4)


def test_domain_cross_entropy_is_that_of_the_logistic_model() -> None:
    logits = torch.tensor([[-2.0], [0.5]])
    probability = 1 / (1 + np.exp(-logits.numpy()))
    assert domain_cross_entropy(logits, is_target=True).item() == pytest.approx(-np.log(probability).mean(), rel=1e-5)
    assert domain_cross_entropy(logits, is_target=False).item() == pytest.approx(-np.log(1 - probability).mean(),
                                                                                 rel=1e-5)
