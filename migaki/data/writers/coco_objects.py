"""COCO: boxes of objects with their classes, crowds, keypoints and regions.

Format: https://cocodataset.org/#format-data (object detection, keypoint detection).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from migaki.core.files import show
from migaki.core.notices import notice
from migaki.data.writers.annotated import Labelled, Labels
from migaki.ops.regions import runs_of_region

Array = np.ndarray[Any, Any]


class ObjectAnnotations:
    """The categories and annotations of a set with `boxes`.

    An object's region is what its class covers of the mask inside of its box, one pixel wider; so where boxes of one
    class overlap, both have the pixels that they share. Regions of a class that is in the mask and is no class of
    boxes, such as sky, become one annotation a picture.
    """

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self._places = {name: index for index, name in enumerate(labels.mask_classes)} if labels.has_masks else {}
        if labels.has_masks and not self._places:
            notice(f"{show(labels.folder.path)}: its masks are left out, since dataset.json does not name their "
                   'indices: add "mask_classes": ["background", ...]')
        self._stuff = [name for name in labels.mask_classes[1:] if name not in labels.classes] if self._places else []

    def categories(self) -> list[dict[str, Any]]:
        """One category a class, numbered from 1."""
        points = self.labels.num_points
        more = {"keypoints": self.labels.point_names(points), "skeleton": []} if points else {}
        return [{"id": place, "name": name, "supercategory": "object", **(more if name not in self._stuff else {})}
                for place, name in enumerate((*self.labels.classes, *self._stuff), 1)]

    def annotations(self) -> Iterator[dict[str, Any]]:
        """The annotations of all pictures, in their order."""
        number = 0
        for picture in self.labels.pictures():
            mask = self.labels.mask(picture) if self._places else None
            parts = [self._object(picture, place, mask) for place in range(len(picture.boxes))]
            parts += self._regions(mask) if mask is not None else []
            for part in parts:
                number += 1
                yield {"id": number, "image_id": picture.index + 1, **part}

    def _regions(self, mask: Array) -> list[dict[str, Any]]:
        """The regions of classes that no box has."""
        found = []
        for number, name in enumerate(self._stuff, len(self.labels.classes) + 1):
            region = mask == self._places[name]
            if region.any():
                found.append({"category_id": number, "iscrowd": 0, "bbox": _bounds(region), **_region(region)})
        return found

    def _object(self, picture: Labelled, place: int, mask: Array | None) -> dict[str, Any]:
        box = [round(float(value), 4) for value in picture.boxes[place]]
        number = picture.classes[place]
        found: dict[str, Any] = {"category_id": number + 1, "iscrowd": int(picture.crowd[place]), "bbox": box,
                                 "area": round(box[2] * box[3], 3), "segmentation": []}
        index = self._places.get(self.labels.classes[number])
        if mask is not None and index is not None:
            region = _inside(mask, box, index)
            found |= _region(region) if region.any() else {}
        if picture.points is not None:
            triples = picture.points[place].astype(np.float64)
            seen = triples[:, 2:] > 0
            places = np.where(seen, (triples[:, :2] + 0.5).round(4), 0)
            found["keypoints"] = [value for (x, y), flag in zip(places.tolist(), triples[:, 2].tolist(), strict=True)
                                  for value in (x, y, int(max(flag, 0)))]
            found["num_keypoints"] = int(seen.sum())
        return found


def _inside(mask: Array, box: list[float], index: int) -> Array:
    """Where a mask has `index` inside of a box, one pixel wider."""
    left, top, width, height = box
    region = np.zeros(mask.shape, np.bool_)
    rows = slice(max(math.floor(top) - 1, 0), max(math.ceil(top + height) + 1, 0))
    columns = slice(max(math.floor(left) - 1, 0), max(math.ceil(left + width) + 1, 0))
    region[rows, columns] = mask[rows, columns] == index
    return region


def _region(region: Array) -> dict[str, Any]:
    return {"segmentation": {"size": list(region.shape), "counts": runs_of_region(region)}, "area": int(region.sum())}


def _bounds(region: Array) -> list[int]:
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return [int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)]
