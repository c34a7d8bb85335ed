"""Numbers with their noun, in messages."""

from __future__ import annotations


def counted(count: int, noun: str, several: str = "") -> str:
    """Returns a number with its noun: 1 picture, 2 pictures, 1,000 pictures; `several` is an irregular plural."""
    return f"{count:,} {noun if count == 1 else several or noun + 's'}"
