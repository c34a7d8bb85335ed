"""The columns of altered pictures: `reference`, the file name of the original, and `operators`, how it was altered."""

from __future__ import annotations

from typing import Any

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.data.folder import ImageFolder
from migaki.data.sets.class_names import is_blank


def original_of(folder: ImageFolder, index: int) -> str | None:
    """Returns the name of a picture's original, None where it has none (null or blank).

    UserError for a row without the column, and for anything that is no name.
    """
    name, row = folder.names[index], folder.rows[index]
    if "reference" not in row:
        raise UserError(f"{show(folder.path)}: {show(name)} has no column 'reference': give each picture the file name "
                        "of its original, or null where it has none")
    original = row["reference"]
    if is_blank(original):
        return None
    if not isinstance(original, str):
        raise UserError(f"{show(folder.path)}: 'reference' of {show(name)} is no file name: give that of its original, "
                        "or null where it has none")
    return original


def operators_of(folder: ImageFolder, index: int) -> list[str]:
    """Returns how a picture was altered; UserError unless that is a list of words, one word, or nothing."""
    found: Any = folder.rows[index].get("operators")
    words = [] if is_blank(found) else [found] if isinstance(found, str) else found
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise UserError(f"{show(folder.path)}: 'operators' of {show(folder.names[index])} is no list of words: give "
                        "one, such as [\"crop\", \"text\"]")
    return words
