"""What the numbers in a mask mean, wherever masks are read, learned or compared."""

from __future__ import annotations

from typing import Final

IGNORE: Final = 255
"""The class index of pixels whose class is not known: they teach nothing and are not judged."""
