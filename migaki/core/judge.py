"""Judge: sets and runs in, figures, tables and pictures out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A part of the page: a heading, then a picture (the bytes of a PNG), a table, or both."""

    heading: str = ""
    picture: bytes | None = None
    pair: tuple[bytes, bytes] | None = None  # two pictures of one size, side by side
    names: tuple[str, str] = ("before", "after")
    caption: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()
    is_chart: bool = False  # drawn, and not made of pixels that one looks at one by one
    is_folded: bool = False  # shown when asked for


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What a judge has found.

    `figures` are plain JSON. `baseline` holds, under the same names, what costs nothing (always the mean, the majority,
    the input itself); `baseline_name` says what that is. `files` go beside the page as they are: name -> content.
    """

    title: str
    record: dict[str, Any]  # what was judged by what
    figures: dict[str, Any]
    baseline: dict[str, Any] = field(default_factory=dict)
    baseline_name: str = ""
    sections: Sequence[Section] = ()
    files: dict[str, bytes] = field(default_factory=dict)
    notes: Sequence[str] = ()  # paragraphs above the tables


Progress = Callable[[int, int], None]
"""Called with what is done and the total."""


def share_of(progress: Progress, start: int, total: int) -> Callable[[int], None]:
    """The progress of one part of several: what is done of it counts from `start`."""
    return lambda done: progress(start + done, total)


class Judge(ABC):
    """A measure of runs and sets. One file in `judges/` holds one subclass; its module name is its name.

    `Config` is a frozen, keyword-only dataclass: the folders that are judged and how. `takes_runs` says whether
    `migaki evaluate RUN ...` may name trained runs for it.
    """

    Config: ClassVar[type[Any]]
    config: Any
    takes_runs: ClassVar[bool] = False
    file_name: ClassVar[str] = "evaluation"  # of the page and of the figures: evaluation.html, evaluation.json

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Judge; `progress` is called with (done, total). Raises UserError for sets or runs that do not fit."""

    def sources(self) -> tuple[Path, ...]:
        """The folders that are judged: the page must not be written into one of them."""
        return ()

    def default_out(self, runs: Sequence[Path]) -> Path | None:
        """Where the page goes when no --out is given; None where it must be given."""
        return runs[0] / "evaluation" if runs else None
