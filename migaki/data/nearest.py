"""Nearest neighbours by cosine, exact, block by block, so that memory does not grow with the number of rows."""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from migaki.core.errors import UserError

Array = NDArray[np.float32]
Places = NDArray[np.int64]
Engine = Literal["exact", "faiss"]

_BLOCK: Final = 2**14  # rows at a time
_QUERIES: Final = 2**10
_SPARE: Final = 8


def nearest(queries: Array, rows: Array, count: int, *, engine: Engine = "exact",
            block: int = _BLOCK) -> tuple[Array, Places]:
    """Returns the cosines (Q, K) of the `count` nearest rows of each query, the highest first, and their places.

    K is `count`, or the number of rows if there are fewer. Of equal cosines the first row comes first, by `exact`; by
    `faiss` any. Both sides are of unit length. `rows` may be a memory map, which is read once for every 1,024 queries.

    Args:
        engine: `exact`, or `faiss` (extra `migaki[copies]`), which is exact too and faster, but for the order of equal
            cosines.

    Shape: queries (Q, D), rows (N, D)
    """
    count = min(count, len(rows))
    if engine == "faiss":
        return _by_faiss(queries, rows, count)
    scores = np.full((len(queries), count), -np.inf, np.float32)
    places = np.full((len(queries), count), -1, np.int64)
    for first in range(0, len(queries), _QUERIES):
        part = np.asarray(queries[first : first + _QUERIES], np.float32)
        best = scores[first : first + _QUERIES], places[first : first + _QUERIES]
        for start in range(0, len(rows), block):
            found = part @ np.asarray(rows[start : start + block], np.float32).T
            # Most blocks hold nothing better for most queries: a search of all their cosines would cost as much as
            # the product itself.
            better = np.flatnonzero(found.max(1) > best[0][:, -1])
            found = found[better]
            chosen = _best(found, count)
            every = (np.concatenate([best[0][better], np.take_along_axis(found, chosen, 1)], 1),
                     np.concatenate([best[1][better], chosen + start], 1))
            order = np.argsort(-every[0], 1, kind="stable")[:, :count]
            best[0][better], best[1][better] = (np.take_along_axis(one, order, 1) for one in every)
    return scores, places


def _best(found: Array, count: int) -> Places:
    """Returns the places (Q, K) of the best of a block, in the order of the rows: the `count` best and a few more, the
    first of equal ones.
    """
    most = min(count + _SPARE, found.shape[1])
    chosen: Places = np.sort(np.argpartition(-found, most - 1, 1)[:, :most], 1)
    if most == found.shape[1]:
        return chosen
    values = np.take_along_axis(found, chosen, 1)
    last = -np.partition(-values, count - 1, 1)[:, count - 1]
    for row in np.flatnonzero(values.min(1) == last):  # of more equal ones than were taken it took any
        above, equal = (np.flatnonzero(one) for one in (found[row] > last[row], found[row] == last[row]))
        chosen[row] = np.sort(np.concatenate([above, equal[: most - len(above)]]))
    return chosen


def _by_faiss(queries: Array, rows: Array, count: int) -> tuple[Array, Places]:
    try:
        import faiss
    except ImportError as error:
        raise UserError("--search faiss needs an extra: pip install 'migaki[copies]'") from error
    index: Any = faiss.IndexFlatIP(rows.shape[1])
    for start in range(0, len(rows), _BLOCK):
        index.add(np.ascontiguousarray(rows[start : start + _BLOCK], np.float32))
    scores, places = index.search(np.ascontiguousarray(queries, np.float32), count)
    return scores.astype(np.float32), places.astype(np.int64)
