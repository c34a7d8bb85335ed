"""Names of classes: their sources in a data set, and their numbers.

A class is written as a word (`label: cat`, a sub-folder `cat/`) or as a number. Numbers get their names from the list
`classes` in dataset.json, or from the features of a Parquet file (Hugging Face's ClassLabel). Words that are plain
numbers ("0" ... "9") are these numbers. Sets and models are matched by names, never by positions in lists of names.
"""

from __future__ import annotations

import itertools
import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from migaki.core.files import show

Array = np.ndarray[Any, Any]
Row = dict[str, Any]

CLASS_KEYS = ("label", "predicted_label")
"""The columns that hold one class: the label, and the prediction of a model (`migaki apply`)."""

CLASS_LISTS = ("classes", "labels", "predicted_classes", "predicted_labels")
"""The columns that hold a list of classes: one per box, or all classes of an image."""

_HIGHEST = 999  # of folder names that are class numbers; higher ones are years, dates or identities
_FIRST_ROWS = 4096  # rows in which a column of words is detected


@dataclass(frozen=True, slots=True)
class ClassColumn:
    """A column of classes."""

    numbers: Array | None  # (N,) int64, or float32 with NaN for missing ones; None: no column of words
    names: tuple[str, ...]  # by number; empty if the classes have no names
    problem: str = ""  # why words could not be converted to numbers


def as_numbers(words: Iterable[str]) -> dict[str, int] | None:
    """Returns the numbers for words that are plain, distinct numbers; else None."""
    numbers = {word: int(word) for word in words if word.isascii() and word.isdecimal() and len(word) < 10}
    same = len(set(numbers.values())) == len(numbers) == len(set(words))
    return numbers if numbers and same and max(numbers.values()) <= _HIGHEST else None


def class_column(rows: Sequence[Row], key: str, known: Sequence[str]) -> ClassColumn:
    """Convert a column of words to numbers: their positions in `known` (the declared names), else in sorted order.

    A blank or missing word means that the image has no label (NaN).
    """
    first = next((value for value in (row.get(key) for row in rows) if not is_blank(value)), None)
    if not isinstance(first, str):
        return ClassColumn(None, tuple(known))
    words: list[str | None] = []
    for number, row in enumerate(rows, 1):
        word = None if is_blank(row.get(key)) else row[key]
        if word is not None and not isinstance(word, str):
            return ClassColumn(None, (), f"row {number} holds {word!r} instead of a name")
        words.append(word)
    found = sorted({word for word in words if word is not None})
    if known and not set(found) <= set(known):
        stranger = next(word for word in found if word not in set(known))
        return ClassColumn(None, (), f"'{show(stranger)}' is not among the classes in its dataset.json")
    places = None if known else as_numbers(found)
    names = tuple(known or (() if places else found))
    places = places or {name: place for place, name in enumerate(names)}
    if None in words:
        gaps = [np.nan if word is None else places[word] for word in words]
        return ClassColumn(np.array(gaps, np.float32), names)
    return ClassColumn(np.array([places[word] for word in words if word is not None], np.int64), names)


def is_blank(value: object) -> bool:
    """Whether a cell says nothing: missing, or text without a letter."""
    return value is None or (isinstance(value, str) and not value.strip())


def class_lists(rows: Sequence[Row], key: str, known: Sequence[str]) -> ClassColumn:
    """Convert a column of lists of words to numbers (N, M), padded with -1: see `class_column`."""
    if not any(_is_words(row.get(key)) for row in itertools.islice(iter(rows), _FIRST_ROWS)):
        return ClassColumn(None, tuple(known))
    lists: list[list[str]] = []
    for number, row in enumerate(rows, 1):
        words = row.get(key) or []
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            return ClassColumn(None, (), f"row {number} does not hold a list of names")
        lists.append(words)
    found = sorted({word for words in lists for word in words})
    if known and not set(found) <= set(known):
        stranger = next(word for word in found if word not in set(known))
        return ClassColumn(None, (), f"'{show(stranger)}' is not among the classes in its dataset.json")
    places = None if known else as_numbers(found)
    names = tuple(known or (() if places else found))
    places = places or {name: place for place, name in enumerate(names)}
    numbers = np.full((len(lists), max(map(len, lists))), -1, np.int64)
    for line, words in zip(numbers, lists, strict=True):
        line[: len(words)] = [places[word] for word in words]
    return ClassColumn(numbers, names)


def _is_words(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(word, str) for word in value)


def is_list_of_names(value: Any) -> bool:
    """Whether a value from a file is a list of distinct names."""
    return (isinstance(value, list) and all(isinstance(name, str) and name for name in value)
            and len(set(value)) == len(value))


def features_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, tuple[str, ...]]:
    """Returns the class names of the ClassLabel columns in the metadata of a Parquet schema (Hugging Face's format)."""
    try:
        features = json.loads((metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {str(key): tuple(kind["names"]) for key, kind in features.items()
                if isinstance(kind, dict) and kind.get("_type") == "ClassLabel" and is_list_of_names(kind.get("names"))}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}  # metadata of another program


def places_of(names: Sequence[str], among: Sequence[str]) -> list[int]:
    """Returns the position of each name in `among`, -1 if absent.

    Composed and decomposed characters (NFC, NFD) are the same name, unless `among` has both.
    """
    exact = {name: place for place, name in enumerate(among)}
    alike: dict[str, list[int]] = {}
    for place, name in enumerate(among):
        alike.setdefault(unicodedata.normalize("NFC", name), []).append(place)

    def find(name: str) -> int:
        near = alike.get(unicodedata.normalize("NFC", name), [])
        return exact.get(name, near[0] if len(near) == 1 else -1)

    return [find(name) for name in names]


def listed(names: Sequence[str], most: int = 8) -> str:
    """Format names for a message: 'ant', 'bee', 'cow'."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"'{show(name)}'" for name in names[:most]) + more
