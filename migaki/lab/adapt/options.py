"""What `migaki adapt` is asked for: the options, and the budget in words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from migaki.core.errors import UserError
from migaki.data.files import framing
from migaki.metrics.drift import parse_tolerance

TaskName = Literal["auto", "label", "labels", "boxes", "mask", "keypoints", "numbers", "gaze"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What is known besides the two folders, and how much may be spent."""

    GROUPS: ClassVar[dict[str, str]] = {"usual": "labelled task budget tolerance seeds"}

    labelled: Path | None = None  # real photographs with labels: its first half chooses, its second half judges
    task: TaskName = "auto"  # what is to be learned; auto: what the columns of SIMULATED say
    budget: str = "30m"  # how long it may take on this machine, such as 20m or 2h
    tolerance: str = ""  # how far labels may drift when pictures are refined, such as 1px, 0.7deg or 2%
    seeds: int = 3  # models of each arm
    seed: int = 0  # the first seed
    choose: Literal["auto", "agreement", "labels"] = "auto"  # how an arm is chosen; auto: by labels if there are some
    worths: tuple[int, ...] = (10, 50, 200)  # numbers of real labels whose worth is measured
    columns: tuple[str, ...] = ()  # with --task numbers: the columns to learn
    arms: tuple[str, ...] = ()  # try only these arms, by their short names; none = all that the budget allows
    steps: int = 0  # updates of each model; 0 = as the budget allows
    height: int = 0  # px, of the pictures that models see; 0 = as the simulated ones, large ones made smaller
    width: int = 0  # px
    most: int = 20000  # simulated pictures, and photographs, that are used at most, evenly spaced

    @property
    def is_halved(self) -> bool:
        """Whether the labelled photographs are halved: where none chooses or teaches, all of them judge."""
        return self.labelled is not None and (self.choose != "agreement" or bool(self.worths))

    def __post_init__(self) -> None:
        seconds(self.budget)
        for name, least in (("seeds", 2), ("steps", 0), ("height", 0), ("width", 0), ("most", 40)):
            if getattr(self, name) < least:
                raise UserError(f"--{name} {getattr(self, name)}: must be at least {least}")
        if self.choose == "labels" and self.labelled is None:
            raise UserError("--choose labels: give labelled photographs with --labelled")
        if any(count < 1 for count in self.worths):
            raise UserError(f"--worths {' '.join(map(str, self.worths))}: give numbers of labels, at least 1")
        framing.asked_size(self.height, self.width)
        if self.tolerance:
            parse_tolerance(self.tolerance, "--tolerance")


def seconds(budget: str) -> float:
    """Returns the seconds of a budget such as 90s, 30m or 1.5h; UserError for anything else."""
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([smh])\s*", budget)
    if found is None or not 0 < float(found[1]) < 1e6:
        raise UserError(f"--budget {budget}: give a number and its unit, such as 20m or 2h")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


def duration(value: float) -> str:
    """Returns seconds in words, such as 40 s, 3.5 min or 2.1 h."""
    if value < 90:
        return f"{value:.0f} s"
    return f"{value / 60:.1f} min" if value < 5400 else f"{value / 3600:.1f} h"
