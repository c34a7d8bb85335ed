"""Labels of objects as arrays, after the pixels of their images moved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from migaki.core.errors import UserError
from migaki.data.sets.carry import Move, carried
from migaki.data.sets.objects import filled, listed_objects, object_key, of_objects

Array = np.ndarray[Any, Any]


def move_objects(arrays: dict[str, Array], moves: Sequence[Move], named: Callable[[int], str]) -> None:
    """Move boxes and the points of objects (N, M, ...) in place of those in `arrays`; objects that are out of their
    picture leave every array. `moves` has one entry an image, `named` says how image n is called in an error."""
    if all(move.is_identity for move in moves):
        return
    keys = {name: key for name in arrays if of_objects(name) and (key := object_key(name)) is not None}
    lists: dict[str, list[Any]] = {name: [values.tolist() for values in listed_objects(arrays[name], key)]
                                   for name, key in keys.items()}
    for index, move in enumerate(moves):
        row = carried({name: values[index] for name, values in lists.items()}, move, named(index))
        for name, value in row.items():
            lists[name][index] = value
    for name, key in keys.items():
        whole, problem = filled(lists[name], key)
        if whole is None:
            raise UserError(f"{named(0)}: '{name}': {problem}")
        arrays[name] = whole
