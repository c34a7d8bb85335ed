"""Columns that are used where a set has them: then they must be such as can be."""

from __future__ import annotations

from migaki.data.folder import ImageFolder


def columns_of(folder: ImageFolder, *keys: str) -> tuple[str, ...]:
    """Those of `keys` that the set has a column of.

    Raises UserError for a column with numbers that cannot be, or none in some rows: passed over in silence, it would
    change what comes out.
    """
    found = tuple(key for key in keys if any(row.get(key) is not None for row in folder.rows))
    folder.require(*found)
    return found
