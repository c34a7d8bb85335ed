"""What both layouts of Unity Perception share: keypoints that belong to boxes, colours of masks, metrics as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from migaki.importers.annotations import Shape, class_name, number
from migaki.importers.frames import column_name, free_number, members, whole
from migaki.importers.importer import Array, Row, decimals

MAX_POINTS = 1000
"""Keypoints of one object, at most."""

_OF_OBJECTS = ("instanceId", "instance_id")  # metrics that name these have a value an object, not one a picture


def template_names(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of a template's keypoints, in the order of their indices."""
    labels = {whole(point["index"], 0, MAX_POINTS - 1): str(point.get("label") or point["index"]) for point in points}
    return [labels.get(index, str(index)) for index in range(max(labels, default=-1) + 1)]


def point_table(points: Sequence[Mapping[str, Any]], count: int) -> Array:
    """Keypoints (K, 3) x y v of one object; the centre of the first pixel is (0, 0), for Unity its corner is.

    Those that do not exist (state 0) stand at (0, 0); `count` is the number K of the template, 0 = as many as there
    are.
    """
    places = {whole(point["index"], 0, MAX_POINTS - 1): point for point in points}
    table = np.zeros((max(count, max(places, default=-1) + 1), 3))
    for index, point in places.items():
        state = whole(point["state"], 0, 2)
        if state:
            x, y = point["location"] if "location" in point else (point["x"], point["y"])
            table[index] = (number(x) - 0.5, number(y) - 0.5, state)
    return table


def with_points(shapes: Sequence[Shape], ids: Sequence[str], points: Mapping[str, tuple[str, Array]]) -> list[Shape]:
    """Boxes with the keypoints of the same object; objects that have keypoints alone get the box round these."""
    for shape, name in zip(shapes, ids, strict=True):
        if name in points:
            shape.points = points[name][1]
    found = list(shapes)
    for name, (label, table) in points.items():
        seen = table[table[:, 2] > 0, :2] + 0.5
        if name not in ids and len(seen) > 1:
            low, high = seen.min(0), seen.max(0)
            found.append(Shape(label, (low[0], low[1], high[0] - low[0], high[1] - low[1]), points=table))
    return found


def same_length(tables: Sequence[Array]) -> None:
    """ValueError where keypoints of differing numbers stand in one set."""
    if len({len(table) for table in tables}) > 1:
        raise ValueError("objects have differing numbers of keypoints, of several templates")


def single_points(table: Array) -> Row:
    """The row of a picture that shows one object: `keypoints` (K, 2), `keypoint_visible` (K,)."""
    return {"keypoints": decimals(table[:, :2]), "keypoint_visible": table[:, 2].astype(int).tolist()}


def metric_columns(name: str, values: Any) -> Row:
    """The free numbers of one metric as columns.

    A number, or a list that holds one, is a column of the metric's name, a list of numbers one column of lists.
    Objects with a label (`labelName`, `label_name`) give a column a label; other objects one a field. Values that
    belong to one object of the picture, texts and truth values are left out.
    """
    column = column_name(name)
    if isinstance(values, list) and len(values) == 1 and not isinstance(values[0], dict):
        values = values[0]
    if _is_number(values):
        return {column: free_number(values)}
    if isinstance(values, dict):
        values = [values]
    if not isinstance(values, list) or not values:
        return {}
    if all(_is_number(value) for value in values):
        return {column: [free_number(value) for value in values]}
    row: Row = {}
    for item in values:
        if isinstance(item, dict) and not any(key in item for key in _OF_OBJECTS):
            row |= _fields(column, item)
    return row


def _fields(column: str, item: Mapping[str, Any]) -> Row:
    label = item.get("labelName") or item.get("label_name")
    prefix = column_name(f"{column}_{class_name(label)}") if label is not None else column
    numbers = {key: value for key, value in item.items()
               if _is_number(value) and key not in ("labelId", "label_id")}
    if label is not None and len(numbers) == 1:
        return {prefix: free_number(next(iter(numbers.values())))}
    return {column_name(f"{prefix}_{key}"): free_number(value) for key, value in numbers.items()}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def label_of(value: Mapping[str, Any], names: Mapping[int, str]) -> str:
    """The name of an object's class: what it is called, else its number's name, else the number."""
    label = value.get("labelName", value.get("label_name"))
    if label is not None:
        return class_name(label)
    number_of = whole(value.get("labelId", value.get("label_id")))
    return names.get(number_of, str(number_of))


def spec_names(definition: Mapping[str, Any]) -> dict[int, str]:
    """Names of classes by number, as an annotation's definition has them."""
    return {whole(item.get("label_id", item.get("labelId"))): class_name(item.get("label_name", item.get("labelName")))
            for item in members(definition, "spec") if item.get("label_id", item.get("labelId")) is not None}
