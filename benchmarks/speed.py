"""Every figure of speed and memory, each a ratio against a baseline of the same run; one table.

    make bench                                   # about six minutes on two quiet cores
    python benchmarks/speed.py --quick           # about three: smaller sets, the same rows
    python benchmarks/speed.py --only train apply --out bench.json

Prints a Markdown table and writes it, with the machine and its load, as JSON. A row whose timings disagree is called
unsteady, not met: `speed_row.py` has the rule.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import speed_apply
import speed_memory
import speed_search
import speed_simulate
import speed_start
import speed_study
import speed_train
import speed_views
import torch
from speed_row import Others, Row

from migaki.core.engine import cores

PARTS = {"start": speed_start, "train": speed_train, "apply": speed_apply, "simulate": speed_simulate,
         "study": speed_study, "views": speed_views, "search": speed_search, "memory": speed_memory}

_BUSY = 0.1  # of the cores


def main() -> None:
    """Run the parts that are asked for, print the table, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=sorted(PARTS), default=list(PARTS))
    parser.add_argument("--out", type=Path, default=Path("bench.json"))
    options = parser.parse_args()
    torch.set_num_threads(cores())
    rows: list[Row] = []
    # Nothing is deleted before the end: on ext4 without a journal a file takes up to ten times as long to make while
    # thousands have been deleted within the last minute, because their places are passed over one by one.
    with tempfile.TemporaryDirectory(prefix="migaki-bench-") as folder:
        for name in options.only:
            start = time.monotonic()
            part = Path(folder) / name
            part.mkdir()
            others = Others()
            found = PARTS[name].measure(part, quick=options.quick)
            busy = round(others.cores(), 2)
            rows += [dataclasses.replace(row, others=busy) for row in found]
            print(f"{name}: {time.monotonic() - start:.0f} s; other processes kept {busy} cores busy", file=sys.stderr)
    print("| what | figure | baseline | ratio (of the pairs) | wanted | met |\n|---|---|---|---|---|---|")
    for row in rows:
        print(row.markdown())
    busiest = max(row.others for row in rows)
    if busiest > _BUSY * cores():
        print(f"\nother processes kept up to {busiest:.1f} of {cores()} cores busy: what is slow may be so for that")
    if unsteady := sum(row.verdict == "unsteady" for row in rows):
        print(f"\nunsteady: {unsteady}: the pairs disagree or the baseline varied; run it again on a quiet machine")
    machine = {"processor": _processor(), "cores": cores(), "threads": torch.get_num_threads(),
               "load": os.getloadavg(), "torch": torch.__version__,
               "python": sys.version.split()[0], "quick": options.quick}
    options.out.write_text(json.dumps({"machine": machine, "rows": [row.plain() for row in rows]}, indent=2) + "\n")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


if __name__ == "__main__":
    main()
