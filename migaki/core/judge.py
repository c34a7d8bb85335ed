"""Judge: the base class of evaluations of sets and runs, which return figures, tables and pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from migaki.core.files import show
from migaki.core.notices import notice


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A section of the page: a heading, then a picture (the bytes of a PNG), a table, or both."""

    heading: str = ""
    picture: bytes | None = None
    pair: tuple[bytes, bytes] | None = None  # two pictures of one size, side by side
    names: tuple[str, str] = ("before", "after")
    caption: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()
    is_chart: bool = False  # a drawn chart, not a picture whose pixels matter
    is_folded: bool = False  # collapsed until the reader opens it


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """The results of a judge.

    `figures` are plain JSON. `baseline` holds figures of the same names for a trivial answer (always the mean, the
    majority, the input itself); `baseline_name` names that answer. `files` are written beside the page: name -> bytes.
    """

    title: str
    record: dict[str, Any]  # what was judged, and with which options
    figures: dict[str, Any]
    baseline: dict[str, Any] = field(default_factory=dict)
    baseline_name: str = ""
    sections: Sequence[Section] = ()
    files: dict[str, bytes] = field(default_factory=dict)
    notes: Sequence[str] = ()  # paragraphs above the tables


Progress = Callable[[int, int], None]
"""Called with the number of finished units and the total."""


def share_of(progress: Progress, start: int, total: int) -> Callable[[int], None]:
    """Returns the progress function of one part of the work, whose units count from `start`."""
    return lambda done: progress(start + done, total)


def each_once(runs: Sequence[Path]) -> list[Path]:
    """Returns the runs, each once whatever its path: the same figures again would narrow an interval over runs."""
    found: dict[Path, Path] = {}
    for run in runs:
        if run.resolve() in found:
            notice(f"{show(run)}: is named several times and judged once")
        found.setdefault(run.resolve(), run)
    return list(found.values())


class Judge(ABC):
    """An evaluation of runs and sets. One file in `judges/` holds one subclass; its module name is its name.

    `Config` is a frozen, keyword-only dataclass: the folders to judge and the options. `takes_runs` tells whether
    `migaki evaluate RUN ...` may pass trained runs to it.
    """

    Config: ClassVar[type[Any]]
    config: Any
    takes_runs: ClassVar[bool] = False
    file_name: ClassVar[str] = "evaluation"  # name of the page and the figures: evaluation.html, evaluation.json

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def judge(self, runs: Sequence[Path], progress: Progress) -> Findings:
        """Returns the results; calls `progress` with (done, total). UserError for sets or runs that do not fit."""

    def sources(self) -> tuple[Path, ...]:
        """Returns the judged folders; the page must not be written into one of them."""
        return ()

    def default_out(self, runs: Sequence[Path]) -> Path | None:
        """Returns the folder of the page if no --out is given; None if --out is required."""
        return runs[0] / "evaluation" if runs else None
