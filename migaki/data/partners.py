"""Which photographs are partners of a picture: all, those of its cluster of layouts, or the nearest in layout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from migaki.ops.clusters import coarse_layout, k_means, squared_distances

Partnership = Literal["random", "cluster", "nearest"]

MOST_PHOTOS = 2048
"""Photographs, spaced evenly over a folder, among which partners are sought."""

_NEAREST = 8  # photographs from which the partner of a picture is drawn


def spaced(count: int) -> range | list[int]:
    """Returns at most `MOST_PHOTOS` evenly spaced indices of `count` photographs."""
    if count <= MOST_PHOTOS:
        return range(count)
    return [number * count // MOST_PHOTOS for number in range(MOST_PHOTOS)]


class Partners:
    """The partners of pictures among photographs whose coarse layouts (`ops.clusters.coarse_layout`) are known.

    `cluster`: k-means of the photographs' layouts; partners of a picture are the photographs of the cluster whose
    centre is nearest. `nearest`: the eight photographs whose layouts are nearest.

    Shape: layouts (N, F), one row for each of the N indices
    """

    def __init__(self, way: Literal["cluster", "nearest"], indices: Sequence[int], layouts: Tensor,
                 clusters: int) -> None:
        self.way, self._indices, self._layouts = way, torch.as_tensor(list(indices)), layouts
        if way == "cluster":
            self._centres, self._members = k_means(layouts, min(clusters, len(layouts)))

    def of(self, image: Tensor) -> list[int]:
        """Returns the indices of the photographs that are partners of a picture (C, H, W); at least one."""
        layout = coarse_layout(image[None])
        if self.way == "nearest":
            away = squared_distances(layout, self._layouts)[0]
            found = away.sort(stable=True).indices[:_NEAREST]
            return [int(index) for index in self._indices[found]]
        order = squared_distances(layout, self._centres)[0].sort(stable=True).indices
        for centre in order:  # a centre may have lost its last member
            found = self._indices[self._members == centre]
            if len(found):
                return [int(index) for index in found]
        raise AssertionError("k-means left no photograph in any cluster")
