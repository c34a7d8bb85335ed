"""Classes of masks: what the numbers in a set's masks mean, matched by name with other sets and with models.

The names of the numbers stand in dataset.json as `mask_classes`, from 0 on. 255 (65535 of 16 bits) means "ignore",
unless nothing but 0 and that number is found: then it is the foreground (`files.mask_file.ignored`).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.core.notices import notice
from migaki.data.files.mask_file import IGNORE as IGNORE_NUMBERS
from migaki.data.files.mask_file import LARGEST, ignored
from migaki.data.folder import ImageFolder
from migaki.data.sets.class_names import is_list_of_names, listed, places_of
from migaki.ops.masks import IGNORE

MAX_MASK_CLASSES = 255

Array = np.ndarray[Any, Any]


def mask_names(folder: ImageFolder) -> tuple[str, ...]:
    """The names of the numbers in the folder's masks, empty where it gives none; UserError for a list that is none."""
    found = folder.made.get("mask_classes") or []
    if not is_list_of_names(found):
        raise UserError(f"{show(folder.path / 'dataset.json')}: mask_classes is no list of different names: mend it")
    return tuple(found)


def mask_numbers(folder: ImageFolder) -> set[int]:
    """The numbers that occur in the folder's masks: every mask is read once."""
    folder.require("mask")

    def found(index: int) -> set[int]:
        return set(np.unique(folder.plane("mask", index)).tolist())

    with ThreadPoolExecutor(4) as pool:
        return set().union(*pool.map(found, range(len(folder))))


def agreed_mask_classes(folders: Sequence[ImageFolder], wanted: int = 0,
                        names: Sequence[str] = ()) -> tuple[int, tuple[str, ...]]:
    """How many classes the masks of several folders have together, and their names; the masks are numbered alike.

    Args:
        folders: All with masks; names come from the first, further ones from the others.
        wanted: The number of classes, 0 = as the folders.
        names: Their names, if these are to be others than those of the folders.

    Raises:
        UserError: for folders of which one names its classes and the other does not, numbers beyond the names, more
            classes than wanted, fewer than two or more than `MAX_MASK_CLASSES`.
    """
    own = [mask_names(folder) for folder in folders]
    numbers = [mask_numbers(folder) for folder in folders]
    every = tuple(names) or _union(own)
    for folder, mine in zip(folders, own, strict=True):
        if every and not mine:
            raise UserError(f"{show(folder.path)}: does not name the classes of its masks, which have names elsewhere "
                            f'({listed(every)}): write "mask_classes": [names in the order of the numbers] into its '
                            "dataset.json")
    highest = max(max(_classes(found), default=0) for found in numbers)
    count = wanted or len(every) or highest + 1
    if len(every) > count or (not every and highest >= count):
        raise UserError(f"{show(folders[0].path)}: its masks have {max(len(every), highest + 1)} classes, more than "
                        f"--num-mask-classes {wanted} allow")
    if not 2 <= count <= MAX_MASK_CLASSES:
        raise UserError(f"{show(folders[0].path)}: its masks have {count} classes where 2 to {MAX_MASK_CLASSES} can be "
                        "told apart: check that they hold class indices")
    for folder, mine, found in zip(folders, own, numbers, strict=True):
        _number(folder, mine, found, every, f"--mask-classes {' '.join(map(show, names))}")
    return count, every


def match_mask_classes(folder: ImageFolder, config: Any, model: object) -> None:
    """Number the masks of a folder as the outputs of a model are; its configuration says how these are called.

    UserError for a class that the model does not know. Systems without masks and folders without them are left alone.
    """
    count, names = getattr(config, "num_mask_classes", 0), getattr(config, "mask_classes", ())
    if not count or "mask" not in folder.files:
        return
    own, numbers = mask_names(folder), mask_numbers(folder)
    if names and own:
        _number(folder, own, numbers, names, model)
        return
    highest = max(_classes(numbers), default=0)
    if highest >= count or (own and len(own) != count):
        known = listed(names) if names else f"{count} classes without names"
        raise UserError(f"{show(folder.path)}: its masks hold numbers up to {highest}, and {show(str(model))} knows "
                        f"{known}: train the model again on sets with `mask_classes` in their dataset.json, or give a "
                        "set of the same classes")
    if names or own:
        which = "the model" if own else "the set"
        notice(f"{show(folder.path)}: {which} has no names for the classes of masks, so they are taken for "
               f"{listed(own or names)} in this order")
    _number(folder, (), numbers, (), model)


def mask_names_of(config: Any) -> dict[str, list[str]]:
    """The entry of dataset.json that says what the masks of a model mean; empty for a model without such names."""
    names = getattr(config, "mask_classes", ())
    return {"mask_classes": list(names)} if names else {}


def check_mask_names(system: str, config: Any) -> None:
    """UserError unless the names in a configuration fit its outputs."""
    names = config.mask_classes
    if len(names) > config.num_mask_classes or len(set(names)) != len(names):
        raise UserError(f"{system}: mask_classes has {len(names)} names for {config.num_mask_classes} classes: give "
                        "each class one name of its own")


def _classes(numbers: set[int]) -> set[int]:
    """The class indices that such numbers mean, without those to be ignored."""
    left = numbers - ignored(numbers)
    return {min(number, 1) for number in left} if left <= {0, *IGNORE_NUMBERS} else left


def _number(folder: ImageFolder, own: Sequence[str], numbers: set[int], names: Sequence[str],
            known_by: object) -> None:
    """Give the folder the table by which its masks are read: numbers to places in `names`."""
    skipped = ignored(numbers)
    table = np.full(LARGEST + 1, IGNORE, np.uint8)
    is_foreground = numbers - skipped <= {0, *IGNORE_NUMBERS}
    places = places_of(own, names) if own else range(max(_classes(numbers), default=0) + 1)
    for number in sorted(numbers - skipped):
        index = min(number, 1) if is_foreground else number
        if index >= len(places):
            raise UserError(f"{show(folder.path)}: its masks hold the number {number}, beyond its {len(places)} names "
                            f"of mask_classes ({listed(own)}): mend its dataset.json")
        if places[index] < 0:
            raise UserError(f"{show(folder.path)}: its masks show '{show(own[index])}', which {show(str(known_by))} "
                            f"does not know (it knows {listed(names)}): number it 255 to leave it out, or train with "
                            "it")
        table[number] = places[index]
    folder.mask_table = table


def _union(named: Sequence[Sequence[str]]) -> tuple[str, ...]:
    every: list[str] = []
    for names in named:
        every += [name for name, place in zip(names, places_of(names, every), strict=True) if place < 0]
    return tuple(every)
