"""COCO: the labels of a set as one annotation file, for tools that read keypoints and segmentations in that form.

Format: https://cocodataset.org/#format-data (object detection, keypoint detection).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import atomic_write
from migaki.data.files import framing
from migaki.data.files.image_file import read_header, show
from migaki.data.files.mask_file import ignored, read_mask
from migaki.data.files.member import place
from migaki.data.folder import ImageFolder
from migaki.data.sets.class_labels import MAX_CLASSES
from migaki.data.sets.labels import POINT_KEYS
from migaki.data.sets.objects import of_objects
from migaki.data.writers.annotated import Labels
from migaki.data.writers.coco_objects import ObjectAnnotations
from migaki.ops.regions import runs_of_region

Array = np.ndarray[Any, Any]

_VISIBLE = {"iris_outline": "iris_visible", "eyelid_outline": "eyelid_visible", "joints": "joint_visible",
            "keypoints": "keypoint_visible"}
_MASK_NAMES = {"eyes": ("skin", "sclera", "iris", "pupil")}  # by simulator


def write_coco(folder: ImageFolder, out: Path) -> dict[str, int]:
    """Write the labels of `folder` to the file `out` (whole or not at all).

    A set with `boxes` becomes one annotation an object: see `coco_objects`. In other sets,
    pixel positions (`core.batch.KEYS` with unit px) become one annotation with keypoints an image: v = 2 visible,
    1 hidden, 0 not labelled or outside of the image. Each class but 0 of a `mask` becomes an annotation with a
    run-length encoded segmentation, except for the numbers that mean "ignore" (`mask_file.ignored`); a `label` without
    a mask or keypoints becomes one whose box is the whole image. Categories are called as in `classes` (of labels) and
    `mask_classes` (of masks, by index) of dataset.json, else by number.
    COCO puts the corner of the first pixel at 0, we its centre: keypoints are moved by half a pixel.

    Positions that are missing or beyond the image have v = 0, and an image whose label is missing has no annotation.

    Returns the number of images, annotations and categories. Raises UserError for a set without such labels, and for
    labels that are no classes.
    """
    labels = Labels(folder)
    if labels.has_boxes:
        found = ObjectAnnotations(labels)
        return _write(folder, out, found.categories(), found.annotations())
    points = [key for key in POINT_KEYS if key in folder.labels and not of_objects(key)]
    classes = _mask_classes(folder) if "mask" in folder.files else []
    has_label = "label" in folder.labels and not points and not classes
    if not points and not classes and not has_label:
        if any("label" in row for row in folder.rows[:1]):
            folder.require_column("label")  # says what is the matter with it
        raise UserError(f"{show(folder.path)}: has no pixel positions, mask or class label: nothing that COCO can hold")
    if has_label:
        _check_classes(folder)
    for key in points:
        _check_flags(folder, key)
    categories = _categories(folder, points, classes, has_label)
    return _write(folder, out, categories, _annotations(folder, points, classes, has_label))


def _write(folder: ImageFolder, out: Path, categories: list[dict[str, Any]], annotations: Iterator[dict[str, Any]]
           ) -> dict[str, int]:
    counts = {"images": len(folder), "annotations": 0, "categories": len(categories)}
    with atomic_write(out, "w") as file:
        file.write('{"info": ' + json.dumps({"description": f"labels of {folder.path.name}", "version": "1.0"}))
        file.write(',\n"licenses": [],\n"categories": ' + json.dumps(categories))
        file.write(',\n"images": [')
        _write_all(file, _images(folder))
        file.write('],\n"annotations": [')
        counts["annotations"] = _write_all(file, annotations)
        file.write("]}\n")
    return counts


def _write_all(file: IO[str], values: Iterator[dict[str, Any]]) -> int:
    count = 0
    for value in values:
        file.write((",\n" if count else "\n") + _json(value))
        count += 1
    return count


def _json(value: Any) -> str:
    """JSON; bytes of names that are no UTF-8 as its escapes."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return text.encode(errors="backslashreplace").decode()


def _check_classes(folder: ImageFolder) -> None:
    """UserError unless all labels that are not missing are class numbers."""
    labels = folder.labels["label"]
    known = labels[np.isfinite(labels)]
    if not len(known):
        folder.require("label")
    if (known != np.floor(known)).any() or known.min() < 0 or known.max() >= MAX_CLASSES:
        raise UserError(f"{show(folder.path)}: 'label' holds other values than 0, 1, 2 ... (below {MAX_CLASSES}): "
                        "number the classes from 0, or write their names")


def _check_flags(folder: ImageFolder, key: str) -> None:
    """UserError where a set says of other points whether they are seen than it has."""
    seen = folder.labels.get(_VISIBLE.get(key, ""))
    if seen is not None and seen[:1].size != _flat(folder.labels[key][:1]).shape[1]:
        raise UserError(f"{show(folder.path)}: '{_VISIBLE[key]}' has {seen[:1].size} values an image and '{key}' "
                        f"{_flat(folder.labels[key][:1]).shape[1]} points: give each point one")


def _maker(folder: ImageFolder) -> str:
    """The simulator that made the set, if that is written down."""
    return str(folder.made.get("simulator", "object"))


