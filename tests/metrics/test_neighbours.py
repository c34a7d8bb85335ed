"""Nearest neighbours against double loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from migaki.core.errors import UserError
from migaki.metrics.neighbours import knn_gaze, knn_gaze_from_features, nearest, nearest_in_parts, pixel_features
from migaki.ops.gaze import to_vector


def test_nearest_equals_a_double_loop() -> None:
    rng = np.random.default_rng(0)
    real, images = rng.normal(size=(40, 7)).astype(np.float32), rng.normal(size=(9, 7)).astype(np.float32)
    for row, found in zip(images, nearest(real, images, 3), strict=True):
        distances = []
        for other in real:
            distances.append(sum((float(a) - float(b)) ** 2 for a, b in zip(row, other, strict=True)))
        assert found.tolist() == sorted(range(40), key=distances.__getitem__)[:3]


def test_nearest_takes_images() -> None:
    images = torch.rand(6, 1, 5, 4)
    assert nearest(images, images[[4, 2]]).tolist() == [[4], [2]]


@pytest.mark.parametrize("size", [1, 7, 40])
def test_a_set_in_parts_has_the_neighbours_of_the_whole(size: int) -> None:
    rng = np.random.default_rng(0)
    real, images = rng.normal(size=(40, 7)).astype(np.float32), rng.normal(size=(9, 7)).astype(np.float32)
    images[3] = real[33]
    places, distances = nearest_in_parts((real[start:start + size] for start in range(0, 40, size)), images)
    assert places.tolist() == nearest(real, images)[:, 0].tolist()
    np.testing.assert_allclose(distances, np.linalg.norm(real[places] - images, axis=1) / 7 ** 0.5, rtol=1e-5)
    assert places[3] == 33 and distances[3] == 0
    with pytest.raises(UserError, match="no images to search among"):
        nearest_in_parts([], images)


def test_features_ignore_brightness_and_contrast() -> None:
    images = torch.rand(4, 1, 36, 60)
    rows = pixel_features(images)
    assert rows.shape == (4, 18 * 30)
    np.testing.assert_allclose(rows.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(rows.std(1), 1, atol=1e-4)
    np.testing.assert_allclose(pixel_features(images * 0.4 + 0.3), rows, atol=1e-4)
    assert not pixel_features(torch.full((1, 1, 36, 60), 0.7)).any()


def test_gaze_is_the_mean_direction_of_the_neighbours() -> None:
    rng = np.random.default_rng(1)
    train, asked = rng.normal(size=(30, 5)).astype(np.float32), rng.normal(size=(4, 5)).astype(np.float32)
    gaze = torch.randn(30, 2) * 0.4
    found = knn_gaze_from_features(train, gaze, asked, k=3)
    for row, predicted in zip(asked, found, strict=True):
        order = np.argsort(((train - row) ** 2).sum(1))[:3]
        mean = sum(to_vector(gaze[i]) for i in order.tolist())
        torch.testing.assert_close(to_vector(predicted), mean / mean.norm(), atol=1e-5, rtol=0)


def test_a_training_image_finds_itself_however_lit() -> None:
    images, gaze = torch.rand(20, 1, 36, 60), torch.randn(20, 2) * 0.2
    torch.testing.assert_close(knn_gaze(images, gaze, images * 0.5 + 0.2, k=1), gaze, atol=1e-5, rtol=0)


def test_bad_input_is_refused() -> None:
    with pytest.raises(UserError, match="one size"):
        nearest(torch.rand(3, 4), torch.rand(3, 5))
    with pytest.raises(UserError, match="only 3"):
        nearest(torch.rand(3, 4), torch.rand(3, 4), 5)
