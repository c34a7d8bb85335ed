"""Names of pictures and of what is made of them."""

from __future__ import annotations

import posixpath


def stem_of(name: str) -> str:
    """A picture's name without its ending: what an image that is made of it keeps."""
    stem, ending = posixpath.splitext(name)
    return stem + "." if ending == "." else stem  # a dot at the end is part of the name
