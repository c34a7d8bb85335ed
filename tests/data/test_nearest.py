"""Nearest neighbours: the same as sorting all cosines, whatever the blocks; memory maps; faiss where it is there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusals import message

from migaki.data.nearest import nearest


def rows(count: int, seed: int) -> Any:
    made = np.random.default_rng(seed).normal(size=(count, 6)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@pytest.mark.parametrize("block", [1, 7, 100])
@pytest.mark.parametrize("count", [1, 5, 60])
def test_it_sorts_all_cosines(block: int, count: int, tmp_path: Path) -> None:
    queries, every = rows(9, 0), rows(40, 1)
    every[11] = every[3]  # of equal ones the first comes first
    queries[0] = every[3]
    np.save(tmp_path / "rows.npy", every)
    scores, places = nearest(queries, np.load(tmp_path / "rows.npy", mmap_mode="r"), count, block=block)
    assert scores.shape == (9, min(count, 40))
    twin = queries @ every.T
    np.testing.assert_allclose(scores, -np.sort(-twin, 1)[:, :count], atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(twin, places, 1), scores, atol=1e-6)
    if count > 1 and block == 100:
        assert places[0, :2].tolist() == [3, 11]


@pytest.mark.parametrize("block", [7, 64, 100, 1000])
def test_of_many_equal_rows_the_first_are_found(block: int) -> None:
    every = np.zeros((300, 6), np.float32)
    every[:, 0] = 1  # products are exact
    every[[5, 250]], every[299] = np.eye(6, dtype=np.float32)[1], np.eye(6, dtype=np.float32)[2]
    queries = np.array([[1, 0, 0, 0, 0, 0], [0.6, 0.8, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0]], np.float32)
    places = nearest(queries, every, 4, block=block)[1]
    assert places.tolist() == [[0, 1, 2, 3], [5, 250, 0, 1], [299, 0, 1, 2]]


def test_faiss_finds_the_same_or_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert "migaki[copies]" in message(lambda: nearest(rows(2, 0), rows(5, 1), 1, engine="faiss"))
