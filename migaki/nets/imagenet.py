"""The names of the 1,000 classes of ImageNet-1k, in the order in which networks number them.

They are the first words of the classes' synsets in WordNet; `crane` and `maillot`, which name two classes each, were
told apart.
"""

from __future__ import annotations

import functools
from pathlib import Path


@functools.cache
def imagenet_classes() -> tuple[str, ...]:
    """Returns the names, each of them once."""
    return tuple((Path(__file__).parent / "imagenet_classes.txt").read_text(encoding="utf-8").splitlines())
