"""Parts of a picture: where they lie, and how the nearest of parts become those of the whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from migaki.data.feature_store import FeatureStore
from migaki.nets.texture_features import open_features
from migaki.ops.picture_parts import PARTS, picture_parts, side_of
from migaki.stages.copy_evidence import double_level, doubles_of, in_parts, merged, rivals_of, usual_likeness


def test_the_whole_the_middle_and_the_corners() -> None:
    large = torch.arange(100.0).view(1, 1, 10, 10) / 100
    parts = picture_parts(large, 6)
    assert side_of(6) == 10 and parts.shape == (1, PARTS, 1, 6, 6)
    for number, (top, left) in enumerate(((2, 2), (0, 0), (0, 4), (4, 0), (4, 4)), 1):
        torch.testing.assert_close(parts[0, number], large[0, :, top : top + 6, left : left + 6])
    assert abs(float(parts[0, 0].mean() - large.mean())) < 0.01


def test_a_picture_counts_by_its_likest_part() -> None:
    near = np.array([[0.9, 0.5, 0.1], [0.8, 0.7, 0.6]], np.float32)  # two parts of one picture
    found = np.array([[4, 2, 7], [2, 4, 5]])
    scores, places = merged(near, found, 2, 3)
    np.testing.assert_allclose(scores, [[0.9, 0.8, 0.6]])
    assert places.tolist() == [[4, 2, 5]]
    assert merged(near, found, 1, 2)[1].tolist() == [[4, 2], [2, 4]]
    rows, query = np.eye(8, dtype=np.float32), np.zeros((1, 2, 8), np.float32)
    np.testing.assert_allclose(usual_likeness(query, rivals_of(scores, places, rows, 0.98), None), [0.7])
    rows[2] = rows[4]  # a double of the likest, saved again
    np.testing.assert_allclose(usual_likeness(query, rivals_of(scores, places, rows, 0.98), None), [0.6])
    assert usual_likeness(query, rivals_of(scores[:, :1], places[:, :1], rows, 0.98), None).tolist() == [0]


def test_doubles_are_told_by_how_like_pictures_usually_are() -> None:
    """Where a network finds all pictures alike, only what is liker than that is a double."""
    draw = np.random.default_rng(0)
    unlike, alike = draw.normal(size=(60, 16)), 1 + 0.05 * draw.normal(size=(60, 16))
    unlike, alike = (np.float32(one / np.linalg.norm(one, axis=1, keepdims=True)) for one in (unlike, alike))
    assert double_level(unlike) == 0.95 and 0.9999 >= double_level(alike) > 0.995
    unlike[7] = unlike[3]
    assert np.flatnonzero(doubles_of(3, np.arange(60), unlike, double_level(unlike))).tolist() == [3, 7]
    np.testing.assert_array_equal(doubles_of(3, np.arange(60), alike, double_level(alike)), np.arange(60) == 3)


def test_what_is_usual_may_come_from_other_pictures() -> None:
    queries = np.array([[[1.0, 0], [0, 1]]], np.float32)
    background = np.array([[0.6, 0.8], [1, 0], [0, -1], [-1, 0]], np.float32)
    # The nearest of either part: 1 (the second), 0.8 (the first), 0 (the third or the fourth).
    np.testing.assert_allclose(usual_likeness(queries, [np.ones(4, np.float32)], background), [0.6], atol=1e-6)


def test_the_store_keeps_parts_behind_each_other(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    store, network = FeatureStore(tmp_path / "store"), open_features("random")
    rows = store.rows([tmp_path / "one.png"], network, "size_3", size=32, whole=True, parts=True)
    alone = store.rows([tmp_path / "one.png"], network, "size_3", size=32, whole=True)
    split = in_parts(rows, PARTS)
    assert rows.shape[1] == PARTS * alone.shape[1] and split.shape == (1, PARTS, alone.shape[1])
    np.testing.assert_allclose(np.linalg.norm(split, axis=2), 1, rtol=1e-5)
    cosine = float(split[0, 0] @ alone[0] / np.linalg.norm(alone[0]))
    assert cosine > 0.99  # the whole picture, by way of a larger one
