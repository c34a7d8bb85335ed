"""Steps and phases: what a chain consists of."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One command: its words after `migaki`, what it does, and the file that exists when it is done.

    A step without words is a Python call that no command covers: `about` says what it does, and `needs` lists the
    folders of earlier steps that it reads (a command names them itself). `cost` is an estimate of its seconds on two
    cores, for the progress display. A step that is `alone`, such as a measurement of time, runs beside no other.
    """

    words: tuple[str, ...] = ()
    work: Callable[[str], object]  # receives the command line, to record it
    proof: Path
    about: str = ""
    needs: tuple[Path, ...] = ()
    cost: float = 0.0
    alone: bool = False

    @property
    def command(self) -> str:
        """Returns the command line that repeats the step; for a step without words, a unique comment."""
        if self.words:
            return shlex.join(["migaki", *self.words])
        return f"# {self.about}, into {self.proof.parent}"

    @property
    def named(self) -> tuple[str, ...]:
        """Returns the words and paths by which the step may name folders of other steps."""
        return (*self.words, *map(str, self.needs))


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """Steps that belong together, with a title for the progress display and the report."""

    title: str
    steps: tuple[Step, ...]


def is_within(word: str, folder: str) -> bool:
    """Returns whether a word is a folder or a path below it."""
    return word == folder or word.startswith(f"{folder}/")


def dependencies(steps: Sequence[Step]) -> list[set[int]]:
    """Returns for each step the numbers of the earlier steps that must be done before it.

    These are the steps whose folders it reads or writes into, and those that read what it writes: a step names all
    folders that it reads. A step that is `alone` counts as depending on nothing more; whoever runs it waits.
    """
    found: list[set[int]] = []
    for number, step in enumerate(steps):
        own = str(step.proof.parent)
        found.append({earlier for earlier, other in enumerate(steps[:number])
                      if _touches((*step.named, own), str(other.proof.parent))
                      or any(is_within(own, word) for word in other.named if _is_path(word))})
    return found


def _touches(words: Sequence[str], folder: str) -> bool:
    """Returns whether one of the words is the folder, or lies below or above it."""
    return any(is_within(word, folder) or (_is_path(word) and is_within(folder, word)) for word in words)


def _is_path(word: str) -> bool:
    """Returns whether a word can be a folder above others: options and plain names of commands are none."""
    return "/" in word and not word.startswith("-")
