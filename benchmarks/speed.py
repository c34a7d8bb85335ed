"""Every figure of speed and memory, each a ratio against a baseline of the same run; one table.

    make bench                                   # about four minutes on two quiet cores
    python benchmarks/speed.py --quick           # about two: smaller sets, the same rows
    python benchmarks/speed.py --only train apply --out bench.json

Prints a Markdown table and writes it, with the machine, as JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from pathlib import Path

import speed_apply
import speed_memory
import speed_simulate
import speed_start
import speed_train
import torch
from speed_row import Row

from migaki.core.engine import cores

PARTS = {"start": speed_start, "train": speed_train, "apply": speed_apply, "simulate": speed_simulate,
         "memory": speed_memory}


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
            rows += PARTS[name].measure(part, quick=options.quick)
            print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    print("| what | figure | baseline | ratio | wanted | met |\n|---|---|---|---|---|---|")
    for row in rows:
        print(row.markdown())
    machine = {"processor": _processor(), "cores": cores(), "threads": torch.get_num_threads(),
               "torch": torch.__version__, "python": sys.version.split()[0], "quick": options.quick}
    options.out.write_text(json.dumps({"machine": machine, "rows": [row.plain() for row in rows]}, indent=2) + "\n")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


if __name__ == "__main__":
    main()
