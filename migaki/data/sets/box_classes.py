"""Classes of boxes: checked, and matched by name with those of other sets and of models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.notices import notice
from migaki.data.folder import ImageFolder
from migaki.data.sets.class_labels import MAX_CLASSES
from migaki.data.sets.class_names import listed, places_of
from migaki.data.sets.objects import of_objects

Array = np.ndarray[Any, Any]

OBJECT_KEYS = ("boxes", "classes", "crowd", "object_keypoints")
"""The columns that a detector learns from; without the last two a set has no crowds and no keypoints."""


def box_prefix(folder: ImageFolder) -> str:
    """`predicted_` in a folder whose boxes a model has read (`migaki apply`), else nothing.

    What was read goes before labels that the pictures may have had: who trains on what was read must not learn from
    real labels unawares.
    """
    return "predicted_" if "predicted_boxes" in folder.labels else ""


def complete_boxes(folder: ImageFolder, num_keypoints: int) -> dict[str, str]:
    """Where each of `OBJECT_KEYS` stands in the folder; columns that it lacks are filled in.

    A set without `classes` has one class, 0. UserError where the lists of a picture differ in length, or the keypoints
    in number.
    """
    prefix = box_prefix(folder)
    folder.require(f"{prefix}boxes")
    labels = dict(folder.labels)
    there = labels[f"{prefix}boxes"][..., 3] != 0
    if f"{prefix}classes" not in labels:
        if any(row.get(f"{prefix}classes") for row in folder.rows):  # there, but of no use
            folder.require_column(f"{prefix}classes")
        labels[f"{prefix}classes"] = np.where(there, 0, -1)
    classes = labels[f"{prefix}classes"]
    if classes.ndim != 2 or not _same_lengths(there, classes >= 0):
        raise UserError(f"{show(folder.path)}: '{prefix}classes' has not one entry for each of '{prefix}boxes' in "
                        "every row: mend the metadata")
    crowd = labels.get(f"{prefix}crowd")
    if crowd is None or crowd.shape[1] != there.shape[1]:
        labels[f"{prefix}crowd"] = _widened(crowd, there.shape)
    name = f"{prefix}object_keypoints"
    points = labels.get(name)
    if num_keypoints and points is not None and points.shape[1] and points.shape[2] != num_keypoints:
        raise UserError(f"{show(folder.path)}: its objects have {points.shape[2]} keypoints where {num_keypoints} were "
                        "expected: choose folders of one kind")
    if points is None or not points.shape[1] or not num_keypoints:
        labels[name] = np.full((*there.shape, num_keypoints, 3), -1, np.float32)
    elif points.shape[1] != there.shape[1]:
        raise UserError(f"{show(folder.path)}: '{name}' has not one entry for each box in every row: mend the metadata")
    folder.__dict__["labels"] = labels
    return {key: f"{prefix}{key}" for key in OBJECT_KEYS}


def drop_unsure(folder: ImageFolder, least: float) -> int:
    """Take boxes that a model read with a score below `least` out of a folder; returns how many are left.

    Folders with boxes of their own are left alone, and give -1.
    """
    scores = folder.labels.get("predicted_scores")
    if box_prefix(folder) == "" or scores is None:
        return -1
    kept = scores >= least
    order = np.argsort(~kept, axis=1, kind="stable")  # what is kept moves to the front
    labels = dict(folder.labels)
    most = max(1, int(kept.sum(1).max(initial=0)))
    for name, values in labels.items():
        if name.startswith("predicted_") and of_objects(name) and values.shape[:2] == kept.shape:
            pad = 0 if name == "predicted_boxes" else -1
            wide = (*kept.shape, *(1,) * (values.ndim - 2))
            blank = np.where(kept.reshape(wide), values, np.asarray(pad, values.dtype))
            labels[name] = np.take_along_axis(blank, order.reshape(wide), 1)[:, :most]
    folder.__dict__["labels"] = labels
    return int(kept.sum())


def agreed_box_classes(folders: Sequence[ImageFolder], wanted: int = 0,
                       names: Sequence[str] = ()) -> tuple[int, tuple[str, ...]]:
    """How many classes the boxes of several folders have together, and their names; they are numbered alike.

    The rules are those of `class_labels.agreed_classes`.
    """
    keys = [f"{box_prefix(folder)}classes" for folder in folders]
    counts = [_count(folder, key) for folder, key in zip(folders, keys, strict=True)]
    named = [folder.class_names(key) for folder, key in zip(folders, keys, strict=True)]
    every = tuple(names) or _union(named)
    if not every:
        if 0 < wanted < max(counts):
            raise UserError(f"{show(folders[0].path)}: its boxes have {max(counts)} classes, more than "
                            f"--num-object-classes {wanted} allow")
        return wanted or max(counts), ()
    for folder, key, own, count in zip(folders, keys, named, counts, strict=True):
        if not own and count and (folder.labels[key] >= 0).any():
            raise UserError(f"{show(folder.path)}: numbers the classes of its boxes, which have names elsewhere "
                            f'({listed(every)}): write "classes": [names in the order of the numbers] into its '
                            "dataset.json")
        _renumber(folder, key, every, f"--object-classes {' '.join(map(show, names))}")
    if 0 < wanted < len(every):
        raise UserError(f"{show(folders[0].path)}: its boxes have {len(every)} classes ({listed(every)}), more than "
                        f"--num-object-classes {wanted} allow")
    return wanted or len(every), every


def match_box_classes(folder: ImageFolder, config: Any, model: object) -> None:
    """Number the classes of a folder's boxes as the outputs of a model are.

    UserError for a class that the model does not know. Systems without boxes and folders without them are left alone.
    """
    count, names = getattr(config, "num_object_classes", 0), getattr(config, "object_classes", ())
    if not count or "boxes" not in folder.labels:
        return
    complete_boxes(folder, 0)
    own = folder.class_names("classes")
    if names and own:
        _renumber(folder, "classes", names, model)
        return
    highest = _count(folder, "classes") - 1
    if highest >= count or (own and len(own) != count):
        known = listed(names) if names else f"{count} classes without names"
        found = f"classes {listed(own)}" if own else f"class {highest}"
        raise UserError(f"{show(folder.path)}: its boxes have {found}, and {show(str(model))} knows {known}: train the "
                        "model again on sets that name their classes, or give a set of the same classes")
    if names or own:
        which = "the model" if own else "the set"
        notice(f"{show(folder.path)}: {which} has no names for the classes of boxes, so they are taken for "
               f"{listed(own or names)} in this order")


def name_boxes(rows: Sequence[dict[str, Any]], config: Any) -> None:
    """Put the names of the classes of boxes that a model has read in the place of their numbers, where it knows them.
    """
    names = getattr(config, "object_classes", ())
    for row in rows if names else ():
        if "predicted_classes" in row:
            row["predicted_classes"] = [names[number] for number in row["predicted_classes"]]


def check_object_names(system: str, config: Any) -> None:
    """UserError unless the names in a configuration fit its outputs."""
    names = config.object_classes
    if len(names) > config.num_object_classes or len(set(names)) != len(names):
        raise UserError(f"{system}: object_classes has {len(names)} names for {config.num_object_classes} classes: "
                        "give each class one name of its own")


def _same_lengths(first: Array, second: Array) -> bool:
    return bool((first.sum(1) == second.sum(1)).all())


def _widened(crowd: Array | None, shape: tuple[int, ...]) -> Array:
    """Crowds (N, m) filled up to (N, M); none without the column."""
    whole = np.zeros(shape, np.int64)
    if crowd is not None:
        most = min(shape[1], crowd.shape[1])
        whole[:, :most] = crowd[:, :most]
    return whole


def _count(folder: ImageFolder, key: str) -> int:
    classes = folder.labels[key]
    highest, names = int(classes.max(initial=0)), folder.class_names(key)
    if highest >= (len(names) or MAX_CLASSES):
        limit = f"its {len(names)} names of classes" if names else f"{MAX_CLASSES} classes"
        raise UserError(f"{show(folder.path)}: '{key}' goes up to {highest}, beyond {limit}: number the classes from 0")
    return highest + 1


def _renumber(folder: ImageFolder, key: str, names: Sequence[str], known_by: object) -> None:
    own = folder.class_names(key)
    places = places_of(own, names)
    used = set(np.unique(folder.labels[key]).tolist()) - {-1}
    strange = [own[number] for number in sorted(used) if places[number] < 0]
    if strange:
        raise UserError(f"{show(folder.path)}: some of its boxes are of {listed(strange)}, which {show(str(known_by))} "
                        f"does not know (it knows {listed(names)}): leave them out, or train with them")
    folder.number_classes(key, names, places)


def _union(named: Sequence[Sequence[str]]) -> tuple[str, ...]:
    every: list[str] = []
    for names in named:
        every += [name for name, place in zip(names, places_of(names, every), strict=True) if place < 0]
    return tuple(every)
