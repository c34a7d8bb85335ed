"""Few labels: which rows of a set have one, and a draw of some of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.seeds import generator
from migaki.data.folder import ImageFolder
from migaki.data.sets.class_names import is_blank


def with_labels(folder: ImageFolder) -> list[int]:
    """Returns the places of the rows whose `label` is neither missing nor blank, ascending."""
    values = folder.labels.get("label")
    if values is not None and values.ndim == 1:  # a column with gaps, or subfolders that are the classes
        return [int(place) for place in np.flatnonzero(~np.isnan(values.astype(np.float64)))]
    return [place for place, row in enumerate(folder.rows) if not is_blank(row.get("label"))]


def balanced_draw(labels: Tensor, count: int, seed: int) -> Tensor:
    """Returns the places of `count` labels, as equally many of each class as there are, chosen by `seed`, ascending.

    Shape: labels (N,) int64; result (count,) int64
    """
    order = torch.randperm(len(labels), generator=generator(seed, count))
    rank = torch.zeros(len(labels), dtype=torch.int64)  # of each row among those of its class
    for one in torch.unique(labels):
        places = order[labels[order] == one]
        rank[places] = torch.arange(len(places))
    by_rank = order[torch.argsort(rank[order], stable=True)]
    return by_rank[:count].sort().values


def require_every_class(labelled: ImageFolder, count: int = 0, names: Sequence[str] = (), wanted: int = 0) -> None:
    """UserError if a class has no label in `labelled`.

    Args:
        count: the number of classes; 0 = those that the folder names, or as many as its numbers say.
        wanted: the labels that were asked for, 0 for all.
    """
    names = names or labelled.classes
    found = set(labelled.labels["label"].tolist())
    lacking = sorted(set(range(count or len(names) or int(max(found)) + 1)) - found)
    if not lacking:
        return
    called = names[lacking[0]] if names else lacking[0]
    if wanted:
        raise UserError(f"--labels {wanted}: no label of class {called} is among them: give more")
    or_else = "take it out of the classes that dataset.json names" if names else "number the classes from 0 on"
    raise UserError(f"{show(labelled.path)}: has no label of class {called}: give some pictures that class, or "
                    f"{or_else}")
