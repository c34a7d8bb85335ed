"""Class labels of folders: checked, and matched by name with those of other folders and of models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.notices import notice
from migaki.data.folder import ImageFolder
from migaki.data.sets.class_names import CLASS_LISTS, listed, places_of

MAX_CLASSES = 100_000
"""Class numbers must be below this; a column of higher numbers is not a class."""


def class_key(folder: ImageFolder) -> str:
    """Returns the column whose classes are learned.

    In a folder that a model has read (`migaki apply`) it is `predicted_label`, which takes precedence over labels of
    the photographs: training on predictions must not use real labels by accident.
    """
    return "predicted_label" if "predicted_label" in folder.labels else "label"


def list_key(folder: ImageFolder) -> str:
    """Returns the column of class lists that is learned: `predicted_labels` if a model made some, else `labels`."""
    return "predicted_labels" if "predicted_labels" in folder.labels else "labels"


def has_several(folder: ImageFolder) -> bool:
    """Whether a folder gives its images any number of classes and not one each."""
    return class_key(folder) not in folder.labels and list_key(folder) in folder.labels


def agreed_classes(folders: Sequence[ImageFolder], wanted: int = 0, names: Sequence[str] = (),
                   key_of: Callable[[ImageFolder], str] = class_key) -> tuple[int, tuple[str, ...]]:
    """Returns the number of classes of several folders and their names; renumbers the labels of the folders alike.

    Args:
        folders: All with classes; the first folder gives the first names, the others append theirs.
        wanted: The number of classes, 0 = from the folders.
        names: Class names that replace those of the folders.
        key_of: Returns the column of a folder that holds its classes: one an image, or a list filled up with -1.

    Raises:
        UserError: for labels that are no classes, for more classes than wanted, or if one folder names its classes
            and another numbers them, or if all images have one class: a classifier tells at least two apart.
    """
    if key_of is class_key and (len(folders) > 1 or names):
        _take_lone_subfolders(folders, names)
    keys = [key_of(folder) for folder in folders]
    counts = [_count(folder, key) for folder, key in zip(folders, keys, strict=True)]
    named = [folder.class_names(key) for folder, key in zip(folders, keys, strict=True)]
    if not names and not any(named):
        highest = max(range(len(folders)), key=lambda place: counts[place])
        if 0 < wanted < counts[highest]:
            raise UserError(f"{show(folders[highest].path)}: '{keys[highest]}' goes up to {counts[highest] - 1}, more "
                            f"than --num-classes {wanted} allow")
        _require_two(folders, keys, ())
        return wanted or counts[highest], ()
    every = tuple(names) or _union(named)
    for folder, own in zip(folders, named, strict=True):
        if not own:
            raise UserError(f"{show(folder.path)}: numbers its classes, which have names elsewhere ({listed(every)}): "
                            'write "classes": [names in the order of the numbers] into its dataset.json')
    if 0 < wanted < len(every):
        raise UserError(f"{show(folders[0].path)}: has {len(every)} classes ({listed(every)}), more than --num-classes "
                        f"{wanted} allow")
    for folder, key in zip(folders, keys, strict=True):
        _renumber(folder, key, every, f"--classes {' '.join(map(show, names))}")
        _note_missing(folder, key, every, "the training")
    _require_two(folders, keys, every)
    return wanted or len(every), every


def _require_two(folders: Sequence[ImageFolder], keys: Sequence[str], names: Sequence[str]) -> None:
    """UserError where all images have one class; lists of classes (N, K) may: each class is there or not."""
    columns = [folder.labels[key] for folder, key in zip(folders, keys, strict=True)]
    present = sorted({value for column in columns for value in np.unique(column).tolist()})
    if len(present) > 1 or any(column.ndim > 1 for column in columns):
        return
    called = "".join(f", {listed([names[place]]) if names else place}" for place in present)
    where = ", ".join(show(folder.path) for folder in folders)
    raise UserError(f"{where}: all pictures are of one class{called}: give at least two, a subfolder or a value of "
                    "`label` for each")


def match_classes(folder: ImageFolder, config: Any, model: object) -> None:
    """Number the labels of a folder like the outputs of a model, whose configuration has the class names.

    Prints a notice for a class without pictures in the folder. UserError for a class that the model does not know.
    Does nothing for systems without classes and folders without labels.
    """
    count, names = getattr(config, "num_classes", 0), getattr(config, "classes", ())
    key = "labels" if getattr(config, "several", False) else "label"
    if names and key == "label":
        _take_lone_subfolders([folder], names)
    if not count or key not in folder.labels:
        return
    highest, own = _count(folder, key) - 1, folder.class_names(key)
    if names and own:
        _renumber(folder, key, names, model)
        _note_missing(folder, key, names, model)
        return
    if highest >= count or (own and len(own) != count):
        found = f"classes {listed(own)}" if own else f"class numbers up to {highest}"
        known = listed(names) if names else f"{count} classes without names"
        raise UserError(f"{show(folder.path)}: has {found}, and {show(str(model))} knows {known}: train the model "
                        "again on sets that name their classes, or give a set of the same classes")
    if names or own:
        which = "the model" if own else "the set"
        notice(f"{show(folder.path)}: {which} has no names for its classes, so they are taken for "
               f"{listed(own or names)} in this order")


def fill_alike(folders: Sequence[ImageFolder]) -> None:
    """Fill up the lists of classes of several folders to one length, so that their batches can be joined."""
    most = max(folder.labels[list_key(folder)].shape[1] for folder in folders)
    for folder in folders:
        key = list_key(folder)
        short = most - folder.labels[key].shape[1]
        folder.set_label(key, np.pad(folder.labels[key], ((0, 0), (0, short)), constant_values=-1))


def predicted_classes(logits: torch.Tensor, config: Any) -> list[str | int]:
    """Returns the most probable classes (B,) of logits (B, K): names if the model has them, else numbers."""
    names = getattr(config, "classes", ())
    places: list[int] = logits.argmax(1).tolist()
    return [names[place] if place < len(names) else place for place in places]


def predicted_lists(scores: torch.Tensor, config: Any) -> list[list[str | int]]:
    """The classes whose scores (B, K) are at least one half, image by image: their names where the model has some."""
    names = getattr(config, "classes", ())
    return [[names[place] if place < len(names) else place for place in range(scores.shape[1]) if row[place] >= 0.5]
            for row in scores.tolist()]


def check_names(system: str, config: Any) -> None:
    """UserError unless the class names in a classifier's configuration fit its outputs."""
    if len(config.classes) > config.num_classes or len(set(config.classes)) != len(config.classes):
        raise UserError(f"{system}: classes has {len(config.classes)} names for {config.num_classes} classes: give "
                        "each class one name of its own")


