"""Measures the peak memory of simulate, apply and train on ten times as many images, each in its own process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from speed_row import Row

# `ru_maxrss` of the process itself is wrong: it survives exec, so a child begins with the peak of its parent. `VmHWM`
# belongs to the address space, which exec replaces. Children of the command inherit at most the command's own peak, so
# `ru_maxrss` is right for them.
_RUN = """
import json, resource, sys
from migaki.cli import main
code = main(json.loads(sys.argv[1]))
status = open("/proc/self/status").read()
own = int(status.split("VmHWM:")[1].split()[0])
print(json.dumps({"code": code, "peak": max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)}))
"""


def measure(folder: Path, quick: bool) -> list[Row]:
    """Digits of 8x8: what could grow with their number is rows, names and bookkeeping, not pixels."""
    sizes = (2_000, 20_000) if quick else (10_000, 100_000)
    peaks: dict[str, list[float]] = {"simulate": [], "train": [], "apply": []}
    for count in sizes:
        data, run = folder / f"data{count}", folder / f"run{count}"
        peaks["simulate"].append(peak(["simulate", "digits", "--size", "8", "--count", str(count),
                                        "--out", str(data)]))
        peaks["train"].append(peak(["train", "classifier", "--data", str(data), "--out", str(run), "--steps", "5",
                                     "--features", "4", "--sample-every", "0"]))
        peaks["apply"].append(peak(["apply", str(run), "--input", str(data), "--out", str(folder / f"out{count}"),
                                     "--batch-size", "256"]))
    return [Row(what=f"peak memory of {name}, {sizes[1]:,} images", figure=f"{large:.0f} MB",
                baseline=f"{sizes[0]:,} images: {small:.0f} MB", ratios=(large / small,), wanted="<= 1.1",
                is_timed=False)
            for name, (small, large) in peaks.items()]


def peak(words: list[str]) -> float:
    """Peak resident memory of a command and of what it starts, MB."""
    done = subprocess.run([sys.executable, "-c", _RUN, json.dumps(words)], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    if found["code"]:
        raise RuntimeError(f"migaki {' '.join(words)} failed: {done.stderr}")
    return float(found["peak"]) / 1000
