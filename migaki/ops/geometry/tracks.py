"""Tracks: features of several pictures that matches join into one point of the scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]


class Tracks(NamedTuple):
    """The observations (M,) of all tracks: picture, feature of the picture, and track 0 .. num_tracks - 1."""

    views: Array
    features: Array
    tracks: Array
    num_tracks: int


def join_tracks(counts: Sequence[int], joined: Mapping[tuple[int, int], Array]) -> Tracks:
    """Returns the tracks of the matches (K, 2) between pairs of pictures with `counts` features.

    A track with two features of one picture is wrong somewhere and is left out.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    start = np.concatenate([[0], np.cumsum(counts)])
    edges = [np.stack([start[a] + kept[:, 0], start[b] + kept[:, 1]]) for (a, b), kept in sorted(joined.items())]
    total = int(start[-1])
    rows, columns = np.concatenate(edges, 1) if edges else np.zeros((2, 0), np.int64)
    graph = coo_matrix((np.ones(len(rows), bool), (rows, columns)), shape=(total, total))
    _, label = connected_components(graph, directed=False)
    view = np.repeat(np.arange(len(counts)), counts)
    sizes = np.bincount(label, minlength=1)
    views_of_track = np.bincount(np.unique(np.stack([label, view]), axis=1)[0], minlength=len(sizes))
    good = (sizes >= 2) & (views_of_track == sizes)
    number = np.cumsum(good) - 1
    kept = good[label]
    return Tracks(view[kept], np.arange(total)[kept] - start[view[kept]], number[label[kept]], int(good.sum()))
