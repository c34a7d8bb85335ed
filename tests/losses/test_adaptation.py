"""Terms on unlabelled photographs, against NumPy written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from migaki.losses.adaptation import (
    centroid_labels,
    class_thresholds,
    confident_cross_entropy,
    domain_cross_entropy,
    known_images,
    moved_centroids,
    moved_sureness,
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


def test_weights_count_images() -> None:
    """A weight of 0 leaves an image out, of 2 counts it twice; without any image there is nothing to learn."""
    logits = torch.from_numpy(DRAW.normal(size=(5, 4)))
    weights = torch.tensor([1.0, 0.0, 2.0, 1.0, 0.0])
    chosen = logits[[0, 2, 2, 3]]
    torch.testing.assert_close(mutual_information(logits, weights), mutual_information(chosen), rtol=1e-5, atol=1e-6)
    assert mutual_information(logits, torch.zeros(5)).item() == pytest.approx(0, abs=1e-5)
    teacher = torch.softmax(torch.from_numpy(DRAW.normal(size=(5, 4)) * 3), 1)
    loss, share = confident_cross_entropy(logits, teacher, 0.0, torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0]))
    kept = [0, 2, 3]
    only, _ = confident_cross_entropy(logits[kept], teacher[kept], 0.0)
    assert loss.item() == pytest.approx(only.item() * 3 / 5, rel=1e-5) and share.item() == pytest.approx(0.6)


def test_each_class_has_its_threshold() -> None:
    logits, teacher = torch.zeros(2, 2), torch.tensor([[0.7, 0.3], [0.3, 0.7]])
    _, share = confident_cross_entropy(logits, teacher, torch.tensor([0.6, 0.8]))
    assert share.item() == 0.5
    found = class_thresholds(torch.tensor([0.8, 0.4, 0.1, 0.0]), 0.9)
    torch.testing.assert_close(found, torch.tensor([0.9, 0.45, 0.45, 0.9]))


def test_known_images_by_entropy_and_margin() -> None:
    probabilities = torch.from_numpy(softmax(DRAW.normal(size=(200, 4)) * 3))
    entropy = -(probabilities * probabilities.log()).sum(1) / math.log(4)
    ordered = probabilities.sort(1, descending=True).values
    margin = ordered[:, 0] - ordered[:, 1]
    for most, least in ((0.5, 0.0), (1.0, 0.4), (0.6, 0.3)):
        expected = (entropy <= most) & (margin >= least)
        found = known_images(probabilities, most, least)
        assert torch.equal(found.bool(), expected) and 0 < expected.sum() < 200
    assert known_images(torch.tensor([[1.0, 0.0, 0.0]]), 0.1, 0.9).item() == 1  # a zero is no trouble


def test_sureness_follows_the_readings_of_known_images() -> None:
    probabilities = torch.tensor([[0.9, 0.1, 0.0], [0.7, 0.3, 0.0], [0.2, 0.8, 0.0], [0.1, 0.5, 0.4]])
    known = torch.tensor([1.0, 1.0, 1.0, 0.0])
    fresh = moved_sureness(torch.zeros(3), probabilities, known, 0.9)
    torch.testing.assert_close(fresh, torch.tensor([0.8, 0.8, 0.0]))
    later = moved_sureness(torch.tensor([0.4, 0.8, 0.6]), probabilities, known, 0.9)
    torch.testing.assert_close(later, torch.tensor([0.4 + 0.1 * 0.4, 0.8, 0.6]))