def _take_lone_subfolders(folders: Sequence[ImageFolder], names: Sequence[str]) -> None:
    """Label the sets of a single subfolder: alone they have no classes, but the subfolder may be a class in `names`."""
    known = [*names, *_union(folder.class_names(class_key(folder)) for folder in folders)]
    for folder in folders:
        name = folder.lone_subfolder
        if name and "label" not in folder.labels and places_of([name], known)[0] >= 0:
            notice(f"{show(folder.path)}: all pictures get the class '{show(name)}', the name of their folder")
            folder.set_classes("label", (name,), np.zeros(len(folder), np.int64))


def _count(folder: ImageFolder, key: str) -> int:
    """Returns the highest class number plus one; UserError if the labels are no classes."""
    folder.require(key)
    labels = folder.labels[key]
    if labels.ndim == 2 and key in CLASS_LISTS:
        labels = labels[labels >= 0]
        if not len(labels):
            raise UserError(f"{show(folder.path)}: '{key}' names no class for any image: choose another set")
    if labels.ndim != 1 or (labels != labels.astype("int64")).any() or labels.min() < 0:
        raise UserError(f"{show(folder.path)}: '{key}' holds other values than 0, 1, 2 ...: number the classes from 0, "
                        "or write their names")
    highest, names = int(labels.max()), folder.class_names(key)
    if highest >= (len(names) or MAX_CLASSES):
        limit = f"its {len(names)} names of classes" if names else f"{MAX_CLASSES} classes"
        raise UserError(f"{show(folder.path)}: '{key}' goes up to {highest}, beyond {limit}: number the classes from 0")
    return highest + 1


def _union(named: Iterable[Sequence[str]]) -> tuple[str, ...]:
    every: list[str] = []
    for names in named:
        every += [name for name, place in zip(names, places_of(names, every), strict=True) if place < 0]
    return tuple(every)


def _used(folder: ImageFolder, key: str) -> set[int]:
    """The class numbers that some image has."""
    return {int(number) for number in np.unique(folder.labels[key]) if number >= 0}


def _renumber(folder: ImageFolder, key: str, names: Sequence[str], known_by: object) -> None:
    own = folder.class_names(key)
    places = places_of(own, names)
    strange = [own[number] for number in sorted(_used(folder, key)) if places[number] < 0]
    if strange:
        pictures = sum(any(number >= 0 and own[int(number)] in strange for number in np.atleast_1d(row))
                       for row in folder.labels[key])
        raise UserError(f"{show(folder.path)}: {pictures} of its pictures are of {listed(strange)}, which "
                        f"{show(str(known_by))} does not know (it knows {listed(names)}): leave them out, or train "
                        "with them")
    folder.number_classes(key, names, places)


def _note_missing(folder: ImageFolder, key: str, names: Sequence[str], known_by: object) -> None:
    used = _used(folder, key)
    missing = [name for number, name in enumerate(names) if number not in used]
    if missing:
        notice(f"{show(folder.path)}: has no picture of {listed(missing)}, which {show(str(known_by))} knows")
