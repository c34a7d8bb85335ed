"""Describes how a report's figures were made: the commands, the time they took, the machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence

import numpy as np
import torch

from migaki import __version__
from migaki.lab.chain import Timing
from migaki.report.tables import Cell, Table


def command_lines(timings: Sequence[Timing]) -> list[str]:
    """Returns all commands, grouped under the titles of their phases."""
    lines: list[str] = []
    for place, timing in enumerate(timings):
        if place == 0 or timings[place - 1].title != timing.title:
            lines += [*([""] if lines else []), f"# {timing.title}"]
        lines.append(timing.command)
    return lines


def time_table(timings: Sequence[Timing]) -> Table:
    """Returns a table of the time that each phase took."""
    rows: list[list[Cell]] = []
    for title in dict.fromkeys(t.title for t in timings):
        mine = [t for t in timings if t.title == title]
        rows.append([title, len(mine), round(sum(t.seconds for t in mine), 1),
                     round(sum(t.cpu_seconds for t in mine), 1)])
    total = [round(sum(values), 1) for values in ((t.seconds for t in timings), (t.cpu_seconds for t in timings))]
    rows.append(["all", len(timings), *total])
    return Table(["step", "commands", "seconds", "seconds of one core"], rows,
                 "Steps that an earlier call had done count with the time they took then. Steps may have run side by "
                 "side: their times are added up.")


def machine_table(precision: str) -> Table:
    """Returns a table of versions and hardware; `precision` is that of the training."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else processor()
    return Table(["what", "which"], [
        ["migaki", __version__], ["Python", platform.python_version()], ["PyTorch", torch.__version__],
        ["NumPy", np.__version__], ["processor", f"{device}, {os.cpu_count()} cores"],
        ["threads of a step", "1"], ["precision", precision], ["system", platform.system()],
    ])


def processor() -> str:
    """Returns the processor's name as the operating system reports it."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