def _categories(folder: ImageFolder, points: list[str], classes: list[int], has_label: bool) -> list[dict[str, Any]]:
    maker = _maker(folder)
    categories: list[dict[str, Any]] = []
    if points:
        names: list[str] = []
        skeleton: list[list[int]] = []
        for key in points:
            number, first = _flat(folder.labels[key][:1]).shape[1], len(names) + 1
            known = folder.made.get("keypoint_names") if key == "keypoints" else None
            is_whole = isinstance(known, list) and len(known) == number
            names += list(map(str, known)) if is_whole and known else [key] if number == 1 else [
                f"{key}_{n}" for n in range(number)]
            if key.endswith("_outline"):
                skeleton += [[first + n, first + (n + 1) % number] for n in range(number)]
        categories.append({"id": 1, "name": maker, "supercategory": maker, "keypoints": names, "skeleton": skeleton})
    known = _MASK_NAMES.get(maker, ()) or _mask_names(folder)
    for value in classes:
        name = known[value] if value < len(known) else f"class_{value}"
        categories.append({"id": len(categories) + 1, "name": name, "supercategory": maker})
    if has_label:
        top = int(np.nanmax(folder.labels["label"]))
        names = [*folder.classes, *(str(value) for value in range(len(folder.classes), top + 1))]
        categories += [{"id": n + 1, "name": name, "supercategory": maker} for n, name in enumerate(names)]
    return categories


def _mask_names(folder: ImageFolder) -> tuple[str, ...]:
    names = folder.made.get("mask_classes")
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _mask_classes(folder: ImageFolder) -> list[int]:
    """The numbers in all masks, but for the background and those that mean "ignore"."""
    found: set[int] = set()
    for index in range(len(folder)):
        mask = _mask(folder, index)
        if mask is not None:
            found.update(np.unique(mask).tolist())
    return sorted(found - {0} - ignored(found))


def _mask(folder: ImageFolder, index: int) -> Array | None:
    """The mask of one image in the image's size."""
    row = folder.rows[index]
    if row.get("mask_file_name") is None:
        return None
    mask = read_mask(place(folder.path, row, "mask_file_name"))
    resized: Array = framing.resize(mask[None], _size(folder, index), nearest=True)[0]
    return resized


def _size(folder: ImageFolder, index: int) -> tuple[int, int]:
    header = read_header(folder.file(index))
    return header.height, header.width


def _images(folder: ImageFolder) -> Iterator[dict[str, Any]]:
    for index, name in enumerate(folder.names):
        height, width = _size(folder, index)
        yield {"id": index + 1, "file_name": name, "height": height, "width": width}


def _annotations(folder: ImageFolder, points: list[str], classes: list[int], has_label: bool
                 ) -> Iterator[dict[str, Any]]:
    number = 0
    for index in range(len(folder)):
        parts: list[dict[str, Any]] = []
        height, width = _size(folder, index)
        if points:
            parts.append({"category_id": 1, **_keypoints(folder, index, points, height, width)})
        mask = _mask(folder, index) if classes else None
        if mask is not None:
            found = set(np.unique(mask).tolist())
            parts += [{"category_id": place_ + bool(points) + 1, **_segmentation(mask == value)}
                      for place_, value in enumerate(classes) if value in found]
        if has_label and np.isfinite(folder.labels["label"][index]):
            parts.append({"category_id": int(folder.labels["label"][index]) + 1, "bbox": [0, 0, width, height],
                          "area": width * height, "segmentation": []})
        for part in parts:
            number += 1
            yield {"id": number, "image_id": index + 1, "iscrowd": 0, **part}


def _flat(points: Array) -> Array:
    """(N, ..., d) as (N, K, 2)."""
    return points.reshape(len(points), -1, points.shape[-1])[..., :2]


def _keypoints(folder: ImageFolder, index: int, points: list[str], height: int, width: int) -> dict[str, Any]:
    """One object's keypoints and the box around those that are labelled."""
    triples: list[Array] = []
    for key in points:
        where = _flat(folder.labels[key][index : index + 1])[0].astype(np.float64) + 0.5
        seen = folder.labels.get(_VISIBLE.get(key, ""))
        flags = np.full(len(where), 2) if seen is None else np.where(seen[index].reshape(-1) > 0, 2, 1)
        if key == "keypoints" and seen is not None:
            flags = seen[index].reshape(-1).clip(0, 2)  # it says which are not labelled as well
        inside = np.isfinite(where).all(axis=1) & (where >= 0).all(axis=1) & (where <= (width, height)).all(axis=1)
        where[~inside] = 0
        triples.append(np.column_stack([where.round(3), np.where(inside, flags, 0)]))
    whole = np.concatenate(triples)
    kept = whole[whole[:, 2] > 0, :2]
    (left, top), (right, bottom) = (kept.min(axis=0), kept.max(axis=0)) if len(kept) else ((0.0, 0.0), (0.0, 0.0))
    box = [round(float(value), 3) for value in (left, top, right - left, bottom - top)]
    flat = [[float(x), float(y), int(v)] for x, y, v in whole]
    return {"keypoints": [value for triple in flat for value in triple], "num_keypoints": len(kept), "bbox": box,
            "area": round(box[2] * box[3], 3), "segmentation": []}


def _segmentation(region: Array) -> dict[str, Any]:
    """A region (H, W) of truth as runs down the columns, beginning with the number of zeros."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
    return {"segmentation": {"size": list(region.shape), "counts": runs_of_region(region)},
            "area": int(region.sum()), "bbox": [int(value) for value in box]}
